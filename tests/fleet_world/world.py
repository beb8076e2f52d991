"""One fleet in virtual time: two gateways, three workers, a bus, a model, and one call or two, all from one seed.

The services are the real ones, shells included; modelled is what lies outside of them: NATS, Twilio, the model and the
tools' servers. Processes die, hang, drain and lose their links; what must hold is in `checks.py`.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import structlog
from call_world.doings import able

from fleet_world.bus import Broker
from fleet_world.checks import Checks, watched, workers_of
from fleet_world.clock import Agenda
from fleet_world.faults import Faults
from fleet_world.model import VOICES, FleetSession, ModelledTools
from fleet_world.processes import BusOfProcess, GatewayProcess, Process, WorkerProcess
from fleet_world.twilio import Call
from trunkline_worker.agent import Agent

STARTS_AT = 1_000.0
UNIX_S = 1_700_000_000
BOOT_S = 0.5
HEALS_S = 6.0
"""After the last fault: the call has an owner that answers, whatever happened to it before."""

TALKS_ON_S = 9.0
"""So long the caller stays on the line after that, and speaks at least once."""

ENDS_S = 75.0
"""After the hang-up nothing is left of a call: an offer that was forgotten is the last to go, after 60 s."""

STEPS_SHOWN = 150

MAY_BE_LOGGED = {
    "event-log-not-drained",
    "model-refused",
    "model-breaker-open",
}
"""Errors that are told of what is outside."""


class World:
    """Two gateways, three workers, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.agenda = Agenda(STARTS_AT)
        self.seen: Counter[str] = Counter()
        self.processes: dict[str, Process] = {}
        self.voices: dict[int, FleetSession] = {}
        self.calls: dict[str, Call] = {}
        self.faults: Faults
        self.broker = Broker(self)
        self.checks = Checks(self)
        self.capacity = self.draw.choice([2, 5])
        self.drain_s = 20.0
        """Instead of a minute: the worlds are short."""
        self.streams_max = 10
        self.model_is_kind = seed % 4 != 3
        self.frame_loss = 0.0
        self.is_healed = False
        """All faults are long over."""
        self.lost_messages = 0
        """On broken links."""
        self.bus_back_at = 0.0
        """After an outage of the whole bus."""
        self.tool_calls = 0
        agent = Agent(audio_path="pcmu", filler="none")
        self.agent = able(agent) if seed % 5 == 4 else agent
        self._slow = self.draw.choice([0.0, 0.0, 0.02])
        self._made = Counter[str]()
        self._steps: deque[tuple[float, str, str]] = deque(maxlen=STEPS_SHOWN)
        self._failure: str = ""
        self._cause: BaseException | None = None

    # --- For its parts

    @property
    def now(self) -> float:
        return self.agenda.now

    @property
    def running(self) -> Process:
        """The process that does what is being done."""
        assert self.agenda.running is not None
        return self.processes[self.agenda.running.name]

    def transit_s(self) -> float:
        """Return how long one way over the bus takes."""
        return self.draw.uniform(0.0002, 0.001) + (self._slow if self.draw.random() < 0.1 else 0)

    def copies(self, connection: str, subject: str) -> int:
        """Return how often a message arrives."""
        fate = self.draw.random() if self.frame_loss and connection == "audio" else 1.0
        return 0 if fate < self.frame_loss else 2 if fate < 2 * self.frame_loss else 1

    def gateway_for_twilio(self) -> GatewayProcess | None:
        """Return the gateway that a load balancer picks."""
        gateways = [
            each
            for each in self.processes.values()
            if isinstance(each, GatewayProcess) and each.takes_streams
        ]
        return self.draw.choice(gateways) if gateways else None

    async def redirect(self, call_id: str, url: str) -> str:
        """Twilio's REST API."""
        self.saw("redirect")
        return "redirected" if self.calls[call_id].redirect(url) else "over"

    def new_voice(self, session: FleetSession) -> bytes:
        """Return what this session's audio is made of."""
        byte = VOICES[self._made["voice"] % len(VOICES)]
        self._made["voice"] += 1
        self.voices[byte] = session
        return bytes([byte])

    def saw(self, what: str) -> None:
        """Remember that this happened."""
        self.seen[what] += 1

    def note(self, who: str, what: str) -> None:
        """Remember a step."""
        self._steps.append((self.now, who, what))

    def fault(self, what: str, cause: BaseException | None = None) -> None:
        """A rule is broken."""
        self.note("BROKEN", what)
        if not self._failure:
            self._failure, self._cause = what, cause

    def process_gone(self, process: Process) -> None:
        """Its streams break, and another process takes its place."""
        for call in self.calls.values():
            stream = call.stream
            if stream is not None and stream.gateway is process:
                call.stream_closed(stream, by_gateway=False)
        kind = WorkerProcess if isinstance(process, WorkerProcess) else GatewayProcess
        self.agenda.after(self.draw.uniform(0.3, 2.0), lambda: self._start(kind))

    def last_steps(self) -> str:
        """Return what happened last, one step on a line."""
        return "\n".join(f"{at - STARTS_AT:8.3f} {who} {what}" for at, who, what in self._steps)

    # --- The history

    def run(self) -> None:
        """Let everything happen, and check it."""
        with self._installed():
            try:
                self._live()
            finally:
                for process in list(self.processes.values()):
                    if not process.is_dead:
                        process.loop.die()

    def _live(self) -> None:
        for kind in (GatewayProcess, GatewayProcess, WorkerProcess, WorkerProcess, WorkerProcess):
            self._start(kind)
        self._go_on(BOOT_S)
        for number in range(2 if self.seed % 8 == 7 else 1):
            call = Call(self, number)
            self.calls[call.sid] = call
            self.agenda.after(self.draw.uniform(0, 1), call.begin)
        self.faults = Faults(self)
        healed_at = self.faults.over_at + HEALS_S
        self._go_on(healed_at - self.now)
        self.is_healed = True
        self._go_on(TALKS_ON_S)
        for call in self.calls.values():
            self._check_served(call, healed_at)
            call.hang_up()
        until = self.now + ENDS_S
        while self.now < until and not self._is_quiet():
            self._go_on(1.0)
        self.checks.require(self._is_quiet(), f"I4: something is left: {self._left()}")
        self.checks.at_the_end()
        self._raise()

    def _check_served(self, call: Call, healed_at: float) -> None:
        self.saw(call.over or "served to the end")
        if call.over:
            single = len(self.faults.all) == 1 and self.model_is_kind
            early = not call.agent_heard_at or self.faults.all[0].at < call.agent_heard_at[0]
            self.checks.require(not single or early, f"one fault ended {call.sid}: {call.over}")
            self.checks.require(call.over != "hung up by us", "I4: the caller was taken to have hung up")
            return
        served = self.checks.is_served(call.sid, healed_at)
        self.checks.require(served or not self.model_is_kind, f"nobody answers {call.sid} after all faults")

    def _go_on(self, seconds: float) -> None:
        until = self.now + seconds
        self.agenda.at(until, lambda: None)
        self.agenda.run_until(until, lambda: bool(self._failure))
        self._raise()

    def _raise(self) -> None:
        if self._failure:
            raise AssertionError(self._failure) from self._cause

    def _start(self, kind: type[Process]) -> None:
        prefix = "wk" if kind is WorkerProcess else "gw"
        self._made[prefix] += 1
        kind(self, f"{prefix}-{self._made[prefix]}").start()

    def _is_quiet(self) -> bool:
        return not self._left()

    def _left(self) -> list[str]:
        workers = [f"{each.name} has calls" for each in workers_of(self) if each.calls]
        logs = [f"{each.name} has events" for each in workers_of(self) if each.events_waiting]
        streams = [
            f"{each.name} has streams"
            for each in self.processes.values()
            if isinstance(each, GatewayProcess) and not each.is_dead and each.streams
        ]
        return [*workers, *logs, *streams]

    # --- In place of what is outside

    @contextmanager
    def _installed(self) -> Iterator[None]:
        ours = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("trunkline_") and getattr(module, "time", None) is time
        ]
        places: dict[str, Any] = {
            "trunkline_gateway.main.Bus": BusOfProcess(self),
            "trunkline_gateway.gateway.new_id": lambda _host: self.running.name,
            "trunkline_worker.host.worker_id": lambda: self.running.name,
            "trunkline_worker.host.ToolRunner": lambda _hosts: ModelledTools(self),
            "trunkline_worker.runner.Session": self._session,
            "trunkline_worker.runner.Call": watched(self),
        }
        patches = [patch(place, what) for place, what in places.items()]
        patches += [patch.object(module, "time", VirtualClock(self)) for module in ours]
        for each in patches:
            each.start()
        structlog.configure(processors=[self._on_log])
        try:
            yield
        finally:
            structlog.reset_defaults()
            for each in patches:
                each.stop()

    def _session(
        self, number: int, _model: str, _settings: object, on_event: Any, delay_s: float
    ) -> FleetSession:
        return FleetSession(self, number, on_event, delay_s)

    def _on_log(self, _logger: object, method: str, line: Any) -> Any:
        if self.agenda.running is None or not self.running.is_dead:
            who = self.agenda.running.name if self.agenda.running else "?"
            event = line.pop("event")
            cause = sys.exc_info()[1]
            fields = " ".join(f"{name}={value}" for name, value in line.items() if name != "exc_info")
            self.note(who, f"{event} {fields}")
            if method in {"error", "exception", "critical"} and event not in MAY_BE_LOGGED:
                self.fault(f"{who} logs {event}: {cause!r}", cause)
        raise structlog.DropEvent


class VirtualClock:
    """Stands where `time` is imported."""

    def __init__(self, world: World) -> None:
        self._agenda = world.agenda

    def monotonic(self) -> float:
        return self._agenda.now

    perf_counter = monotonic

    def time_ns(self) -> int:
        return round((UNIX_S + self._agenda.now) * 1e9)
