"""A call whose agent does more than talk: tools, goodbyes and keys, from the model's word to Twilio's."""

import json

import pytest
from talk import HUNG_UP, STREAM_LOST, recorded, sent, verdict_of
from tool_talk import (
    ABLE,
    ATTACHED_AGAIN,
    able_call,
    asked,
    calls,
    hang_ups,
    heard,
    speaks,
    told,
)

from trunkline_common.call_events import DtmfReceived, ToolOutcome
from trunkline_common.control import NextStep
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.commands import (
    AppendAudio,
    CancelTool,
    CreateCallerAudio,
    CreateFunctionCall,
    CreateFunctionOutput,
    CreateResponse,
    Finish,
    HangUp,
    RunTool,
    SendToModel,
)
from trunkline_worker.keypad import PAUSE_S
from trunkline_worker.leaving import HEARD_MARGIN_S
from trunkline_worker.tools import ROUNDS_MAX


@pytest.fixture
def call() -> Call:
    return able_call()


# --- Tools


def test_a_tool_runs_and_the_model_speaks_of_its_answer(call: Call) -> None:
    following = calls(call, "look", now=1.0)
    assert [command.tool_call_id for command in following if isinstance(command, RunTool)] == ["call_1"]
    assert asked(following) == []

    following = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, '{"ok":true}', 200), now=1.4)

    assert [type(event) for event in sent(following)] == [CreateFunctionOutput, CreateResponse]


def test_the_caller_who_speaks_is_answered_by_the_models_own_turn(call: Call) -> None:
    calls(call, "act", now=1.0)
    call.handle(events.SpeechStarted(1, "U1", 0), now=1.2)

    following = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, '{"ok":true}', 200), now=1.4)

    assert [type(event) for event in sent(following)] == [CreateFunctionOutput]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_an_answer_that_comes_just_after_the_callers_turn_is_spoken_of(
    call: Call, *, acknowledged: bool
) -> None:
    calls(call, "act", now=1.0)
    call.handle(events.SpeechStarted(1, "U1", 0), now=1.2)
    call.handle(events.SpeechStopped(1, "U1", 900), now=2.0)
    call.handle(events.ItemAdded(1, "U1", "user"), now=2.0)
    following = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, '{"ok":true}', 200), now=2.01)
    (output,) = sent(following)
    assert isinstance(output, CreateFunctionOutput), "the model answers by itself: nothing is asked for yet"
    if acknowledged:
        call.handle(events.ItemAdded(1, output.item_id, ""), now=2.04)

    call.handle(events.ResponseCreated(1, "R2"), now=2.05)
    following = call.handle(events.ResponseDone(1, "R2", "completed", "", None), now=3.0)

    assert len(asked(following)) == (0 if acknowledged else 1)


def test_a_slow_tool_is_bridged_with_words(call: Call) -> None:
    calls(call, "look", now=1.0)
    assert call.wake_at() == 2.5

    (response,) = asked(call.handle(events.Tick(), now=2.5))

    assert ABLE.instructions in (response.instructions or "")
    assert '"One moment."' in (response.instructions or "")


def test_the_answer_after_a_filler_waits_for_its_end(call: Call) -> None:
    calls(call, "look", now=1.0)
    call.handle(events.Tick(), now=2.5)
    call.handle(events.ResponseCreated(1, "R2"), now=2.6)

    following = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, '{"ok":true}', 200), now=2.7)
    assert [type(event) for event in sent(following)] == [CreateFunctionOutput]

    assert len(asked(call.handle(events.ResponseDone(1, "R2", "completed", "", None), now=2.8))) == 1


def test_a_session_that_is_lost_while_a_tool_runs_is_told_of_both_by_the_next_one(call: Call) -> None:
    calls(call, "act", now=1.0)
    call.handle(events.SessionLost(1, "close-1006", fatal=False), now=1.2)
    call.handle(events.Tick(), now=1.5)
    call.handle(events.SessionCreated(2, "sess_2"), now=1.6)
    following = call.handle(events.SessionConfigured(2, {}), now=1.7)
    assert not any(isinstance(event, CreateFunctionCall) for event in sent(following))

    following = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, '{"ok":true}', 200), now=1.9)

    kinds = [type(event) for event in sent(following)]
    assert kinds[:2] == [CreateFunctionCall, CreateFunctionOutput]


