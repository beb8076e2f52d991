"""Tool calls in any order: whatever model, tools, caller and line do, each call is answered exactly once."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_common.call_events import ToolCalled, ToolOutcome, ToolReturned
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool
from trunkline_worker.history import History
from trunkline_worker.tools import RUNNING_MAX, Tools

ANYTHING = {"type": "object", "properties": {"n": {"type": "integer"}}}
AGENT = Agent(
    tools=(
        HttpTool("look", "Look.", ANYTHING, "GET", "https://a.example/", filler="One moment."),
        HttpTool("act", "Act.", ANYTHING, "POST", "https://a.example/"),
    ),
    can_end_call=True,
    tools_per_minute=12,
)


class ToolsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tools = Tools(AGENT, "CA1", History())
        self.tools.session_opened()
        self.now = 1000.0
        self.calls = 0
        self.response = 1
        self.responses_wanted: list[str] = []
        self.started: Counter[str] = Counter()
        self.running: set[str] = set()
        self.answered: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.recorded: Counter[str] = Counter()
        self.closed = False

    @rule(
        name=st.sampled_from(["look", "look", "act", "act", "end_call", "nothing"]),
        arguments=st.sampled_from(["{}", '{"n": 1}', '{"n": "x"}', "{", ""]) | st.text(max_size=20),
        interrupted=st.booleans(),
        again=st.booleans(),
    )
    @precondition(lambda self: not self.closed and self.tools.connected)
    def model_calls(self, name: str, arguments: str, interrupted: bool, again: bool) -> None:
        if not (again and self.calls):
            self.calls += 1
        called = events.ToolCalled(
            1, f"R{self.response}", f"I{self.calls}", f"call_{self.calls}", name, arguments
        )
        self.follow(self.tools.called(called, 0, self.now, interrupted=interrupted))

    @rule(asks_no_more=st.booleans())
    @precondition(lambda self: not self.closed)
    def response_ends(self, asks_no_more: bool) -> None:
        self.tools.response_done(f"R{self.response}", asks_no_more=asks_no_more)
        self.response += 1

    @rule(which=st.integers(min_value=0, max_value=RUNNING_MAX), outcome=st.sampled_from(ToolOutcome))
    def tool_returns(self, which: int, outcome: ToolOutcome) -> None:
        running = sorted(self.running)
        tool_call_id = running[which % len(running)] if running else "call_1"
        self.running.discard(tool_call_id)
        if not self.closed:
            self.follow(self.tools.returned(events.ToolReturned(tool_call_id, outcome, "{}"), self.now))

    @rule()
    def caller_speaks(self) -> None:
        self.follow(self.tools.caller_spoke(self.now))

    @rule()
    @precondition(lambda self: not self.closed)
    def agent_leaves_or_stays(self) -> None:
        self.tools.take_departure()
        self.tools.promised = False

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 8.0]), agent_is_heard=st.booleans())
    def time_passes(self, seconds: float, agent_is_heard: bool) -> None:
        self.now += seconds
        due_at = self.tools.wake_at()
        if due_at is not None and due_at <= self.now:
            self.follow(self.tools.tick(self.now, agent_is_heard=agent_is_heard))
            again_at = self.tools.wake_at()
            assert again_at is None or again_at > self.now, "due again at once"

    @rule()
    @precondition(lambda self: not self.closed)
    def session_is_lost(self) -> None:
        self.tools.session_closed()
        self.response += 1

    @rule()
    @precondition(lambda self: not self.closed and not self.tools.connected)
    def session_is_restored(self) -> None:
        self.tools.session_opened()

    @rule()
    @precondition(lambda self: not self.closed)
    def call_ends(self) -> None:
        self.follow(self.tools.close(self.now))
        self.closed = True
        assert not self.running
        assert self.recorded.keys() == {f"call_{number}" for number in range(1, self.calls + 1)}

    def follow(self, following: list[commands.Command]) -> None:
        for command in following:
            match command:
                case commands.RunTool(tool_call_id):
                    self.started[tool_call_id] += 1
                    self.running.add(tool_call_id)
                case commands.CancelTool(tool_call_id):
                    assert tool_call_id in self.running
                    self.running.discard(tool_call_id)
                case commands.Record(ToolReturned() as event):
                    self.recorded[event.tool_call_id] += 1
                case commands.Record(ToolCalled() as event):
                    self.told[event.tool_call_id] += 1
                case commands.SendToModel(commands.CreateFunctionOutput() as event):
                    assert self.tools.connected
                    self.answered[event.tool_call_id] += 1

    @invariant()
    def once(self) -> None:
        for counter in (self.started, self.answered, self.told, self.recorded):
            assert max(counter.values(), default=0) <= 1
        assert len(self.running) <= RUNNING_MAX

    @invariant()
    def what_does_not_run_was_answered(self) -> None:
        assert self.recorded.keys() == self.told.keys() - self.running

    @invariant()
    def one_response_at_a_time_is_wanted(self) -> None:
        wanted = self.tools.take_wanted()
        assert sum(each.reason == "tools" for each in wanted) <= 1
        assert not (self.closed and wanted)


ToolsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTools = ToolsMachine.TestCase
