"""Pure: the tools of one call. What the model calls is checked, run, answered once, and followed by one response.

Rules:

* Every call of the model is answered exactly once with a `function_call_output`, at once when it is refused. The
  model is told what to do about it; a refusal is never silence.
* The calls of one response belong together: the model speaks again when the last of them was answered and the
  response itself has ended.
* When the caller speaks, a call that only reads is given up. Any other runs on: half an order is worse than one
  that nobody waited for.
* What a call may do is decided by the profile and by facts of the call, never by what the model says.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from trunkline_common import call_events
from trunkline_common.call_events import ToolOutcome
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import ArgumentsError, BuiltInTool, HttpTool, McpTool, TransferTarget
from trunkline_worker.commands import (
    CancelTool,
    Command,
    Count,
    CreateFunctionCall,
    CreateFunctionOutput,
    Measure,
    Record,
    RunTool,
    SendToModel,
)
from trunkline_worker.history import ITEM_ID_CHARACTERS_MAX, History
from trunkline_worker.tool_answers import ARGUMENTS_BYTES_MAX, failed, problem, promised, recorded
from trunkline_worker.tool_profiles import schema_validator

RUNNING_MAX: Final = 4
"""Calls of one call under way at once; the model rarely makes two."""

ROUNDS_MAX: Final = 8
"""Answers in a row that only tools asked for. A model that calls on and on costs money and talks to nobody."""

SEEN_MAX: Final = 256
"""Calls that are known by their id: each is announced twice, the second time with its response's end."""

RUNNER_MARGIN_S: Final = 2.0
"""The runner keeps the tool's own time; this is for a runner that fails."""

