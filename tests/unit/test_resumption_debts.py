"""What one owner of a call left undone, and what was counted: the next one goes on with it."""

from typing import Any

from resumed import (
    HELLO,
    NOW,
    QUESTION,
    QUIET,
    but,
    orders,
    requests,
    state,
    taken_over,
)
from talk import AGENT, ATTACHED, HUNG_UP, new_call, recorded, sent, verdict_of

from trunkline_common.call_events import CallStarted, CallTakenOver, ToolOutcome
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool
from trunkline_worker.call_life import State
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import (
    CreateFunctionOutput,
    CreateMessage,
    RunTool,
)
from trunkline_worker.floor import Floor
from trunkline_worker.history import Remembered
from trunkline_worker.limits import Limits
from trunkline_worker.response_gate import Request, Wish
from trunkline_worker.resumption import STILL_THERE

# What is owed


def test_an_answer_that_had_not_begun_is_asked_for_once() -> None:
    floor = Floor(unanswered_item="U1", taken_ms=3_000)

    call, following = taken_over(but(QUIET, floor=floor, owed=Request(Wish.ANSWER)))
    following += call.handle(events.Tick(), NOW + 0.5)

    assert len(requests(following)) == 1


def test_a_turn_that_only_the_model_knew_is_answered() -> None:
    # The model answers by itself: nothing was asked for.
    _, following = taken_over(but(QUIET, floor=Floor(unanswered_item="U1", taken_ms=3_000)))

    assert len(requests(following)) == 1


def test_keys_that_the_model_was_not_told_of_are_told() -> None:
    call, _ = taken_over(but(QUIET, keys="42"))
    call.handle(events.KeyPressed("#"), NOW + 0.5)

    messages = [
        event for event in sent(call.handle(events.Tick(), NOW + 5)) if isinstance(event, CreateMessage)
    ]

    assert messages == []
    assert "The caller pressed 42# on the keypad." in repr(call._dialogue.conversation.history.items())


def test_a_departure_that_did_not_happen_is_told_to_the_agent() -> None:
    call, following = taken_over(but(QUIET, departure="end_call"))

    notes = [event.text for event in sent(following) if isinstance(event, CreateMessage)]
    assert (
        notes[-1] == "You were interrupted, so end_call did not happen. Use it again if it is still wanted."
    )
    assert len(requests(following)) == 1
    assert state(call) is State.TALKING


# Tools


SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = Agent(
    audio_path="pcmu",
    filler="none",
    limits=Limits(minutes=0, silence_s=0),
    tools=(
        HttpTool("look", "Reads.", SCHEMA, "GET", "https://a.example/"),
        HttpTool("book", "Acts.", SCHEMA, "POST", "https://a.example/"),
        HttpTool("order", "Acts once for a key.", SCHEMA, "POST", "https://a.example/", retry=True),
    ),
)


def under_way(name: str) -> Checkpoint:
    tool = Remembered("F1", "tool", 2, tool_call_id="call_1", name=name, arguments="{}")
    return but(QUIET, items=(HELLO, QUESTION, tool))


def test_a_tool_that_acts_once_for_a_key_runs_again_under_the_same_key() -> None:
    _, following = taken_over(under_way("order"), TOOLS)

    (run,) = [command for command in following if isinstance(command, RunTool)]
    assert ("Idempotency-Key", "CA1-call_1") in run.request.headers


def test_a_tool_that_only_reads_runs_again_and_its_answer_is_spoken_of() -> None:
    call, following = taken_over(under_way("look"), TOOLS)

    (run,) = [command for command in following if isinstance(command, RunTool)]
    assert run.tool_call_id == "call_1"
    returned = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, "{}", 200), NOW + 1)
    assert [event.output for event in sent(returned) if isinstance(event, CreateFunctionOutput)] == ["{}"]
    assert len(requests(returned)) == 1


def test_of_a_tool_that_acts_it_is_said_that_nobody_knows() -> None:
    _, following = taken_over(under_way("book"), TOOLS)

    (output,) = [event for event in sent(following) if isinstance(event, CreateFunctionOutput)]
    assert not [command for command in following if isinstance(command, RunTool)]
    assert "not known whether this was carried out" in output.output
    assert len(requests(following)) == 1


# What is counted


def test_limits_and_costs_go_on_counting() -> None:
    agent = Agent(audio_path="pcmu", filler="none", limits=Limits(minutes=1, silence_s=0))
    call, _ = taken_over(but(QUIET, media_ms=50_000, responses_usd=0.5, interruptions=2), agent)

    assert call.spend.total_usd == 0.5
    assert call.interruptions == 2
    wake_at = call.wake_at()
    assert wake_at is not None
    assert wake_at <= NOW + 10, "ten seconds of the minute are left"


def test_a_caller_who_heard_the_agent_at_another_owner_left_after_an_answer() -> None:
    call, _ = taken_over(but(QUIET, agent_was_heard=True))

    following = call.handle(HUNG_UP, NOW + 1)

    assert verdict_of(following) is Verdict.CALLER_HUNG_UP


# From the log alone


def test_a_call_of_which_only_the_log_is_left_says_that_it_is_still_there() -> None:
    call = new_call()
    following = call.start_again(but(QUIET, stream_shift_ms=None, in_session=False), NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)
    following += call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW)
    following += call.handle(ATTACHED, NOW + 0.5)

    assert [type(event) for event in recorded(following)][:2] == [CallStarted, CallTakenOver]
    assert len(requests(following)) == 1
    assert STILL_THERE in orders(following)[0]


def test_a_call_whose_log_tells_nothing_begins_anew() -> None:
    call = new_call()

    following = call.start_again(Checkpoint(), NOW)

    assert not [event for event in recorded(following) if isinstance(event, CallTakenOver)]
