"""The modelled model and tools of the whole fleet: each session speaks in a voice of its own."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from call_world.model import ModelSession

from trunkline_common.call_events import ToolOutcome
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpRequest
from trunkline_worker.runner import CallRunner
from trunkline_worker.tool_runner import MayAct

if TYPE_CHECKING:
    from fleet_world.processes import Process
    from fleet_world.world import World

VOICES = [byte for byte in range(1, 0xFF) if byte != 0x55]
"""Bytes of μ-law that are neither silence nor the caller's."""

CALLS = [("look", "{}"), ("act", '{"n": 1}')]


class FleetSession:
    """Stands where `session.Session` does: the socket of one worker's call to the model, and the model."""

    def __init__(
        self, world: World, number: int, on_event: Callable[[events.ModelEvent], None], delay_s: float
    ) -> None:
        self.world = world
        self.number = number
        self.process: Process = world.running
        self.fence_of_voice: Callable[[], object]
        self._on_event = on_event
        self._closed = False
        self.owner = world.checks.owner_of(on_event)
        self.ids_from = 100 * self.owner.number
        self.voice = world.new_voice(self)
        self.doings = Skills(world) if world.agent.tools else None
        self._model = ModelSession(self, number)
        if delay_s:
            self.process.loop.call_soon(on_event, events.SessionDelayed(number, delay_s))
        world.agenda.after(delay_s, self._model.open)

    # --- For the worker

    def send(self, event: commands.ClientEvent, _received_at: float = 0.0) -> None:
        if not self._closed:
            self._model.take(event)

    def close(self) -> None:
        self._closed = self._model.closed = True
        self._model.alive = False

    @property
    def is_open(self) -> bool:
        """Somebody pays for it."""
        return not self._closed and not self.process.is_dead

    # --- For the model

    @property
    def random(self) -> random.Random:
        return self.world.draw

    @property
    def agent(self) -> Agent:
        return self.world.agent

    @property
    def now(self) -> float:
        return self.world.now

    @property
    def ended(self) -> bool:
        return not self.is_open

    @property
    def is_kind(self) -> bool:
        return self.world.model_is_kind

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        self.world.agenda.after(delay_s, action)

    def at(self, at: float, action: Callable[[], object]) -> None:
        self.world.agenda.at(at, action)

    def saw(self, what: str) -> None:
        self.world.saw(what)

    def hear(self, _session: ModelSession, event: events.ModelEvent) -> None:
        if not self.process.is_dead:
            self.process.loop.call_soon(self._tell, event)

    def _tell(self, event: events.ModelEvent) -> None:
        if self._closed:
            return
        if isinstance(event, events.SessionLost):
            self.close()
        self._on_event(event)


class Skills:
    """What one session's model does besides talking, and what it was told of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: set[str] = set()
        self._answered: set[str] = set()

    def speaks(self) -> bool:
        # Once all is well it says something each time, so that it can be told whether the caller is answered.
        return self._world.draw.random() < 0.8 or self._world.is_healed

    def calls_of(self, session: ModelSession, response_id: str, *, spoke: bool) -> list[events.ToolCalled]:
        if spoke and self._world.draw.random() < 0.5:
            return []
        self._world.tool_calls += 1
        made = self._world.tool_calls
        name, arguments = self._world.draw.choice(CALLS)
        self._known.add(f"call_{made}")
        return [events.ToolCalled(session.number, response_id, f"F{made}", f"call_{made}", name, arguments)]

    def created(self, _session: ModelSession, event: commands.CreateFunctionCall) -> None:
        assert event.tool_call_id not in self._known, "a call was created twice"
        self._known.add(event.tool_call_id)

    def answered(self, _session: ModelSession, event: commands.CreateFunctionOutput) -> None:
        assert event.tool_call_id in self._known, "the answer of an unknown call"
        assert event.tool_call_id not in self._answered, "a call was answered twice"
        self._answered.add(event.tool_call_id)


class ModelledTools:
    """Stands where `tool_runner.ToolRunner` does: every tool answers, some time."""

    runs: Counter[str]

    def __init__(self, world: World) -> None:
        self._world = world

    def start(
        self,
        tool_call_id: str,
        request: HttpRequest,
        on_return: Callable[[events.ToolReturned], None],
        may_act: MayAct | None = None,
    ) -> asyncio.Task[None]:
        waits = None if request.method == "GET" else may_act
        runner = on_return.__self__  # type: ignore[attr-defined]  # its method `apply`
        running = self._run(tool_call_id, request, on_return, waits, runner)
        return asyncio.get_running_loop().create_task(running)

    async def _run(
        self,
        tool_call_id: str,
        request: HttpRequest,
        on_return: Callable[[events.ToolReturned], None],
        may_act: MayAct | None,
        runner: CallRunner,
    ) -> None:
        if may_act is not None:
            await may_act()
        self._world.checks.tool_runs(tool_call_id, request.method, runner)
        await asyncio.sleep(self._world.draw.choice([0.05, 0.3, 0.8, 2.0]))
        on_return(events.ToolReturned(tool_call_id, ToolOutcome.OK, '{"ok":true}'))

    async def close(self) -> None:
        """There is nothing to close."""
