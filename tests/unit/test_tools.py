"""The core of tool calls: checked, run, answered once, and followed by one response."""

import json
from typing import Any

import pytest

from trunkline_common import call_events
from trunkline_common.call_events import ToolOutcome
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool, TransferTarget
from trunkline_worker.history import History
from trunkline_worker.tools import ROUNDS_MAX, RUNNER_MARGIN_S, RUNNING_MAX, Tools, Wanted

NOW = 1000.0
SLOT = {
    "type": "object",
    "properties": {"day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}},
    "required": ["day"],
    "additionalProperties": False,
}
LOOK = HttpTool(
    "free_slots", "Free slots of a day.", SLOT, "GET", "https://a.example/slots", filler="One moment."
)
BOOK = HttpTool("book", "Book a slot.", SLOT, "POST", "https://a.example/bookings")
AGENT = Agent(
    tools=(LOOK, BOOK),
    can_end_call=True,
    can_send_digits=True,
    transfer_targets=(TransferTarget("front desk", "+12025550199"),),
)
DAY = '{"day": "2026-11-28"}'


@pytest.fixture
def tools() -> Tools:
    return opened(AGENT)


def opened(agent: Agent, history: History | None = None) -> Tools:
    tools = Tools(agent, "CA1", History() if history is None else history)
    tools.session_opened()
    return tools


def call(
    name: str = "free_slots", arguments: str = DAY, number: int = 1, response: str = "R1"
) -> events.ToolCalled:
    return events.ToolCalled(1, response, f"item_{number}", f"call_{number}", name, arguments)


def ok(number: int = 1) -> events.ToolReturned:
    return events.ToolReturned(f"call_{number}", ToolOutcome.OK, '{"ok":true,"result":[]}', 200)


def outputs(following: list[commands.Command]) -> list[dict[str, Any]]:
    return [
        json.loads(event.output)
        for command in following
        if isinstance(command, commands.SendToModel)
        and isinstance(event := command.event, commands.CreateFunctionOutput)
    ]


def recorded(following: list[commands.Command]) -> list[call_events.ToolReturned]:
    return [
        command.event
        for command in following
        if isinstance(command, commands.Record) and isinstance(command.event, call_events.ToolReturned)
    ]


def test_a_call_runs_is_answered_and_followed_by_one_response(tools: Tools) -> None:
    started = tools.called(call(), 0, NOW)
    (run,) = [command for command in started if isinstance(command, commands.RunTool)]
    tools.response_done("R1")
    assert tools.take_wanted() == []

    following = tools.returned(ok(), NOW + 0.5)

    assert run.request.url == "https://a.example/slots?day=2026-11-28"
    assert outputs(following) == [{"ok": True, "result": []}]
    assert recorded(following)[0].duration_ms == 500
    assert tools.take_wanted() == [Wanted("tools")]
    assert tools.take_wanted() == []


def test_the_response_waits_for_the_end_of_the_one_that_called(tools: Tools) -> None:
    tools.called(call(), 0, NOW)
    tools.returned(ok(), NOW)
    assert tools.take_wanted() == []

    tools.response_done("R1")

    assert tools.take_wanted() == [Wanted("tools")]


def test_two_calls_of_a_response_are_followed_by_one_response(tools: Tools) -> None:
    tools.called(call(), 0, NOW)
    tools.called(call(number=2), 0, NOW)
    tools.response_done("R1")

    tools.returned(ok(2), NOW)
    assert tools.take_wanted() == []
    tools.returned(ok(1), NOW)

    assert tools.take_wanted() == [Wanted("tools")]


def test_a_call_that_is_announced_again_is_the_same_call(tools: Tools) -> None:
    tools.called(call(), 0, NOW)

    assert tools.called(call(), 0, NOW) == []


def test_the_idempotency_key_is_the_same_however_often_the_call_is_run() -> None:
    keys = []
    for _ in range(2):
        (run,) = [
            command
            for command in opened(AGENT).called(call("book"), 0, NOW)
            if isinstance(command, commands.RunTool)
        ]
        keys.append(dict(run.request.headers)["Idempotency-Key"])

    assert keys == ["CA1-call_1", "CA1-call_1"]


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("nothing", DAY, "There is no tool of this name. There are: end_call, "),
        ("free_slots", "{day: 1}", "The arguments are no JSON."),
        ("free_slots", "[" * 100_000, "The arguments are too long."),
        ("free_slots", "[" * 10_000, "The arguments are no JSON."),
        ("free_slots", "[]", "The arguments do not fit: [] is not of type"),
        ("free_slots", "{}", 'The arguments do not fit: "day" is a required property'),
        ("free_slots", '{"day": "monday"}', 'The arguments do not fit: day: "monday" does not match'),
        ("free_slots", '{"day": "2026-11-28", "x": 1}', "The arguments do not fit: Additional properties"),
        ("transfer_call", '{"target": "+88212345678"}', "The arguments do not fit: target: "),
        ("send_digits", '{"digits": "12A"}', "The arguments do not fit: digits: "),
    ],
)
def test_what_cannot_be_called_is_refused_with_a_reason(
    tools: Tools, name: str, arguments: str, why: str
) -> None:
    following = tools.called(call(name, arguments), 0, NOW)
    tools.response_done("R1")

    (output,) = outputs(following)
    assert output["error"].startswith(why)
    assert recorded(following)[0].outcome is ToolOutcome.REFUSED
    assert tools.take_departure() is None
    assert tools.take_wanted() == [Wanted("tools")]


