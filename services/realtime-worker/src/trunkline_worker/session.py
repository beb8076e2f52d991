"""Shell: one websocket to the Realtime API. It opens, sends, reads and closes; what it means is not its task.

Whatever goes wrong becomes one `SessionLost`, and after that nothing more is said.
"""

import asyncio
import contextlib
import functools
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from trunkline_common import log
from trunkline_worker import endpoint, metrics, realtime_notices, realtime_refusals
from trunkline_worker.commands import ClientEvent
from trunkline_worker.dialects import CODECS
from trunkline_worker.events import (
    ModelEvent,
    ResponseDone,
    SessionConfigured,
    SessionDelayed,
    SessionLost,
    SessionRoundTrip,
)
from trunkline_worker.realtime_notices import Notice
from trunkline_worker.settings import ModelSettings

CONNECT_TIMEOUT_S: Final = 5.0
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A retrieved item carries its audio; OpenAI's own client sets no limit at all."""

PING_INTERVAL_S: Final = 2
PING_TIMEOUT_S: Final = 3
"""A socket that stalls without closing is noticed within the sum. The API answers pings in tens of ms."""

CLOSE_TIMEOUT_S: Final = 1.0

OUTBOX_MESSAGES_MAX: Final = 500
"""Ten seconds of frames: a socket that is this far behind will not catch up."""

EVENT_NAMES_LOGGED_MAX: Final = 50
"""Each unknown or alarming type of event is logged once in a process's life, and no more types than this."""

EVENT_NAME_LENGTH_MAX: Final = 80

_log = log.get(__name__)
_logged_names: set[str] = set()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the one context of all sessions: making one blocks every call of the process for 60 ms."""
    return ssl.create_default_context()


def prepare(settings: ModelSettings) -> None:
    """Do what only the first session would have to wait for."""
    if settings.openai_realtime_url.startswith("wss://"):
        _tls()


class Session:
    """One socket, for one call."""

    def __init__(
        self,
        number: int,
        model: str,
        settings: ModelSettings,
        on_event: Callable[[ModelEvent], None],
        delay_s: float = 0.0,
    ) -> None:
        self._number = number
        self._url = endpoint.realtime_url(settings, model)
        self._headers = endpoint.headers(settings)
        self._codec = CODECS[settings.openai_realtime_dialect]
        self._on_event = on_event
        self._delay_s = delay_s
        """Before it connects: too many begin at once."""
        self._outbox: deque[tuple[bytes, float]] = deque()
        self._work = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._run(), name=f"model-session-{number}")
        self._ping: asyncio.Task[None] | None = None

    def send(self, event: ClientEvent, received_at: float = 0.0) -> None:
        """Queue one event; events leave in order.

        `received_at`, by `time.perf_counter`, is when a caller's frame reached this process.
        """
        if self._closed:
            return
        if len(self._outbox) >= OUTBOX_MESSAGES_MAX:
            metrics.SESSION_OUTBOX_OVERFLOWS.inc()
            # Not at once: the caller is performing the commands of another event.
            lost = SessionLost(self._number, "socket-stalled", fatal=False)
            asyncio.get_running_loop().call_soon(self._lost, lost)
            return
        self._outbox.append((self._codec.encode(event), received_at))
        self._work.set()

    def close(self) -> None:
        """Say goodbye in the background; from here on nothing is reported."""
        self._closed = True
        self._work.set()

    async def _run(self) -> None:
        await self._wait_in_line()
        if self._closed:
            return
        try:
            connection = await connect(
                self._url,
                ssl=_tls() if self._url.startswith("wss://") else None,
                additional_headers=self._headers,
                compression=None,
                open_timeout=CONNECT_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                max_size=MESSAGE_BYTES_MAX,
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
            fatal = status in {401, 403, 404, 410}
            self._lost(SessionLost(self._number, f"connect-http-{status}", fatal))
            return
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            self._lost(SessionLost(self._number, f"connect-{type(error).__name__}", fatal=False))
            return
        reader = asyncio.create_task(self._read(connection))
        try:
            await self._write(connection)
        except ConnectionClosed:
            pass  # The reader tells why.
        finally:
            await connection.close()
            await reader
            if self._ping is not None:
                self._ping.cancel()

    async def _wait_in_line(self) -> None:
        if self._delay_s == 0:
            return
        self._on_event(SessionDelayed(self._number, self._delay_s))
        with contextlib.suppress(TimeoutError):
            # Nothing is sent before it is connected, but for being closed.
            async with asyncio.timeout(self._delay_s):
                await self._work.wait()

    async def _write(self, connection: ClientConnection) -> None:
        while not self._closed:
            await self._work.wait()
            self._work.clear()
            while self._outbox and not self._closed:
                message, received_at = self._outbox.popleft()
                await connection.send(message, text=True)
                if received_at:
                    metrics.UP_SECONDS.observe(time.perf_counter() - received_at)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for message in connection:
                if self._closed:
                    break
                event = self._codec.decode(message, self._number)
                if event is None:
                    _count_ignored(message)
                    continue
                self._on_event(event)
                if isinstance(event, SessionConfigured | ResponseDone):
                    self._measure_round_trip(connection)
        except ConnectionClosed:
            pass
        self._lost(
            realtime_refusals.lost_by_close(
                self._number, connection.close_code, connection.close_reason or ""
            )
        )

    def _measure_round_trip(self, connection: ClientConnection) -> None:
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._measure(connection))

    async def _measure(self, connection: ClientConnection) -> None:
        # Not by the library's own figure: it reads the loop's clock, which uvloop keeps in whole ms.
        sent_at = time.perf_counter()
        try:
            await (await connection.ping())
        except ConnectionClosed:
            return
        if not self._closed:
            self._on_event(SessionRoundTrip(self._number, (time.perf_counter() - sent_at) * 1000))

    def _lost(self, lost: SessionLost) -> None:
        if self._closed:
            return
        self.close()
        self._on_event(lost)


def _count_ignored(message: str | bytes) -> None:
    kind, name = realtime_notices.notice(message)
    metrics.MODEL_EVENTS_IGNORED.labels(kind.value).inc()
    if kind is Notice.INFORMATIVE or name in _logged_names or len(_logged_names) >= EVENT_NAMES_LOGGED_MAX:
        return
    _logged_names.add(name)
    _log.warning("model-event-ignored", kind=kind.value, type=name[:EVENT_NAME_LENGTH_MAX])
