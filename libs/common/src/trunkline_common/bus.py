"""NATS with our options: one connection for audio, one for control and events.

They differ in what happens when the link is down. Audio is worthless a second later, so the audio connection
never buffers: a frame that cannot leave now is dropped and counted. Control and events wait for the link.

nats-py (2.16) closes a client for good on most `-ERR`s; a closed client ends the process, loudly, instead of
leaving a service that looks alive. Its callbacks run one after another per subscription, so ours only hand
over and never wait.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats
import nats.errors
import prometheus_client
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from trunkline_common import log, subjects
from trunkline_common.service import Life, ServiceError
from trunkline_common.settings import CommonSettings

AUDIO_PENDING_BYTES_MAX: Final = 32 * 1024
"""More than this waiting for the socket means that the link stalls (0.2 s of 100 calls): drop, do not queue."""

PING_INTERVAL_S: Final = 1
PINGS_OUTSTANDING_MAX: Final = 2
"""A dead link is noticed within 3 s; nats-py's defaults need four minutes."""

RECONNECT_WAIT_S: Final = 0.1
RECONNECT_WAIT_MAX_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 2
DRAIN_TIMEOUT_S: Final = 5

SUBSCRIPTION_PENDING_MESSAGES_MAX: Final = 4_096
"""Frames that one subscription may hold while the loop is busy: 80 ms of 1,000 calls in both kinds."""

EVENT_STREAM_MAX_AGE_S: Final = 72 * 3600
"""Postgres may be away for three days before events are lost."""

EVENT_STREAM_MAX_BYTES: Final = 1024**3
"""About a million events, small enough for a laptop; a cluster's operator creates a larger one. Full means that publishers are told (`discard=new`); `discard=old` would lose unread events silently."""

EVENT_BYTES_MAX: Final = 256 * 1024
"""Far above any turn of a conversation."""

DUPLICATE_WINDOW_S: Final = 120

FRAMES_DROPPED = prometheus_client.Counter(
    "trunkline_bus_frames_dropped",
    "Audio frames not sent because the link to NATS was down or stalled.",
)
DISCONNECTS = prometheus_client.Counter(
    "trunkline_bus_disconnects", "Links to NATS that broke.", ["connection"]
)
SLOW_CONSUMER = prometheus_client.Counter(
    "trunkline_bus_slow_consumer", "Messages dropped because this process did not keep up.", ["connection"]
)
ERRORS = prometheus_client.Counter("trunkline_bus_errors", "Errors reported by nats-py.", ["connection"])

_log = log.get(__name__)

Handler = Callable[[Msg], Awaitable[None]]


class NobodyListensError(Exception):
    """No process subscribes to the request's subject (NATS status 503)."""


class NoAnswerError(Exception):
    """Nobody answered in time: the other side may or may not have acted."""


class Bus:
    """A service's two connections."""

    def __init__(self, audio: Client, control: Client) -> None:
        self._audio = audio
        self._control = control
        self.jetstream: JetStreamContext = control.jetstream(timeout=2)

    @classmethod
    async def connect(cls, settings: CommonSettings, life: Life) -> "Bus":
        """Connect, retrying for ever; `life` tells why the service is not ready meanwhile."""
        life.waiting("nats", f"cannot reach NATS at {settings.nats_url}")
        control = await _connect("control", settings, life)
        audio = await _connect("audio", settings, life)
        life.resolved("nats")
        return cls(audio, control)

    @property
    def is_connected(self) -> bool:
        """Whether the control connection's link is up; what is sent while it is down waits for it."""
        return self._control.is_connected

    async def publish_audio(self, subject: str, frame: bytes) -> bool:
        """Send a frame now or drop it; return whether it was sent. Never waits for the link."""
        if not self._audio.is_connected or self._audio.pending_data_size > AUDIO_PENDING_BYTES_MAX:
            FRAMES_DROPPED.inc()
            return False
        await self._audio.publish(subject, frame)
        return True

    async def subscribe_audio(self, subject: str, handler: Handler) -> None:
        """Subscribe on the audio connection; on return the server knows of it."""
        await self._audio.subscribe(subject, cb=handler, pending_msgs_limit=SUBSCRIPTION_PENDING_MESSAGES_MAX)
        await self._audio.flush()

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a control message; buffered while the link is down."""
        await self._control.publish(subject, payload)

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> "Subscription":
        """Subscribe on the control connection; on return the server knows of it."""
        subscription = await self._control.subscribe(subject, queue=queue, cb=handler)
        await self._control.flush()
        return Subscription(self._control, subscription)

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Return the answer; raise `NobodyListensError` at once or `NoAnswerError` after `timeout_s`."""
        try:
            answer = await self._control.request(subject, payload, timeout=timeout_s)
        except nats.errors.NoRespondersError:
            raise NobodyListensError(subject) from None
        except (TimeoutError, nats.errors.TimeoutError):
            raise NoAnswerError(f"{subject}: no answer in {timeout_s} s") from None
        except nats.errors.Error as error:
            raise NoAnswerError(f"{subject}: {error}") from error
        return answer.data

    @property
    def reconnects(self) -> int:
        """How often the control connection came back: it tells a peer's silence from a gap of our own."""
        return self._control.stats["reconnects"]

    async def ensure_event_stream(self, replicas: int = 1) -> None:
        """Create the stream of the event log if it does not exist; an existing one is left as it is."""
        try:
            await self.jetstream.stream_info(subjects.EVENT_STREAM)
        except NotFoundError:
            try:
                await self.jetstream.add_stream(_event_stream(replicas))
            except BadRequestError as error:
                raise ServiceError(
                    f"cannot create the JetStream stream {subjects.EVENT_STREAM}: {error.description}"
                ) from error

    async def close(self) -> None:
        """Send what is pending and close both connections; bounded by `DRAIN_TIMEOUT_S`."""
        for client in (self._audio, self._control):
            client.options["closed_cb"] = _nothing
            try:
                await asyncio.wait_for(client.drain(), DRAIN_TIMEOUT_S)
            except (TimeoutError, nats.errors.Error):
                await client.close()