def test_only_so_many_calls_run_at_once(tools: Tools) -> None:
    for number in range(RUNNING_MAX):
        tools.called(call(number=number), 0, NOW)

    (output,) = outputs(tools.called(call(number=99), 0, NOW))

    assert output["error"].startswith("Too many tools run at once")


def test_only_so_many_calls_are_made_in_a_minute() -> None:
    tools = opened(Agent(tools=(LOOK,), tools_per_minute=2))
    for number in range(2):
        tools.called(call(number=number), 0, NOW + number)
        tools.returned(ok(number), NOW + number)

    (output,) = outputs(tools.called(call(number=2), 0, NOW + 59))

    assert output["error"].startswith("Too many tool calls in a minute")
    assert outputs(tools.called(call(number=3), 0, NOW + 60)) == []


def test_a_model_that_calls_on_and_on_is_answered_but_not_asked_again(tools: Tools) -> None:
    wanted = []
    for number in range(ROUNDS_MAX + 2):
        tools.called(call("nothing", number=number, response=f"R{number}"), 0, NOW)
        tools.response_done(f"R{number}")
        wanted += tools.take_wanted()

    assert len(wanted) == ROUNDS_MAX
    tools.caller_spoke(NOW)
    tools.called(call("nothing", number=90, response="R90"), 0, NOW)
    tools.response_done("R90")
    assert tools.take_wanted() == [Wanted("tools")]


def test_what_only_reads_is_given_up_when_the_caller_speaks(tools: Tools) -> None:
    tools.called(call(), 0, NOW)
    tools.response_done("R1")

    following = tools.caller_spoke(NOW + 1)

    assert commands.CancelTool("call_1") in following
    assert recorded(following)[0].outcome is ToolOutcome.CANCELLED
    assert len(outputs(following)) == 1
    assert tools.take_wanted() == [], "the caller's words are answered by themselves"
    assert tools.returned(ok(), NOW + 2) == [commands.Count(commands.Measure.TOOL_LATE)]


def test_what_acts_runs_on_when_the_caller_speaks_and_is_told_afterwards(tools: Tools) -> None:
    tools.called(call("book"), 0, NOW)
    tools.response_done("R1")

    assert tools.caller_spoke(NOW + 1) == []
    assert len(outputs(tools.returned(ok(), NOW + 2))) == 1
    assert tools.take_wanted() == [Wanted("tools")]


