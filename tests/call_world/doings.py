"""What the modelled agent does besides talking: it calls tools well and badly, hangs up, transfers, presses keys.

Only some seeds have such an agent, and it draws from a source of its own: the others stay as they were.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from trunkline_common.call_events import ToolCalled, ToolOutcome, ToolReturned
from trunkline_common.control import NextStep
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool, TransferTarget

if TYPE_CHECKING:
    from call_world.model import ModelSession
    from call_world.world import World

ANYTHING = {"type": "object", "properties": {"n": {"type": "integer"}}}
CALLS = [
    *[("look", "{}")] * 4,
    *[("act", '{"n": 1}')] * 4,
    *[("act", '{"n": "one"}'), ("look", "{"), ("nothing", "{}")],
    *[("end_call", "{}"), ("transfer_call", '{"target": "desk"}'), ("send_digits", '{"digits": "1#"}')],
]


def able(agent: Agent) -> Agent:
    """Return the agent with tools of every kind."""
    return dataclasses.replace(
        agent,
        tools=(
            HttpTool("look", "Look.", ANYTHING, "GET", "https://a.example/", filler="One moment."),
            HttpTool("act", "Act.", ANYTHING, "POST", "https://a.example/"),
        ),
        can_end_call=True,
        can_send_digits=True,
        transfer_targets=(TransferTarget("desk", "+12025550160", timeout_s=20),),
        tools_per_minute=8,
    )


class Doings:
    """The tools of one call, whom it is transferred to, and what must hold of both."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = random.Random(f"doings of {world.seed}")
        self._made = 0
        self._known: defaultdict[int, set[str]] = defaultdict(set)
        """The calls in each session's conversation."""
        self._answered: Counter[tuple[int, str]] = Counter()
        self._run: Counter[str] = Counter()
        self._running: set[str] = set()
        self._called: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()

    def owner_gone(self) -> None:
        """The worker is no more: its sessions and its requests died with it."""
        self._known.clear()
        self._answered.clear()
        self._running.clear()

    @property
    def _owners_before(self) -> int:
        return self._world.owners.changes if self._world.owners else 0

    # --- The model's side

    def speaks(self) -> bool:
        """Whether a response has words; one without them calls."""
        return self._draw.random() < 0.8

    def calls_of(self, session: ModelSession, response_id: str, *, spoke: bool) -> list[events.ToolCalled]:
        """Return what a response calls at its end."""
        if spoke and self._draw.random() < 0.5:
            return []
        calls = []
        for _ in range(self._draw.choice([1, 1, 1, 2])):
            self._made += 1
            name, arguments = self._draw.choice(CALLS)
            call_id = f"call_{self._made}"
            calls.append(
                events.ToolCalled(session.number, response_id, f"F{self._made}", call_id, name, arguments)
            )
            self._known[session.number].add(call_id)
        return calls

    def created(self, session: ModelSession, event: commands.CreateFunctionCall) -> None:
        """A session is told of a call that it does not know."""
        assert event.tool_call_id not in self._known[session.number], "a call was created twice"
        self._known[session.number].add(event.tool_call_id)

    def answered(self, session: ModelSession, event: commands.CreateFunctionOutput) -> None:
        """A session is told what a tool returned."""
        assert event.tool_call_id in self._known[session.number], "the answer of an unknown call"
        self._answered[session.number, event.tool_call_id] += 1
        assert self._answered[session.number, event.tool_call_id] == 1, "a call was answered twice"

    # --- The shell's side

    def follow(self, command: commands.Command) -> None:
        """Let a command happen."""
        match command:
            case commands.RunTool(tool_call_id, request):
                # Where a worker died, the next one asks again, if that is harmless.
                times = self._run[tool_call_id]
                assert times == 0 or (request.method == "GET" and times <= self._owners_before), (
                    "a tool ran twice"
                )
                self._start(tool_call_id)
            case commands.CancelTool(tool_call_id):
                assert tool_call_id in self._running, "cancelled, but not running"
                self._running.discard(tool_call_id)
            case commands.Record(ToolCalled() as event):
                self._called[event.tool_call_id] += 1
            case commands.Record(ToolReturned() as event):
                self._returned[event.tool_call_id] += 1
                self._world.saw(f"tool {event.outcome}")
            case commands.HangUp(next_step) if next_step is not NextStep.FALLBACK:
                self._leave(next_step)

    def _start(self, tool_call_id: str) -> None:
        self._run[tool_call_id] += 1
        self._running.add(tool_call_id)
        if self._draw.random() < 0.03:
            return
        outcome = self._draw.choice([ToolOutcome.OK, ToolOutcome.OK, ToolOutcome.FAILED, ToolOutcome.TIMEOUT])
        returned = events.ToolReturned(tool_call_id, outcome, '{"ok":true}')
        # A shell says nothing of a cancelled call; the core must not rely on that.
        speaks_always = self._draw.random() < 0.3

        def come_back() -> None:
            if tool_call_id in self._running or speaks_always:
                self._running.discard(tool_call_id)
                self._world.tell(returned)

        self._world.after(self._draw.choice([0.05, 0.3, 0.8, 2.0, 6.0]), come_back)

    def _leave(self, next_step: NextStep) -> None:
        world, line, draw = self._world, self._world.line, self._draw
        world.saw(next_step.value)
        line.close_stream()
        if next_step is NextStep.SEND_DIGITS:
            world.after(draw.uniform(0.5, 3), line.attach)
        elif next_step is NextStep.TRANSFER:
            fate = draw.choice(["completed", "answered", "no-answer", "busy", "failed", "", "lost"])
            rings_s = draw.uniform(1, 20)
            if fate == "lost":
                # The target was never dialled, and Twilio goes on with the call.
                world.after(rings_s, line.attach)
            elif fate:
                world.after(rings_s, lambda: world.tell(events.Dialed(fate)))
            if fate in {"no-answer", "busy", "failed"}:
                world.after(rings_s + 0.3, line.attach)

    def check_at_the_end(self) -> None:
        """Every call that was made was recorded, run and answered once."""
        assert self._called.keys() == self._returned.keys()
        for counter in (self._called, self._returned):
            assert max(counter.values(), default=1) <= 1 + self._owners_before