class Subscription:
    """A subscription that can be ended such that the server knows it on return."""

    def __init__(self, client: Client, subscription: Any) -> None:
        self._client = client
        self._subscription = subscription

    async def end(self) -> None:
        """Unsubscribe and wait for the server; messages already on their way may still be handled."""
        try:
            await self._subscription.unsubscribe()
            await self._client.flush()
        except nats.errors.Error as error:
            _log.warning("bus-unsubscribe-failed", why=str(error))


async def _connect(connection: str, settings: CommonSettings, life: Life) -> Client:
    loop = asyncio.get_running_loop()
    complained_at = [-RECONNECT_WAIT_MAX_S]

    async def on_error(error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            SLOW_CONSUMER.labels(connection).inc()
            return
        ERRORS.labels(connection).inc()
        if loop.time() - complained_at[0] >= RECONNECT_WAIT_MAX_S:
            complained_at[0] = loop.time()
            _log.warning(
                "bus-error",
                connection=connection,
                server=settings.nats_url,
                why=str(error) or type(error).__name__,
                retry="until it answers",
            )

    async def on_disconnected() -> None:
        if client.is_draining or client.is_closed:
            return
        DISCONNECTS.labels(connection).inc()
        life.waiting(f"nats-{connection}", f"the link to NATS at {settings.nats_url} broke; reconnecting")
        _log.warning("bus-disconnected", connection=connection)

    async def on_reconnected() -> None:
        life.resolved(f"nats-{connection}")
        _log.info("bus-reconnected", connection=connection)

    async def on_closed() -> None:
        life.fail(ServiceError(f"NATS closed the {connection} connection for good: {client.last_error}"))

    client = Client()
    await client.connect(
        servers=settings.nats_url.split(","),
        name=f"{life.service}-{connection}",
        user_credentials=settings.nats_creds,
        connect_timeout=CONNECT_TIMEOUT_S,
        max_reconnect_attempts=-1,
        # Annotated int, but only ever slept. Jitter keeps a fleet from coming back in one instant.
        reconnect_time_wait=random.uniform(RECONNECT_WAIT_S, 2 * RECONNECT_WAIT_S),  # type: ignore[arg-type]  # noqa: S311
        ping_interval=PING_INTERVAL_S,
        max_outstanding_pings=PINGS_OUTSTANDING_MAX,
        drain_timeout=DRAIN_TIMEOUT_S,
        error_cb=on_error,
        disconnected_cb=on_disconnected,
        reconnected_cb=on_reconnected,
        closed_cb=on_closed,
    )
    return client


async def _nothing() -> None:
    """Close quietly: this time it is on purpose."""


def _event_stream(replicas: int) -> StreamConfig:
    return StreamConfig(
        name=subjects.EVENT_STREAM,
        description="Every call's event log",
        subjects=[subjects.EVERY_EVENT],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=EVENT_STREAM_MAX_AGE_S,
        max_bytes=EVENT_STREAM_MAX_BYTES,
        max_msg_size=EVENT_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=replicas,
        allow_direct=True,
    )
