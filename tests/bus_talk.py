"""One call's audio over the bus, in real time, and the writing of its events, for the tests of outages."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from infra import MS
from nats.aio.msg import Msg

from trunkline_common import call_events, frames
from trunkline_common.bus import Bus
from trunkline_common.call_events import DtmfReceived, Envelope
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_worker.event_log import EventLog

DOWN = "gw.v1.gw-1.c.CA1.dn"
CALL = "CA1"

FRAME_S = 0.01

OUTAGE_LIMIT_S = 20_000 * MS
"""A cluster that lost a leader by SIGKILL elects the next one after 4 to 9 s (nats-server's raft, fixed there)."""


class Speaker:
    """A process that sends a numbered frame every 10 ms, whatever becomes of it."""

    def __init__(self, bus: Bus) -> None:
        self.next_seq = 0
        self.refused: list[int] = []
        self._bus = bus

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, bus: Bus) -> AsyncIterator["Speaker"]:
        """Speak inside the block."""
        speaker = cls(bus)
        task = asyncio.create_task(speaker._speak())
        try:
            yield speaker
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def lasts(self, ms: float) -> None:
        """Go on speaking for so long: an outage takes its time."""
        await asyncio.sleep(ms / 1000)

    async def _speak(self) -> None:
        while True:
            t_ms = int(time.monotonic() * 1000) % 2**32
            frame = Frame(FrameKind.AUDIO, Fence(1, 1), self.next_seq, t_ms, 0, bytes(80))
            if not await self._bus.publish_audio(DOWN, frames.encode(frame)):
                self.refused.append(frame.seq)
            self.next_seq += 1
            await asyncio.sleep(FRAME_S)


class Listener:
    """A process that drops what comes too late or behind its successor, as gateway and worker do."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        """Numbers of the frames that were in time."""
        self.late: list[int] = []
        self.repeated: list[int] = []
        self._last_seq = -1
        self._lateness = frames.Lateness()
        self._changed = asyncio.Event()

    @classmethod
    async def on(cls, bus: Bus) -> "Listener":
        """Listen from now on."""
        listener = cls()
        await bus.subscribe_audio(DOWN, listener.take)
        return listener

    async def take(self, message: Msg) -> None:
        """Take a frame."""
        frame = frames.decode(message.data)
        if frame.seq <= self._last_seq:
            self.repeated.append(frame.seq)
            return
        self._last_seq = frame.seq
        late_ms = self._lateness.of(frame.t_ms, time.monotonic())
        (self.late if late_ms > frames.LATE_MS_MAX else self.heard).append(frame.seq)
        self._changed.set()

    async def until(self, is_so: Callable[["Listener"], bool]) -> None:
        """Wait for frames until it is so."""
        async with asyncio.timeout(OUTAGE_LIMIT_S):
            while not is_so(self):
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, speaker: Speaker) -> None:
        """Wait for a frame that is sent only now."""
        seq = speaker.next_seq
        await self.until(lambda listener: bool(listener.heard) and listener.heard[-1] >= seq)


@contextlib.asynccontextmanager
async def writing(bus: Bus) -> AsyncIterator[EventLog]:
    """A worker's event log that publishes inside the block."""
    log = EventLog(bus)
    task = asyncio.create_task(log.run())
    try:
        yield log
    finally:
        task.cancel()
        await asyncio.wait([task])


def event(n: int, call_id: str = CALL, assign: int = 1) -> Envelope:
    """One numbered event of a call."""
    return call_events.seal(
        DtmfReceived(at_ms=n),
        call_id=call_id,
        call_started_at_ms=1,
        fence=Fence(1, assign),
        n=n,
        at_ms=n,
    )
