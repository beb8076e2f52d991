"""Shell: one queue of frames to the gateways for the whole process, and the task that publishes them.

Calls hand over frames without waiting; one wake-up publishes whatever has gathered, in order.
"""

import asyncio
import time
from collections import deque
from typing import Final

from trunkline_common.bus import Bus
from trunkline_common.frames import FrameKind
from trunkline_worker import metrics

OUTBOX_FRAMES_MAX: Final = 8_192
"""About a second of a thousand calls' bursts; beyond, the link is down and audio is worthless."""

BATCH_FRAMES: Final = 64
"""Frames handed to nats-py before its flusher gets a turn; far below what the bus lets wait."""

_MUST_ARRIVE: Final = frozenset({FrameKind.CLEAR, FrameKind.HANG_UP, FrameKind.MOVE, FrameKind.READY})
"""Late is better than never for these: they wait for the link where audio is dropped."""


class Downlink:
    """The way from the calls to NATS."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._outbox: deque[tuple[str, bytes, FrameKind, float]] = deque()
        self._work = asyncio.Event()

    def send(self, subject: str, frame: bytes, kind: FrameKind, received_at: float) -> None:
        """Queue one frame; the oldest is dropped when the queue is full.

        `received_at`, by `time.perf_counter`, is when what caused it reached this process.
        """
        if len(self._outbox) >= OUTBOX_FRAMES_MAX:
            self._outbox.popleft()
            metrics.DOWN_DROPPED.inc()
        self._outbox.append((subject, frame, kind, received_at))
        self._work.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._outbox:
                for _ in range(min(len(self._outbox), BATCH_FRAMES)):
                    await self._publish(*self._outbox.popleft())
                # Lets nats-py's flusher write before more is handed to it.
                await asyncio.sleep(0)

    async def _publish(self, subject: str, frame: bytes, kind: FrameKind, received_at: float) -> None:
        sent = await self._bus.publish_audio(subject, frame)
        if not sent and kind in _MUST_ARRIVE:
            await self._bus.publish(subject, frame)
        if kind is FrameKind.AUDIO:
            metrics.DOWN_SECONDS.observe(time.perf_counter() - received_at)
