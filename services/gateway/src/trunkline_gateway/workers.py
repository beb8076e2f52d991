"""Pings each worker that holds one of our streams, and ends those streams when the worker is gone.

Twilio then attaches their calls anew, to this gateway or another, and with them a living worker. What pings tell
is in `pulse.py`.
"""

import asyncio
import time
from typing import Final, Protocol

from trunkline_common import log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.pulse import PING_TIMEOUT_S, Loss, Pulse
from trunkline_gateway import metrics
from trunkline_gateway.events import EndDecided, Event, Pinged
from trunkline_gateway.reasons import Ending

PING_INTERVAL_S: Final = 0.2

_log = log.get(__name__)


class Listener(Protocol):
    """A stream that wants to know how its worker is."""

    async def feed(self, event: Event) -> None:
        """Apply an event."""


class Workers:
    """One watch per worker, for as long as it holds a stream of ours."""

    def __init__(self, bus: Bus, gateway: str) -> None:
        self._bus = bus
        self._nobody_subject = subjects.owner(gateway)
        self._streams: dict[str, set[Listener]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep the watches until cancelled; a watch that fails ends the service."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    def hold(self, worker: str, stream: Listener) -> None:
        """Watch `worker` on behalf of a stream."""
        self._streams.setdefault(worker, set()).add(stream)
        if worker not in self._watches:
            self._watches[worker] = self._tasks.create_task(self._watch(worker), name=f"watch-{worker}")
            metrics.WORKERS_WATCHED.set(len(self._watches))

    def release(self, worker: str, stream: Listener) -> None:
        """The stream no longer needs `worker`; the last one ends the watch."""
        streams = self._streams.get(worker, set())
        streams.discard(stream)
        if not streams and worker in self._watches:
            self._watches.pop(worker).cancel()
            self._streams.pop(worker, None)
            metrics.WORKERS_WATCHED.set(len(self._watches))

    async def _watch(self, worker: str) -> None:
        subject = subjects.worker_ping(worker)
        pulse = Pulse()
        reconnects = self._bus.reconnects
        while True:
            sent_at = time.monotonic()
            lost: Loss | None = None
            try:
                await self._bus.request(subject, b"", PING_TIMEOUT_S)
            except NobodyListensError:
                lost = pulse.refused(time.monotonic())
            except NoAnswerError:
                if await self._bus_works():
                    lost = pulse.missed(time.monotonic())
                else:
                    pulse.bus_broke(time.monotonic())
            else:
                pulse.answered()
                await self._tell(worker, time.monotonic() - sent_at)
            if self._bus.reconnects != reconnects:
                reconnects = self._bus.reconnects
                pulse.bus_broke(time.monotonic())
            elif lost:
                await self._give_up(worker, lost)
                return
            await asyncio.sleep(max(sent_at + PING_INTERVAL_S - time.monotonic(), 0))

    async def _bus_works(self) -> bool:
        """Ask for something that nobody serves: the NATS server itself says so, at once."""
        try:
            await self._bus.request(self._nobody_subject, b"", PING_TIMEOUT_S)
        except NobodyListensError:
            return True
        except NoAnswerError:
            return False
        return True

    async def _tell(self, worker: str, round_trip_s: float) -> None:
        metrics.PING_ROUND_TRIP_SECONDS.observe(round_trip_s)
        event = Pinged(round_trip_s * 1000)
        for stream in tuple(self._streams.get(worker, ())):
            await stream.feed(event)

    async def _give_up(self, worker: str, how: Loss) -> None:
        streams = self._streams.pop(worker, set())
        self._watches.pop(worker, None)
        metrics.WORKERS_WATCHED.set(len(self._watches))
        metrics.WORKERS_LOST.labels(how).inc()
        _log.warning("worker-lost", worker=worker, how=how, streams=len(streams))
        for stream in streams:
            await stream.feed(EndDecided(Ending.WORKER_LOST))
