"""Pings each worker that one of our streams depends on, and tells the streams how it is and how far their calls are.

A ping that fails says something about the worker only while NATS works: see `pulse.py`. A worker that is
lost is pinged on: while nobody else has room for its calls, it may be back.
"""

import asyncio
import time
from typing import Final, Protocol

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.control import ControlError, PingReply
from trunkline_common.pulse import PING_TIMEOUT_S, REFUSED_AGAIN_S, Pulse
from trunkline_gateway import metrics
from trunkline_gateway.events import Event, LinkLost, Pinged, WorkerLost
from trunkline_gateway.progress import Progress
from trunkline_gateway.reasons import Loss

PING_INTERVAL_S: Final = 0.2

_log = log.get(__name__)


class Listener(Protocol):
    """A stream that wants to know how its worker is."""

    @property
    def call_id(self) -> str:
        """Its call."""

    def newest_seq_at(self, worker: str) -> int | None:
        """Return the number of the newest frame that this worker was sent; None while frames wait, or it has none."""

    async def feed(self, event: Event) -> None:
        """Apply an event."""


class Workers:
    """One watch per worker, for as long as a stream of ours depends on it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._streams: dict[str, dict[Listener, Progress]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._link_broke = asyncio.Event()
        bus.on_audio_link(self._on_audio_link)

    async def run(self) -> None:
        """Keep the watches until cancelled; a watch that fails ends the service."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                await self._link_broke.wait()
                self._link_broke.clear()
                for worker in tuple(self._streams):
                    await self._tell_all(worker, LinkLost())

    def hold(self, worker: str, stream: Listener) -> None:
        """Watch `worker` on behalf of a stream."""
        self._streams.setdefault(worker, {}).setdefault(stream, Progress())
        if worker not in self._watches:
            self._watches[worker] = self._tasks.create_task(self._watch(worker), name=f"watch-{worker}")
            metrics.WORKERS_WATCHED.set(len(self._watches))

    def release(self, worker: str, stream: Listener) -> None:
        """The stream no longer needs `worker`; the last one ends the watch."""
        streams = self._streams.get(worker, {})
        streams.pop(stream, None)
        if not streams and worker in self._watches:
            # Its own task may be what came here, by telling a stream: it ends by itself then.
            watch = self._watches.pop(worker)
            if watch is not asyncio.current_task():
                watch.cancel()
            self._streams.pop(worker, None)
            metrics.WORKERS_WATCHED.set(len(self._watches))

    async def _watch(self, worker: str) -> None:
        pulse = Pulse()
        was_lost = False
        links = self._links()
        while self._watches.get(worker) is asyncio.current_task():
            sent_at = time.monotonic()
            pause_s = PING_INTERVAL_S
            lost: str | None = None
            reply: bytes | None = None
            try:
                reply = await self._bus.request(subjects.worker_ping(worker), b"", PING_TIMEOUT_S)
            except NobodyListensError:
                lost = pulse.refused(time.monotonic())
                pause_s = REFUSED_AGAIN_S if pulse.is_in_doubt else PING_INTERVAL_S
            except NoAnswerError:
                if await self._bus.works(PING_TIMEOUT_S):
                    lost = pulse.missed(time.monotonic())
                else:
                    pulse.bus_broke(time.monotonic())
                    await self._tell_all(worker, LinkLost(since=sent_at))
            if self._links() != links:
                # Whatever was sent before may be lost, and how the worker is will be told by the next ping.
                links = self._links()
                pulse.bus_broke(time.monotonic())
                await self._tell_all(worker, LinkLost())
            elif lost:
                how = Loss(lost)
                self._note(worker, how, is_new=not was_lost)
                was_lost = True
                await self._tell_all(worker, WorkerLost(worker, how))
            elif reply is not None:
                pulse.answered()
                was_lost = False
                await self._tell(worker, reply, time.monotonic() - sent_at)
            await asyncio.sleep(max(sent_at + pause_s - time.monotonic(), 0))

    def _on_audio_link(self, is_up: bool) -> None:
        # Before there is a new link: what came by that would be taken for all that there was.
        if not is_up:
            self._link_broke.set()

    def _links(self) -> tuple[int, int]:
        return self._bus.reconnects, self._bus.audio_reconnects

    async def _tell(self, worker: str, answer: bytes, round_trip_s: float) -> None:
        metrics.PING_ROUND_TRIP_SECONDS.observe(round_trip_s)
        try:
            consumed = control.decode(answer, PingReply).consumed
        except ControlError:
            consumed = {}
        now = time.monotonic()
        stuck = []
        for stream, progress in tuple(self._streams.get(worker, {}).items()):
            call_consumed = consumed.get(stream.call_id)
            if progress.is_stuck(call_consumed, stream.newest_seq_at(worker), now):
                stuck.append(stream)
            else:
                await stream.feed(Pinged(round_trip_s * 1000, worker, call_consumed))
        if not stuck:
            return
        # Frames that wait in a link of ours look the same.
        event = WorkerLost(worker, Loss.STUCK) if await self._bus.audio_flows(PING_TIMEOUT_S) else LinkLost()
        for stream in stuck:
            await stream.feed(event)

    async def _tell_all(self, worker: str, event: Event) -> None:
        for stream in tuple(self._streams.get(worker, ())):
            await stream.feed(event)

    def _note(self, worker: str, how: Loss, *, is_new: bool) -> None:
        if is_new:
            metrics.WORKERS_LOST.labels(how).inc()
            _log.warning("worker-lost", worker=worker, how=how, streams=len(self._streams.get(worker, ())))
