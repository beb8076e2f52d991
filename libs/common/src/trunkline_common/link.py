"""One connection to NATS: nats-py's client (2.16) with our options, its traps fenced, its state told to `life`.

While the link is down it is tried again for ever. Only two things end the process: a server that refuses our
credentials at the start, and a client that nats-py closed for good, as it does on most `-ERR`s.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
import nkeys  # type: ignore[import-untyped]  # ships no types
import prometheus_client
from nats.aio.client import Client, RawCredentials, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_MSGS_LIMIT
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport

from trunkline_common import log, subjects
from trunkline_common.service import Life, ServiceError
from trunkline_common.settings import CommonSettings

PING_INTERVAL_S: Final = 1
PINGS_OUTSTANDING_MAX: Final = 2
"""A dead link is noticed within 3 s; nats-py's defaults need four minutes."""

RECONNECT_WAIT_S: Final = 0.1
CONNECT_TIMEOUT_S: Final = 2

FORCED_FLUSH_TIMEOUT_S: Final = 1
"""With 2 MB waiting, nats-py lets a publisher wait for the socket; without a limit, until the link is back."""

CONFIRM_TIMEOUT_S: Final = 5
"""For the server's answer to a subscription. Longer than a dead link stays unnoticed."""

CLOSE_TIMEOUT_S: Final = 2
"""For what is still to be sent when the connection is closed; then it is dropped."""

LOG_PERIOD_S: Final = 10
"""An outage brings several errors a second: one of them is logged in this time, all are counted."""

DISCONNECTS = prometheus_client.Counter(
    "trunkline_bus_disconnects", "Links to NATS that broke.", ["connection"]
)
SLOW_CONSUMER = prometheus_client.Counter(
    "trunkline_bus_slow_consumer", "Messages dropped because this process did not keep up.", ["connection"]
)
ERRORS = prometheus_client.Counter("trunkline_bus_errors", "Errors reported by nats-py.", ["connection"])
HANDLER_ERRORS = prometheus_client.Counter(
    "trunkline_bus_handler_errors", "Handlers and callbacks that raised an exception: a bug.", ["connection"]
)
for _counter in (DISCONNECTS, SLOW_CONSUMER, ERRORS, HANDLER_ERRORS):
    for _connection in ("audio", "control"):
        _counter.labels(_connection)

_log = log.get(__name__)

Handler = Callable[[Msg], Awaitable[None]]


class NoAnswerError(Exception):
    """Nobody answered in time: the other side may or may not have acted."""


