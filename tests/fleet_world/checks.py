"""What must hold in the fleet, after every step and at the end: the invariants of the design, I1 to I6.

A rule that is broken is told to the world instead of raised: it may be noticed deep inside a service, whose task
boundaries would take it for a fault of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleet_world.processes import Process, WorkerProcess
from fleet_world.twilio import Stream
from trunkline_common import call_events
from trunkline_common.call_events import Envelope
from trunkline_common.frames import Fence
from trunkline_gateway import metrics as gateway_metrics
from trunkline_gateway.comfort import DOUBLE_TICK
from trunkline_gateway.reasons import Drop
from trunkline_worker import commands, events
from trunkline_worker import metrics as worker_metrics
from trunkline_worker.call import Call
from trunkline_worker.runner import CallRunner

if TYPE_CHECKING:
    from fleet_world.world import World

TAIL_S = 0.5
"""What the caller said so shortly before a stream ended may have been on its way."""


@dataclass(slots=True, eq=False)
class Owner:
    """One call at one worker."""

    number: int
    runner: CallRunner
    process: Process


class Checks:
    """Watches the fleet from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owners: dict[CallRunner, Owner] = {}
        self._speaker: dict[tuple[str, Fence], CallRunner] = {}
        self._newest_fence: dict[str, Fence] = {}
        self._consumed: defaultdict[str, set[int]] = defaultdict(set)
        self._said: defaultdict[str, dict[int, tuple[Stream, float]]] = defaultdict(dict)
        self._acknowledged: set[str] = set()
        self._tool_runs: Counter[str] = Counter()
        self._dropped_before = _dropped()

    def require(self, holds: bool, rule: str) -> None:
        """Fail the world when a rule does not hold."""
        if not holds:
            self._world.fault(rule)

    # --- While it happens

    def owner_of(self, on_event: Any) -> Owner:
        """Return the owner that opens a session, by where its events go."""
        runner = on_event.__self__
        assert isinstance(runner, CallRunner)
        if runner not in self._owners:
            self._owners[runner] = Owner(len(self._owners), runner, self._world.running)
        return self._owners[runner]

    def frame_said(self, stream: Stream, number: int) -> None:
        """The caller's audio leaves Twilio."""
        self._said[stream.call.sid][number] = (stream, self._world.now)

    def consumed(self, call_id: str, event: events.CallerAudio) -> None:
        """A worker's core has taken a frame of the caller."""
        self._consumed[call_id].add(int.from_bytes(event.ulaw[:4]))

    def heard(self, stream: Stream, payload: bytes) -> None:
        """I1, I5: the caller hears one owner at a time, and never an older one after a newer one."""
        if payload == DOUBLE_TICK:
            self._world.saw("comfort")
            return
        call_id = stream.call.sid
        assert stream.connection is not None
        fence = stream.connection._stream.fence
        runner = self._world.voices[payload[0]].owner.runner
        newest = self._newest_fence.get(call_id, fence)
        self.require(fence >= newest, f"I5: {call_id} hears {fence} after {newest}")
        speaker = self._speaker.setdefault((call_id, fence), runner)
        self.require(speaker is runner, f"I1: two workers speak to {call_id} under {fence}")
        self.require(runner.call_id == call_id, f"I1: {call_id} hears another call")
        self._newest_fence[call_id] = max(fence, newest)
        stream.call.agent_heard_at.append(self._world.now)

    def stored(self, message_id: str, data: bytes, stream: dict[str, Envelope]) -> None:
        """I3: one event for each key."""
        known = stream.get(message_id)
        self.require(
            known is None or call_events.encode(known) == data, f"I3: two events have the key {message_id}"
        )

    def acknowledged(self, message_id: str) -> None:
        """A writer was told that its event is stored."""
        self._acknowledged.add(message_id)

    def tool_runs(self, tool_call_id: str, method: str, runner: CallRunner) -> None:
        """I6: what has an effect happens once, and only at the call's owner."""
        self._tool_runs[tool_call_id] += 1
        self._world.saw(f"tool {method}")
        if method == "GET":
            return
        self.require(self._tool_runs[tool_call_id] == 1, f"I6: {tool_call_id} ran twice")
        stream = self._world.calls[runner.call_id].stream
        if stream is not None and stream.connection is not None:
            fence = stream.connection._stream.fence
            self.require(runner.fence >= fence, f"I6: {tool_call_id} ran under {runner.fence} after {fence}")

    # --- At the end

    def at_the_end(self) -> None:
        """Check what only the whole history tells."""
        self.require(self._acknowledged <= self._world.broker.events.keys(), "I3: an event was lost")
        self._check_log()
        self._check_frames()
        sessions = [each for each in self._world.voices.values() if each.is_open]
        self.require(not sessions, f"I4: {len(sessions)} model sessions are left open")

    def _check_log(self) -> None:
        of_owner: defaultdict[tuple[str, Fence], list[Envelope]] = defaultdict(list)
        for envelope in self._world.broker.events.values():
            of_owner[envelope.call_id, envelope.fence].append(envelope)
        for (call_id, fence), envelopes in of_owner.items():
            numbers = [envelope.n for envelope in envelopes]
            self.require(numbers == list(range(len(numbers))), f"I3: {call_id} {fence} has events {numbers}")
            started = {envelope.call_started_at_ms for envelope in envelopes}
            self.require(len(started) == 1, f"I3: {call_id} {fence} began at {started}")
            for envelope in envelopes:
                event = call_events.open_envelope(envelope)
                if isinstance(event, call_events.CallEnded):
                    self.require(
                        event.events_expected == len(numbers), f"I3: {call_id} {fence} expects {event}"
                    )

    def _check_frames(self) -> None:
        """I2: what the caller said was consumed, or is counted as dropped, or was not let through before the end."""
        missing = 0
        for call_id, said in self._said.items():
            consumed = self._consumed[call_id]
            newest: dict[Stream, int] = {}
            for number in consumed:
                stream = said[number][0]
                newest[stream] = max(number, newest.get(stream, -1))
            for number, (stream, _) in said.items():
                missing += number not in consumed and number < newest.get(stream, -1)
        # What left on a link whose break nobody had noticed is sent again, as long as the ring holds it.
        counted = _dropped() - self._dropped_before + self._world.lost_messages
        self.require(
            missing <= counted, f"I2: {missing} frames of the caller are missing, {counted} are counted"
        )

    def is_served(self, call_id: str, since: float) -> bool:
        """Whether the agent was heard since then."""
        call = self._world.calls[call_id]
        return any(at >= since for at in call.agent_heard_at)


def watched(world: World) -> Callable[..., Call]:
    """Return what stands where `Call` is made: one whose frames are counted."""

    class WatchedCall(Call):
        def handle(self, event: events.Event, now: float) -> list[commands.Command]:
            if isinstance(event, events.CallerAudio) and not world.running.is_dead:
                world.checks.consumed(self.call_id, event)
            return super().handle(event, now)

        def __init__(self, call_id: str, *rest: Any) -> None:
            super().__init__(call_id, *rest)
            self.call_id = call_id

    return WatchedCall


def workers_of(world: World) -> list[WorkerProcess]:
    """Return the workers that live."""
    return [each for each in world.processes.values() if isinstance(each, WorkerProcess) and not each.is_dead]


def _dropped() -> float:
    """Return how many frames of callers the services have counted as dropped or lost."""
    drops = gateway_metrics.FRAMES_DROPPED
    ring = sum(drops.labels(drop)._value.get() for drop in (Drop.RING_FULL, Drop.ATTACH_BUFFER_FULL))
    refused = worker_metrics.FRAMES_REFUSED.labels("late")._value.get()
    lost: float = worker_metrics.FRAMES_LOST._value.get()
    return float(ring) + float(refused) + lost