PROBLEMS_TOLD_MAX: Final = 3
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Departure:
    """What the agent asked for: to be done once its last words were heard."""

    tool: str
    """Name of the built-in tool."""
    target: TransferTarget | None = None
    digits: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A response that the model should be asked for."""

    reason: str
    """`tools` or `filler`."""
    instructions: str | None = None


@dataclass(slots=True)
class _Running:
    call: events.ToolCalled
    tool: HttpTool
    started_at: float
    filler_at: float | None
    lost_at: float
    """Without a word by then, its runner is broken."""
    known: bool = True
    """The session in use has the call in its conversation."""


@dataclass(slots=True)
class _Round:
    """The calls of one response."""

    running: int = 0
    done: bool = False
    """The response has ended."""
    wants_response: bool = False
    filler_said: bool = False


class Tools:
    """What the model called, what runs, and what it was told."""

    def __init__(self, agent: Agent, call_id: str, history: History) -> None:
        self.connected = False
        """A session is there that can be answered; otherwise the history tells the next one."""
        self._history = history
        self.promised = False
        """Something that the agent asked for at the end of its words is about to happen."""
        self._departure: Departure | None = None
        self._call_id = call_id
        self._targets = {each.name: each for each in agent.transfer_targets}
        self._tools: dict[str, HttpTool | BuiltInTool] = {
            each.name: each
            for each in (*agent.built_in_tools(), *agent.tools)
            if not isinstance(each, McpTool)
        }
        self._validators = {name: schema_validator(tool.parameters) for name, tool in self._tools.items()}
        self.refused = 0
        """Calls beyond the rate, so far."""
        self._per_minute = agent.tools_per_minute
        self._called_at: deque[float] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._rounds: dict[str, _Round] = {}
        self._wanted: list[Wanted] = []
        self._rounds_in_a_row = 0
        self._outputs = 0

    def resume(self, refused: int, now: float) -> list[Command]:
        """Go on where another owner of the call was: what it had not answered runs again, or is answered."""
        self.refused = refused
        commands: list[Command] = []
        for item in self._history.items():
            if item.speaker == "tool" and item.output is None:
                call = events.ToolCalled(0, "", item.item_id, item.tool_call_id, item.name, item.arguments)
                commands += self._run_again(call, now)
        if self._answered(""):
            self._want_response("")
        return commands

    def called(
        self, call: events.ToolCalled, media_ms: int, now: float, *, interrupted: bool = False
    ) -> list[Command]:
        """The model called a tool; `interrupted` when the caller already spoke into that response."""
        if call.tool_call_id in self._seen:
            return []
        self._seen[call.tool_call_id] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        self._history.tool_called(call.item_id, call.tool_call_id, call.name, call.arguments)
        commands: list[Command] = [Record(recorded(call, media_ms))]
        if interrupted:
            why = "The caller spoke first, so it was not called. Call again if it is still wanted."
            return commands + self._answer(call, ToolOutcome.CANCELLED, failed(why))
        group = self._rounds.setdefault(call.response_id, _Round())
        group.wants_response = True
        try:
            return commands + self._start(call, group, now)
        except ArgumentsError as error:
            return commands + self._answer(call, ToolOutcome.REFUSED, failed(str(error)))

    def returned(self, event: events.ToolReturned, now: float) -> list[Command]:
        """A tool answered."""
        running = self._running.pop(event.tool_call_id, None)
        if running is None:
            return [Count(Measure.TOOL_LATE)]
        commands = self._finish(running, event.outcome, event.output, now, event.http_status)
        response_id = running.call.response_id
        if self._answered(response_id):
            self._want_response(response_id)
        return commands

    def mcp_call_ended(self, response_id: str) -> None:
        """In this response the model called a tool by itself; it says nothing of the answer unless asked to."""
        self._rounds.setdefault(response_id, _Round()).wants_response = True

    def response_done(self, response_id: str, *, asks_no_more: bool = False) -> None:
        """The response has ended: ask for the next one when all its calls are answered.

        `asks_no_more`: it was cut off, or said already what had to be said.
        """
        group = self._rounds.get(response_id)
        if group is None:
            return
        group.done = True
        if asks_no_more and not group.running:
            group.wants_response = False
        if self._answered(response_id):
            self._want_response(response_id)

    def caller_spoke(self, now: float) -> list[Command]:
        """Give up what only reads; the caller's words will be answered by themselves."""
        self._rounds_in_a_row = 0
        self._wanted.clear()
        commands: list[Command] = []
        for running in [each for each in self._running.values() if each.tool.only_reads]:
            call = running.call
            del self._running[call.tool_call_id]
            why = "The caller spoke before the answer came. Call again if it is still wanted."
            commands.append(CancelTool(call.tool_call_id))
            commands += self._finish(running, ToolOutcome.CANCELLED, failed(why), now)
        for response_id, group in list(self._rounds.items()):
            if not group.running:
                group.wants_response = False
            if self._answered(response_id):
                del self._rounds[response_id]
        return commands

    def session_opened(self) -> None:
        """A session is there, told of all that was answered; what still runs it has never heard of."""
        self.connected = True
        for running in self._running.values():
            running.known = False

    def session_closed(self) -> None:
        """The session is gone: none of its responses will announce its end."""
        self.connected = False
        for response_id, group in list(self._rounds.items()):
            group.done = True
            if not group.running:
                self._want_response(response_id)

    def take_departure(self) -> Departure | None:
        """Return what the agent asked for and was promised, once."""
        departure, self._departure = self._departure, None
        return departure

    def take_wanted(self) -> list[Wanted]:
        """Return the responses to ask for since the last time."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        return min((_due_at(each) for each in self._running.values()), default=None)

    def tick(self, now: float, *, agent_is_heard: bool) -> list[Command]:
        """Let the agent say something when a tool takes long, unless it still speaks."""
        commands: list[Command] = []
        for running in list(self._running.values()):
            if now >= running.lost_at:
                tool_call_id = running.call.tool_call_id
                why = failed("The service did not answer in time.")
                commands.append(CancelTool(tool_call_id))
                commands += self.returned(events.ToolReturned(tool_call_id, ToolOutcome.TIMEOUT, why), now)
            elif running.filler_at is not None and now >= running.filler_at:
                self._fill(running, now, agent_is_heard=agent_is_heard)
        return commands

    def close(self, now: float) -> list[Command]:
        """The call is over: nothing runs on."""
        self.connected = False
        self._wanted.clear()
        commands: list[Command] = []
        running, self._running = list(self._running.values()), {}
        for each in running:
            commands.append(CancelTool(each.call.tool_call_id))
            commands += self._finish(each, ToolOutcome.CANCELLED, failed("The call ended."), now)
        return commands

    # --- One call

    def _start(self, call: events.ToolCalled, group: _Round, now: float) -> list[Command]:
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            raise ArgumentsError(f"There is no tool of this name. There are: {known}.")
        self._count_call(now)
        arguments = self._arguments(call)
        if isinstance(tool, BuiltInTool):
            self._promise(tool, arguments)
            return self._answer(call, ToolOutcome.OK, promised(tool.name))
        if len(self._running) >= RUNNING_MAX:
            raise ArgumentsError("Too many tools run at once. Wait for their answers, then call again.")
        request = tool.request(arguments, f"{self._call_id}-{call.tool_call_id}")
        filler_at = now + tool.filler_after_ms / 1000 if tool.filler else None
        self._running[call.tool_call_id] = _Running(
            call, tool, now, filler_at, now + tool.timeout_s + RUNNER_MARGIN_S
        )
        group.running += 1
        return [RunTool(call.tool_call_id, request)]

    def _run_again(self, call: events.ToolCalled, now: float) -> list[Command]:
        tool = self._tools.get(call.name)
        group = self._rounds.setdefault(call.response_id, _Round(done=True, wants_response=True))
        again = isinstance(tool, HttpTool) and (tool.only_reads or tool.retry)
        try:
            if again:
                commands = self._start(call, group, now)
                self._running[call.tool_call_id].known = False
                return commands
            why = "It is not known whether this was carried out. Find out before you call it again."
        except ArgumentsError as error:
            why = str(error)
        return self._answer(call, ToolOutcome.FAILED, failed(why))

    def _count_call(self, now: float) -> None:
        while self._called_at and self._called_at[0] <= now - MINUTE_S:
            self._called_at.popleft()
        if len(self._called_at) >= self._per_minute:
            self.refused += 1
            raise ArgumentsError("Too many tool calls in a minute. Call none for now; tell the caller so.")
        self._called_at.append(now)

    def _fill(self, running: _Running, now: float, *, agent_is_heard: bool) -> None:
        if agent_is_heard:
            running.filler_at = now + running.tool.filler_after_ms / 1000
            return
        running.filler_at = None
        group = self._rounds[running.call.response_id]
        if not group.filler_said and self.connected:
            group.filler_said = True
            words = f'Say this and nothing else, and call no tool: "{running.tool.filler}"'
            self._wanted.append(Wanted("filler", words))

    def _arguments(self, call: events.ToolCalled) -> dict[str, Any]:
        if len(call.arguments) > ARGUMENTS_BYTES_MAX:
            raise ArgumentsError("The arguments are too long.")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (ValueError, RecursionError):
            raise ArgumentsError("The arguments are no JSON.") from None
        errors = self._validators[call.name].iter_errors(arguments)
        told = [error for error, _ in zip(errors, range(PROBLEMS_TOLD_MAX), strict=False)]
        if told:
            problems = "; ".join(problem(error.message, error.instance_path) for error in told)
            raise ArgumentsError(f"The arguments do not fit: {problems}.")
        assert isinstance(arguments, dict), "every schema is of type object"
        return arguments

    def _promise(self, tool: BuiltInTool, arguments: Mapping[str, Any]) -> None:
        if self.promised:
            raise ArgumentsError("Something else was asked for already and is about to happen.")
        target = self._targets.get(str(arguments.get("target", "")))
        self.promised = True
        self._departure = Departure(tool.name, target, str(arguments.get("digits", "")))

    def _finish(
        self, running: _Running, outcome: ToolOutcome, output: str, now: float, http_status: int | None = None
    ) -> list[Command]:
        group = self._rounds[running.call.response_id]
        group.running -= 1
        duration_ms = (now - running.started_at) * 1000
        return self._answer(running.call, outcome, output, duration_ms, http_status, known=running.known)

    def _answer(
        self,
        call: events.ToolCalled,
        outcome: ToolOutcome,
        output: str,
        duration_ms: float = 0.0,
        http_status: int | None = None,
        *,
        known: bool = True,
    ) -> list[Command]:
        self._history.tool_returned(call.tool_call_id, output)
        returned = call_events.ToolReturned(
            tool_call_id=call.tool_call_id,
            name=call.name,
            outcome=outcome,
            output=output,
            duration_ms=duration_ms,
            http_status=http_status,
        )
        commands: list[Command] = [Record(returned)]
        if not self.connected:
            return commands
        self._outputs += 1
        # One number for the events and the item: all are given once.
        number = self._outputs
        if not known:
            item_id = call.item_id[:ITEM_ID_CHARACTERS_MAX]
            created = CreateFunctionCall(
                f"call_{number}", item_id, call.tool_call_id, call.name, call.arguments
            )
            commands.append(SendToModel(created))
        answer = CreateFunctionOutput(f"tool_{number}", f"tool_{number}", call.tool_call_id, output)
        return [*commands, SendToModel(answer)]

    def _answered(self, response_id: str) -> bool:
        group = self._rounds.get(response_id)
        return group is not None and group.done and not group.running

    def _want_response(self, response_id: str) -> None:
        group = self._rounds.pop(response_id)
        if not group.wants_response:
            return
        self._rounds_in_a_row += 1
        if self._rounds_in_a_row <= ROUNDS_MAX:
            self._wanted = [Wanted("tools")]


def _due_at(running: _Running) -> float:
    return running.lost_at if running.filler_at is None else min(running.filler_at, running.lost_at)
