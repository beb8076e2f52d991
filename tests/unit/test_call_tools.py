"""A call whose agent does more than talk: tools, goodbyes, transfers and keys, from the model's word to Twilio's."""

import dataclasses
import json
from typing import Any

import pytest
from talk import AGENT, HUNG_UP, STREAM_LOST, recorded, sent, verdict_of

from trunkline_common.call_events import DtmfReceived, ToolOutcome, TransferChanged, Verdict
from trunkline_common.control import NextStep, Transfer
from trunkline_worker import events
from trunkline_worker.absence import BACK_S, DIAL_MARGIN_S
from trunkline_worker.agent_tools import HttpTool, TransferTarget
from trunkline_worker.call import Call, State
from trunkline_worker.commands import (
    AppendAudio,
    CancelTool,
    Command,
    CreateCallerAudio,
    CreateFunctionCall,
    CreateFunctionOutput,
    CreateMessage,
    CreateResponse,
    Finish,
    HangUp,
    RunTool,
    SendToModel,
)
from trunkline_worker.keypad import PAUSE_S
from trunkline_worker.leaving import HEARD_MARGIN_S
from trunkline_worker.tools import ROUNDS_MAX

ANYTHING: dict[str, Any] = {"type": "object"}
DESK = TransferTarget("front desk", "+12025550160", timeout_s=20)
ABLE = dataclasses.replace(
    AGENT,
    tools=(
        HttpTool("look", "Look.", ANYTHING, "GET", "https://a.example/", filler="One moment."),
        HttpTool("act", "Act.", ANYTHING, "POST", "https://a.example/"),
    ),
    can_end_call=True,
    can_send_digits=True,
    transfer_targets=(DESK,),
)
ATTACHED_AGAIN = events.Attached("gw-2", "MZ2")


@pytest.fixture
def call() -> Call:
    """A call that has greeted its caller."""
    call = Call("CA1", "+1555", "+1666", "wk-1", ABLE, "polyphase")
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, ABLE.session()), now=0.2)
    call.handle(events.Attached("gw-1", "MZ1"), now=0.3)
    call.handle(events.ResponseCreated(1, "R0"), now=0.4)
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.4)
    return call


def calls(call: Call, name: str, arguments: str = "{}", *, now: float, says_ms: int = 0) -> list[Command]:
    """Let the model call a tool in a response of its own, with or without words."""
    call.handle(events.ResponseCreated(1, "R1"), now)
    if says_ms:
        speaks(call, "R1", "A1", says_ms, now)
    called = events.ToolCalled(1, "R1", "F1", "call_1", name, arguments)
    following = call.handle(called, now)
    return following + call.handle(events.ResponseDone(1, "R1", "completed", "", None, None, (called,)), now)


def speaks(call: Call, response_id: str, item_id: str, ms: int, now: float) -> None:
    call.handle(events.ItemAdded(1, item_id, "assistant"), now)
    call.handle(events.AudioDelta(1, response_id, item_id, b"\x21" * (8 * ms)), now)
    call.handle(events.AudioDone(1, response_id, item_id), now)
    call.handle(events.SpokenText(1, item_id, "Good bye.", final=True), now)


def heard(call: Call, item_id: str, ms: int, now: float) -> list[Command]:
    return call.handle(events.MarkPlayed(f"0:{item_id}:{ms}"), now)


def hang_ups(following: list[Command]) -> list[HangUp]:
    return [command for command in following if isinstance(command, HangUp)]


def told(following: list[Command]) -> list[str]:
    return [event.text for event in sent(following) if isinstance(event, CreateMessage)]


def asked(following: list[Command]) -> list[CreateResponse]:
    return [event for event in sent(following) if isinstance(event, CreateResponse)]


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


# --- Transfers


@pytest.fixture
def dialing(call: Call) -> Call:
    """A call whose caller hears the front desk ring."""
    calls(call, "transfer_call", '{"target": "front desk"}', now=1.0, says_ms=400)
    heard(call, "A1", 400, now=1.5)
    return call


def test_a_transfer_begins_once_its_announcement_was_heard(call: Call) -> None:
    calls(call, "transfer_call", '{"target": "front desk"}', now=1.0, says_ms=400)

    following = heard(call, "A1", 400, now=1.5)

    assert hang_ups(following) == [HangUp(NextStep.TRANSFER, Transfer(number="+12025550160", timeout_s=20))]
    assert [event.status for event in recorded(following) if isinstance(event, TransferChanged)] == [
        "dialing"
    ]
    assert call.state is State.LEAVING
    assert "+1202" not in repr(following)


def test_the_end_of_the_stream_is_not_the_end_of_a_call_that_is_put_through(dialing: Call) -> None:
    dialing.handle(STREAM_LOST, now=1.6)

    assert dialing.state is State.LEAVING


def test_a_caller_who_hung_up_before_twilio_could_dial_is_not_put_through(dialing: Call) -> None:
    assert verdict_of(dialing.handle(HUNG_UP, now=1.6)) is Verdict.CALLER_HUNG_UP


@pytest.mark.parametrize("status", ["completed", "answered"])
def test_somebody_answered(dialing: Call, status: str) -> None:
    following = dialing.handle(events.Dialed(status), now=8.0)

    assert verdict_of(following) is Verdict.TRANSFERRED
    assert following[-1] == Finish(Verdict.TRANSFERRED, NextStep.HANG_UP)


def test_no_word_for_longer_than_it_rings_means_that_somebody_answered(dialing: Call) -> None:
    due_at = 1.5 + DESK.timeout_s + DIAL_MARGIN_S
    following: list[Command] = []
    while dialing.state is not State.ENDED:
        wake_at = dialing.wake_at()
        assert wake_at is not None
        assert wake_at <= due_at
        following = dialing.handle(events.Tick(), now=wake_at)

    assert verdict_of(following) is Verdict.TRANSFERRED


@pytest.mark.parametrize("status", ["no-answer", "busy", "failed", "canceled"])
def test_nobody_answered_and_the_agent_goes_on(dialing: Call, status: str) -> None:
    following = dialing.handle(events.Dialed(status), now=22.0)
    assert [event.status for event in recorded(following) if isinstance(event, TransferChanged)] == [status]
    assert dialing.state is State.ORPHANED, "the gateway is told that the call goes on"

    following = dialing.handle(ATTACHED_AGAIN, now=22.5)

    (message,) = told(following)
    assert f"nobody could be reached at front desk ({status})" in message
    assert len(asked(following)) == 1
    assert dialing.wake_at() != 22.0 + BACK_S


def test_a_caller_who_did_not_wait_for_the_agent_to_come_back_hung_up(dialing: Call) -> None:
    dialing.handle(events.Dialed("no-answer"), now=22.0)

    following: list[Command] = []
    while dialing.state is not State.ENDED:
        wake_at = dialing.wake_at()
        assert wake_at is not None
        assert wake_at <= 22.0 + BACK_S
        following = dialing.handle(events.Tick(), now=wake_at)

    assert verdict_of(following) is Verdict.CALLER_HUNG_UP


def test_a_dial_that_nobody_asked_for_means_nothing(call: Call) -> None:
    assert call.handle(events.Dialed("completed"), now=1.0) == []
    assert call.state is State.TALKING


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
