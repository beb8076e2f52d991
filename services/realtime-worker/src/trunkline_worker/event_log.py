"""Shell: writes the calls' events to JetStream, in order per call, until each is acknowledged.

A publish that times out has an unknown outcome, so it is repeated under the same `Nats-Msg-Id` until it is
acknowledged. Nothing of a call waits for this.
"""

import asyncio
import zlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import nats.errors
from nats.js.errors import APIError

from trunkline_common import call_events, log, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import Envelope
from trunkline_worker import metrics

EVENTS_WAITING_MAX: Final = 50_000
"""About 30 MB: an hour of a worker's calls without JetStream. Beyond, the oldest are lost and counted."""

LANES: Final = 8
"""Publishes under way at once; a call always uses the same lane, so its events stay in order."""

ACK_TIMEOUT_S: Final = 2.0
RETRY_S: Final = 0.1
RETRY_MAX_S: Final = 2.0

_NOT_STORED: Final = (nats.errors.Error, APIError, TimeoutError, OSError, RuntimeError)
"""What nats-py raises when a publish fails; the last two come from a socket whose loss it has not noticed."""

_log = log.get(__name__)

Tap = Callable[[Envelope], None]


class EventLog:
    """The queue between calls and JetStream."""

    def __init__(self, bus: Bus, tap: Tap | None = None) -> None:
        """Make an empty log; `tap` is shown every event, and must not block."""
        self._bus = bus
        self._tap = tap
        self._lanes: list[deque[Envelope]] = [deque() for _ in range(LANES)]
        self._work = [asyncio.Event() for _ in range(LANES)]
        self._waiting = 0
        self._of_call: Counter[str] = Counter()
        self._acknowledged = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def append(self, envelope: Envelope) -> None:
        """Take an event; it is on its way when this returns."""
        number = zlib.crc32(envelope.call_id.encode()) % LANES
        if self._waiting >= EVENTS_WAITING_MAX:
            self._drop_oldest()
        self._lanes[number].append(envelope)
        self._waiting += 1
        self._of_call[envelope.call_id] += 1
        metrics.EVENTS_WAITING.set(self._waiting)
        self._empty.clear()
        self._work[number].set()
        if self._tap is not None:
            self._tap(envelope)

    async def written(self, call_id: str, timeout_s: float) -> bool:
        """Wait until every event of a call is acknowledged; return whether it was within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._of_call[call_id]:
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            for number in range(LANES):
                lanes.create_task(self._run_lane(self._lanes[number], self._work[number]))

    async def drained(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; return whether it was within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            _log.error("event-log-not-drained", events=self._waiting)
            return False
        return True

    async def _run_lane(self, lane: deque[Envelope], work: asyncio.Event) -> None:
        while True:
            await work.wait()
            work.clear()
            while lane:
                envelope = lane[0]
                await self._publish(envelope)
                # While it was on its way, an overflow may have dropped it from the front.
                if lane and lane[0] is envelope:
                    self._forget_one(lane.popleft())

    async def _publish(self, envelope: Envelope) -> None:
        retry_s = RETRY_S
        while True:
            try:
                await self._bus.jetstream.publish(
                    subjects.event(envelope.call_id, envelope.kind),
                    call_events.encode(envelope),
                    timeout=ACK_TIMEOUT_S,
                    headers={"Nats-Msg-Id": envelope.message_id},
                )
            except _NOT_STORED as error:
                metrics.EVENTS_RETRIED.inc()
                if retry_s == RETRY_S:
                    _log.warning("event-log-retry", why=str(error) or type(error).__name__)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)
            else:
                metrics.EVENTS_RECORDED.inc()
                return

    def _drop_oldest(self) -> None:
        fullest = max(self._lanes, key=len)
        metrics.EVENTS_DROPPED.inc()
        self._forget_one(fullest.popleft())

    def _forget_one(self, envelope: Envelope) -> None:
        self._waiting -= 1
        self._of_call[envelope.call_id] -= 1
        if not self._of_call[envelope.call_id]:
            del self._of_call[envelope.call_id]
            self._acknowledged.set()
        metrics.EVENTS_WAITING.set(self._waiting)
        if self._waiting == 0:
            self._empty.set()