class Link:
    """One connection. `is_up` is set while messages can be sent."""

    def __init__(self, name: str, settings: CommonSettings, life: Life) -> None:
        self.client = MendedClient()
        self.is_up = asyncio.Event()
        self._name = name
        self._settings = settings
        self._life = life
        self.returned_at: float | None = None
        """Time of the event loop when the link last came back; None while it has never been lost."""
        self._was_up = False
        self._closing = False
        self._watchers: list[Callable[[bool], None]] = []
        self._next_log_at: dict[str, float] = {}

    async def connect(self, credentials: str | None) -> None:
        """Connect, retrying for ever; `credentials` is what a NATS credentials file holds.

        Raises `ServiceError` when the server refuses them or they cannot be used.
        """
        self._tell_down("not tried yet")
        try:
            await self.client.connect(
                servers=self._servers(),
                # It would shuffle at each reconnection, and may try the server first that it has just lost.
                dont_randomize=True,
                name=f"{self._life.service}-{self._name}",
                inbox_prefix=subjects.inbox(self._life.service),
                user_credentials=None if credentials is None else RawCredentials(credentials),
                connect_timeout=CONNECT_TIMEOUT_S,
                max_reconnect_attempts=-1,
                # Annotated int, but only ever slept. Jitter keeps a fleet from coming back in one instant.
                reconnect_time_wait=random.uniform(RECONNECT_WAIT_S, 2 * RECONNECT_WAIT_S),  # type: ignore[arg-type]  # noqa: S311
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=PINGS_OUTSTANDING_MAX,
                flush_timeout=FORCED_FLUSH_TIMEOUT_S,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_connected,
                closed_cb=self._on_closed,
            )
        except nkeys.NkeysError as error:
            raise ServiceError(
                f"the seed in the file named by NATS_CREDS cannot be used: {error!r}"
            ) from error
        except nats.errors.Error as error:
            raise ServiceError(f"cannot use NATS at {self._settings.nats_address}: {error}") from error
        await self._on_connected()

    def _servers(self) -> list[str]:
        servers = self._settings.nats_url.split(",")
        # A fleet spreads over the servers.
        random.shuffle(servers)
        return servers

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        queue: str = "",
        pending_messages_max: int = DEFAULT_SUB_PENDING_MSGS_LIMIT,
    ) -> "Subscription":
        """Subscribe; on return the server knows of it. Raises `NoAnswerError` when it does not confirm."""
        subscription = await self.client.subscribe(
            subject, queue=queue, cb=handler, pending_msgs_limit=pending_messages_max
        )
        if not await self.confirmed(CONFIRM_TIMEOUT_S):
            await self.client.forget(subscription)
            raise NoAnswerError(f"{subject}: NATS did not confirm the subscription in {CONFIRM_TIMEOUT_S} s")
        return Subscription(self, subscription)

    def watch(self, callback: Callable[[bool], None]) -> None:
        """Call back with False when the link breaks and with True when it is back, each once; not at `close`."""
        self._watchers.append(callback)

    async def confirmed(self, limit_s: float) -> bool:
        """Return whether within `limit_s` the server has processed all that was sent before."""
        try:
            async with asyncio.timeout(limit_s):
                await self.is_up.wait()
                # A PING is written at once, what was sent before by a task of its own, a moment later: so it is
                # the second PING that surely follows it.
                await self.client.flush()
                await self.client.flush()
        except (TimeoutError, nats.errors.Error, OSError, RuntimeError):
            # The last two: a socket whose loss nats-py has not noticed yet; RuntimeError is uvloop's word for it.
            return False
        return True

    async def close(self) -> None:
        """Send what is pending and close; never raises, and takes little more than `CLOSE_TIMEOUT_S`."""
        self._closing = True
        if not self.is_up.is_set() or not await self.confirmed(CLOSE_TIMEOUT_S):
            self.client.give_up()
        if self._was_up:
            await self.client.close()

    async def _on_connected(self) -> None:
        if self._was_up:
            self.returned_at = asyncio.get_running_loop().time()
            _log.info("bus-reconnected", connection=self._name)
        self._was_up = True
        self._life.resolved(f"nats-{self._name}")
        if not self.is_up.is_set():
            self.is_up.set()
            self._tell_watchers()

    async def _on_disconnected(self) -> None:
        was_up = self.is_up.is_set()
        self.is_up.clear()
        if self._closing:
            return
        if was_up:
            self._tell_watchers()
        if self.client.is_closed:
            return
        DISCONNECTS.labels(self._name).inc()
        self._tell_down("the link broke")
        _log.warning("bus-disconnected", connection=self._name)

    async def _on_closed(self) -> None:
        if not self._closing:
            why = self.client.last_error
            self._life.fail(ServiceError(f"NATS closed the {self._name} connection for good: {why}"))

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            SLOW_CONSUMER.labels(self._name).inc()
        elif isinstance(error, nats.errors.Error | OSError):
            self._on_link_error(error)
        else:
            # nats-py reports here what a message handler raised.
            self._on_handler_error(error)

    def _on_link_error(self, error: Exception) -> None:
        ERRORS.labels(self._name).inc()
        why = str(error) or type(error).__name__
        if not self._was_up and "authorization" in why.lower():
            raise ServiceError(
                f"NATS at {self._settings.nats_address} refuses our credentials: check NATS_CREDS, or the user "
                "and password in NATS_URL"
            )
        if not self.is_up.is_set():
            self._tell_down(why)
        if not self._closing and self._may_log("bus-error"):
            server = self._settings.nats_address
            _log.warning("bus-error", connection=self._name, server=server, why=why, retry="until it answers")

    def _on_handler_error(self, error: Exception) -> None:
        HANDLER_ERRORS.labels(self._name).inc()
        if self._may_log("bus-handler-failed"):
            _log.error("bus-handler-failed", connection=self._name, exc_info=error)

    def _tell_watchers(self) -> None:
        for callback in self._watchers:
            try:
                callback(self.is_up.is_set())
            except Exception as error:  # noqa: BLE001  # it would end nats-py's task that makes the link again
                self._on_handler_error(error)

    def _tell_down(self, why: str) -> None:
        self._life.waiting(
            f"nats-{self._name}",
            f"no link to NATS at {self._settings.nats_address}: {why}; trying again until it answers",
        )

    def _may_log(self, event: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._next_log_at.get(event, now):
            return False
        self._next_log_at[event] = now + LOG_PERIOD_S
        return True


class Subscription:
    """A subscription that can be ended such that the server knows it on return."""

    def __init__(self, link: Link, subscription: NatsSubscription) -> None:
        self._link = link
        self._subscription = subscription
        self._draining: asyncio.Task[None] | None = None

    async def end(self) -> None:
        """Unsubscribe and wait for the server: afterwards it sends nothing more. What it sent is still handled.

        May be called in the subscription's own handler.
        """
        # nats-py's `unsubscribe` would cancel the running handler and drop the messages that wait for it. Its
        # `drain` waits for the handler to end, which may be our caller: therefore in a task of its own.
        self._draining = asyncio.create_task(self._drain(), name="drain-subscription")
        if not await self._link.confirmed(CONFIRM_TIMEOUT_S):
            _log.warning("bus-unsubscribe-unconfirmed", subject=self._subscription.subject)

    async def _drain(self) -> None:
        try:
            await self._subscription.drain()  # type: ignore[no-untyped-call]  # nats-py left it unannotated
        except (nats.errors.Error, OSError, RuntimeError):
            # The link broke before the server answered.
            await self._link.client.forget(self._subscription)


class MendedClient(Client):
    """nats-py's client, its faults mended where no option reaches: sockets left open, waits without an end."""

    def __init__(self) -> None:
        super().__init__()
        self._given_up = False

    def give_up(self) -> None:
        """Drop the socket at once, and all that waits to be sent; no other socket is opened."""
        self._given_up = True
        self._pending.clear()
        self._pending_data_size = 0
        self._abort_transport()

    async def forget(self, subscription: NatsSubscription) -> None:
        """Unsubscribe whatever state the link and the subscription are in; never raises."""
        # `unsubscribe` sends nothing while the link is down, although the SUB may wait in the buffer: the server
        # would then hold a subscription that nobody here knows. And a subscription whose `drain` failed counts as
        # closed, but would be made again with the next link.
        subscription._stop_processing()
        self._remove_sub(subscription._id)
        if not self.is_closed:
            await self._send_unsubscribe(subscription._id)

    async def _attempt_reconnect(self) -> None:
        # It waits until the old socket has sent its backlog, which a dead one never does: the client would stay
        # deaf, and call itself connected, until the kernel gives up after a quarter of an hour.
        self._abort_transport()
        await super()._attempt_reconnect()

    async def _connect_to_server(self, s: Srv) -> None:
        # An attempt that failed after the socket was connected leaves it open.
        self._abort_transport()
        try:
            await super()._connect_to_server(s)
        finally:
            # Python 3.11's `wait_for` swallows a cancellation that comes in the moment of success or of failure.
            task = asyncio.current_task()
            if self._given_up or (task is not None and task.cancelling()):
                self._abort_transport()
                raise asyncio.CancelledError

    async def _process_pong(self) -> None:
        # The PONG of a flush that was cancelled would end the read loop: nothing is received until the pings tell.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    def _abort_transport(self) -> None:
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
