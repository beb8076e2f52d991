"""Workers that are paused at the worst of times: for longer than their gateway waits for them."""

from __future__ import annotations

from typing import Any

from call_world.doings import able
from call_world.model import ModelSession

from fleet_world.model import FleetSession
from fleet_world.processes import GatewayProcess, WorkerProcess
from fleet_world.twilio import Call
from fleet_world.world import BOOT_S, World
from trunkline_worker import events
from trunkline_worker.agent import Agent

PAUSE_S = 1.5
ARRIVES_S = 0.05
"""After the pause began: a message that the paused process finds in its socket."""


class OnlyWorkerPaused(World):
    """The gateway finds the owner lost and asks for another, but there is none; then the owner is back."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.model_is_kind = True
        self.agent = Agent(audio_path="pcmu", filler="none")

    def _live(self) -> None:
        for kind in (GatewayProcess, WorkerProcess):
            self._start(kind)
        self._go_on(BOOT_S)
        call = Call(self, 0)
        self.calls[call.sid] = call
        call.begin()
        self._go_on(5.0)
        (worker,) = (each for each in self.processes.values() if isinstance(each, WorkerProcess))
        worker.pause()
        self._go_on(PAUSE_S)
        worker.resume()
        self._go_on(2.0)
        self.checks.require(not call.over, f"the call is over: {call.over}")
        self.checks.require(len(self.voices) == 1, "the worker gave up its session, and began another")
        self._raise()


class PausedBeforeATool(World):
    """The model asks for a tool that changes something, and the worker is paused before it hears that."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.model_is_kind = True
        self.agent = able(Agent(audio_path="pcmu", filler="none"))

    def _live(self) -> None:
        for kind in (GatewayProcess, GatewayProcess, WorkerProcess, WorkerProcess, WorkerProcess):
            self._start(kind)
        self._go_on(BOOT_S)
        call = Call(self, 0)
        self.calls[call.sid] = call
        call.begin()
        self._go_on(20.0)
        self.checks.require(not call.over, f"the call is over: {call.over}")
        self._raise()

    def _session(
        self, number: int, _model: str, _settings: object, on_event: Any, delay_s: float
    ) -> FleetSession:
        return PausingSession(self, number, on_event, delay_s)


class PausingSession(FleetSession):
    """Its worker is paused once: when the first tool of this kind is asked for."""

    def hear(self, session: ModelSession, event: events.ModelEvent) -> None:
        if isinstance(event, events.ToolCalled) and event.name == "act" and not self.world.seen[PAUSED]:
            self.world.saw(PAUSED)
            self.process.pause()
            self.world.agenda.after(PAUSE_S, self.process.resume)
            self.world.agenda.after(ARRIVES_S, lambda: super(PausingSession, self).hear(session, event))
        else:
            super().hear(session, event)


PAUSED = "paused before a tool"