def test_a_question_that_a_tool_answers_is_not_asked_again_of_the_next_session(call: Call) -> None:
    # It would call again, and act twice.
    for t_ms in range(0, 2_000, 20):
        call.handle(events.CallerAudio(t_ms, b"\x21" * 160), now=1.0 + t_ms / 1000)
    call.handle(events.SpeechStarted(1, "U1", 0), now=1.2)
    call.handle(events.SpeechStopped(1, "U1", 1_900), now=3.0)
    call.handle(events.ItemAdded(1, "U1", "user"), now=3.0)
    calls(call, "act", now=3.1)
    call.handle(events.SessionLost(1, "close-1006", fatal=False), now=3.3)
    call.handle(events.Tick(), now=3.6)
    call.handle(events.SessionCreated(2, "sess_2"), now=3.7)

    opened = sent(call.handle(events.SessionConfigured(2, {}), now=3.8))
    returned = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, "{}", 200), now=3.9)

    assert asked([SendToModel(event) for event in opened]) == []
    assert sum(len(event.audio) for event in opened if isinstance(event, AppendAudio)) < 8 * 200
    assert [event.item_id for event in opened if isinstance(event, CreateCallerAudio)] == ["U1"]
    assert len(asked(returned)) == 1


def test_nothing_runs_on_when_the_caller_hangs_up(call: Call) -> None:
    calls(call, "act", now=1.0)

    following = call.handle(HUNG_UP, now=1.2)

    assert CancelTool("call_1") in following


# --- Ending the call


def test_the_call_ends_once_the_goodbye_was_heard(call: Call) -> None:
    following = calls(call, "end_call", now=1.0, says_ms=400)
    assert hang_ups(following) == []
    assert asked(following) == []

    assert hang_ups(heard(call, "A1", 200, now=1.3)) == []
    following = heard(call, "A1", 400, now=1.5)

    assert hang_ups(following) == [HangUp(NextStep.HANG_UP)]
    assert following[-1] == Finish(Verdict.AGENT_HUNG_UP, NextStep.HANG_UP)


def test_a_goodbye_that_was_not_said_is_asked_for(call: Call) -> None:
    following = calls(call, "end_call", now=1.0)
    (goodbye,) = asked(following)
    assert "goodbye" in (goodbye.instructions or "")

    call.handle(events.ResponseCreated(1, "R2"), now=1.1)
    speaks(call, "R2", "A2", 200, now=1.2)
    call.handle(events.ResponseDone(1, "R2", "completed", "", None), now=1.3)

    assert verdict_of(heard(call, "A2", 200, now=1.6)) is Verdict.AGENT_HUNG_UP


def test_a_goodbye_whose_mark_never_comes_is_not_waited_for(call: Call) -> None:
    calls(call, "end_call", now=1.0, says_ms=400)
    assert call.wake_at() == 1.0 + 0.4 + HEARD_MARGIN_S

    assert verdict_of(call.handle(events.Tick(), now=1.0 + 0.4 + HEARD_MARGIN_S)) is Verdict.AGENT_HUNG_UP


def test_a_caller_who_speaks_into_the_goodbye_is_kept(call: Call) -> None:
    calls(call, "end_call", now=1.0, says_ms=400)

    following = call.handle(events.SpeechStarted(1, "U1", 0), now=1.2)

    assert told(following) == [
        "The caller spoke first, so end_call did not happen. Use it again if it is still wanted."
    ]
    assert call.state is State.TALKING
    assert hang_ups(call.handle(events.Tick(), now=9.0)) == []


# --- Keys


def test_keys_are_pressed_and_the_agent_listens_again(call: Call) -> None:
    following = calls(call, "send_digits", '{"digits": "1w2#"}', now=1.0)
    assert hang_ups(following) == [HangUp(NextStep.SEND_DIGITS, digits="1w2#")]
    assert call.state is State.LEAVING
    assert "1w2#" not in repr([*recorded(following), *hang_ups(following)])

    call.handle(STREAM_LOST, now=1.2)
    following = call.handle(ATTACHED_AGAIN, now=4.0)

    assert told(following) == ["The keys were pressed. The line is open again."]
    assert asked(following) == []


def test_what_the_caller_keys_in_reaches_the_model_and_no_record(call: Call) -> None:
    following = call.handle(events.KeyPressed("4"), now=1.0) + call.handle(events.KeyPressed("2"), now=1.4)
    assert [type(event) for event in recorded(following)] == [DtmfReceived, DtmfReceived]
    assert told(following) == []

    following = call.handle(events.Tick(), now=1.4 + PAUSE_S)

    assert told(following) == ["The caller pressed 42 on the keypad."]
    assert len(asked(following)) == 1
    assert "42" not in json.dumps([str(event) for event in recorded(following)])


def test_a_model_that_calls_mcp_servers_on_and_on_is_stopped(call: Call) -> None:
    rounds = 0
    for number in range(2 * ROUNDS_MAX):
        call.handle(events.ResponseCreated(1, f"M{number}"), now=1.0)
        call.handle(events.McpCallEnded(1, f"mcp_{number}"), now=1.0)
        done = events.ResponseDone(1, f"M{number}", "completed", "", None)
        rounds += len(asked(call.handle(done, now=1.0)))

    assert rounds == ROUNDS_MAX