def test_a_call_of_a_response_that_the_caller_interrupted_is_not_run(tools: Tools) -> None:
    following = tools.called(call("book"), 0, NOW, interrupted=True)
    tools.response_done("R1")

    assert not any(isinstance(command, commands.RunTool) for command in following)
    assert recorded(following)[0].outcome is ToolOutcome.CANCELLED
    assert len(outputs(following)) == 1
    assert tools.take_wanted() == []


def test_a_slow_call_lets_the_agent_say_something_once(tools: Tools) -> None:
    tools.called(call(), 0, NOW)
    tools.called(call(number=2), 0, NOW)
    tools.response_done("R1")
    assert tools.wake_at() == NOW + 1.5

    tools.tick(NOW + 1.5, agent_is_heard=False)

    (wanted,) = tools.take_wanted()
    assert wanted.reason == "filler"
    assert '"One moment."' in (wanted.instructions or "")
    assert tools.wake_at() == NOW + LOOK.timeout_s + RUNNER_MARGIN_S


def test_no_filler_while_the_agent_still_speaks(tools: Tools) -> None:
    tools.called(call(), 0, NOW)

    tools.tick(NOW + 1.5, agent_is_heard=True)

    assert tools.take_wanted() == []
    assert tools.wake_at() == NOW + 3


def test_a_runner_that_says_nothing_is_not_waited_for(tools: Tools) -> None:
    tools.called(call("book"), 0, NOW)
    tools.response_done("R1")

    following = tools.tick(NOW + BOOK.timeout_s + RUNNER_MARGIN_S, agent_is_heard=False)

    assert recorded(following)[0].outcome is ToolOutcome.TIMEOUT
    assert tools.take_wanted() == [Wanted("tools")]


def test_the_end_of_the_call_gives_up_everything(tools: Tools) -> None:
    tools.called(call("book"), 0, NOW)

    following = tools.close(NOW + 1)

    assert commands.CancelTool("call_1") in following
    assert recorded(following)[0].outcome is ToolOutcome.CANCELLED
    assert outputs(following) == [], "there is nobody to tell"
    assert tools.wake_at() is None


def test_an_answer_without_a_session_is_told_to_the_next_one() -> None:
    history = History()
    tools = opened(AGENT, history)
    tools.called(call("book"), 0, NOW)
    tools.session_closed()

    assert outputs(tools.returned(ok(), NOW + 1)) == []

    replayed = history.replay(lambda what: what, lambda start_ms, end_ms: b"")
    assert [type(event).__name__ for event in replayed] == ["CreateFunctionCall", "CreateFunctionOutput"]
    assert tools.take_wanted() == [Wanted("tools")]


def test_an_answer_to_a_session_that_does_not_know_the_call_brings_the_call_along() -> None:
    history = History()
    tools = opened(AGENT, history)
    tools.called(call("book"), 0, NOW)
    tools.session_closed()
    assert history.replay(lambda what: what, lambda start_ms, end_ms: b"") == []
    tools.session_opened()

    following = tools.returned(ok(), NOW + 1)

    sent = [command.event for command in following if isinstance(command, commands.SendToModel)]
    assert isinstance(sent[0], commands.CreateFunctionCall)
    assert isinstance(sent[1], commands.CreateFunctionOutput)
    assert (sent[0].item_id, sent[0].tool_call_id) == ("item_1", "call_1")
    assert tools.take_wanted() == [Wanted("tools")]


def test_a_built_in_tool_is_promised_once(tools: Tools) -> None:
    (first,) = outputs(tools.called(call("transfer_call", '{"target": "front desk"}'), 0, NOW))
    (second,) = outputs(tools.called(call("end_call", "", number=2), 0, NOW))

    assert first["ok"]
    departure = tools.take_departure()
    assert departure is not None
    assert departure.target == AGENT.transfer_targets[0]
    assert tools.take_departure() is None
    assert not second["ok"]


def test_keys_that_the_agent_presses_are_in_no_record(tools: Tools) -> None:
    following = tools.called(call("send_digits", '{"digits": "4242"}'), 0, NOW)

    departure = tools.take_departure()
    assert departure is not None
    assert departure.digits == "4242"
    assert "4242" not in repr(following) + repr(departure)
