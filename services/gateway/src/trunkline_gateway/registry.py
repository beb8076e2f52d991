"""The media streams of this process: found by call, counted, and closed one by one at the end."""

import asyncio
import time
from typing import Final, Protocol

from nats.aio.msg import Msg

from trunkline_common import frames, subjects
from trunkline_common.frames import Frame, FrameError
from trunkline_gateway import metrics
from trunkline_gateway.events import EndDecided, Event
from trunkline_gateway.reasons import Drop, Ending

CLOSING_S_MAX: Final = 10.0
"""The streams left at the drain deadline are closed over this time, so that they do not all re-attach at once."""

CLOSING_STEP_S_MAX: Final = 0.2
"""A few streams need not be spread over all of it."""


class Connection(Protocol):
    """What the registry knows of one media stream."""

    attach: int

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of ours is left to play at Twilio."""

    async def on_frame(self, frame: Frame, received_at: float) -> None:
        """Take a frame of a worker."""

    async def feed(self, event: Event) -> None:
        """Apply an event."""


class Streams:
    """Every open socket, and the streams among them by call: the newest that its owner took carries the call."""

    def __init__(self, streams_max: int) -> None:
        self._streams_max = streams_max
        self._sockets: set[Connection] = set()
        self._active: dict[str, Connection] = {}
        self._attaching: dict[str, Connection] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.is_closing = False
        """No further stream is taken."""
        metrics.STREAMS_MAX.set(streams_max)

    @property
    def is_full(self) -> bool:
        """Whether no further stream has room."""
        return len(self._sockets) >= self._streams_max

    def enter(self, connection: Connection) -> None:
        """Count an accepted socket."""
        self._sockets.add(connection)
        self._empty.clear()
        metrics.STREAMS.set(len(self._sockets))

    def attaching(self, call_id: str, connection: Connection) -> None:
        """Note which stream is about to carry a call: its first frames may come before its owner's answer."""
        self._attaching[call_id] = connection

    def attached(self, call_id: str, connection: Connection) -> Connection | None:
        """Let a stream carry its call from now on; return the one that did before, which is to be ended."""
        older = self._active.get(call_id)
        self._active[call_id] = connection
        self._forget(self._attaching, call_id, connection)
        return older

    def leave(self, call_id: str, connection: Connection) -> None:
        """Forget a socket that is closed."""
        self._sockets.discard(connection)
        self._forget(self._active, call_id, connection)
        self._forget(self._attaching, call_id, connection)
        metrics.STREAMS.set(len(self._sockets))
        if not self._sockets:
            self._empty.set()

    async def dispatch(self, message: Msg) -> None:
        """Give a worker's frame to the stream of its call; never waits."""
        received_at = time.perf_counter()
        try:
            frame = frames.decode(message.data)
        except FrameError:
            metrics.FRAMES_DROPPED.labels(Drop.UNREADABLE).inc()
            return
        connection = self._find(subjects.call_of_down(message.subject), frame.fence[0])
        if connection is None:
            # Frames under way when a call ends; a line for each would drown the log.
            metrics.FRAMES_DROPPED.labels(Drop.UNKNOWN_CALL).inc()
            return
        await connection.on_frame(frame, received_at)

    async def wait_until_empty(self) -> None:
        """Wait until the last socket is closed."""
        await self._empty.wait()

    async def close_one_by_one(self) -> None:
        """End every stream, spread over time and where nothing plays if that can be; Twilio attaches its call anew."""
        self.is_closing = True
        step_s = min(CLOSING_S_MAX / max(len(self._sockets), 1), CLOSING_STEP_S_MAX)
        steps_left = int(CLOSING_S_MAX / step_s)
        left = set(self._sockets)
        while left := left & self._sockets:
            quiet = next((connection for connection in left if connection.is_quiet), None)
            # Speech may go on for a while, but in the end there is a step left for each stream.
            chosen = quiet or (next(iter(left)) if steps_left <= len(left) else None)
            if chosen is not None:
                left.discard(chosen)
                await chosen.feed(EndDecided(Ending.GATEWAY_STOPPED))
            steps_left -= 1
            try:
                async with asyncio.timeout(step_s):
                    await self._empty.wait()
            except TimeoutError:
                continue

    def _find(self, call_id: str, attach: int) -> Connection | None:
        active = self._active.get(call_id)
        if active is not None and active.attach == attach:
            return active
        return self._attaching.get(call_id) or active

    @staticmethod
    def _forget(connections: dict[str, Connection], call_id: str, connection: Connection) -> None:
        if connections.get(call_id) is connection:
            del connections[call_id]
