"""Shell: one queue of frames to the gateways for the whole process, and the task that publishes them.

Calls hand over frames without waiting; one wake-up publishes whatever has gathered, in order.
"""

import asyncio
from collections import deque
from typing import Final

from trunkline_common.bus import Bus

from trunkline_worker import metrics

OUTBOX_FRAMES_MAX: Final = 8_192
"""About a second of a thousand calls' bursts; beyond, the link is down and audio is worthless."""


class Downlink:
    """The way from the calls to NATS."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._work = asyncio.Event()

    def send(self, subject: str, frame: bytes) -> None:
        """Queue one frame; the oldest is dropped when the queue is full."""
        if len(self._outbox) >= OUTBOX_FRAMES_MAX:
            self._outbox.popleft()
            metrics.DOWN_DROPPED.inc()
        self._outbox.append((subject, frame))
        self._work.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._outbox:
                subject, frame = self._outbox.popleft()
                await self._bus.publish_audio(subject, frame)
