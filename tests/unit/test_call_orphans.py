"""Calls without a stream: heard again, asked back, moved by Twilio, over without us."""

import pytest
from talk import (
    ATTACHED,
    HUNG_UP,
    STREAM_LOST,
    agent_speaks,
    answered,
    caller_audio,
    greeted,
    new_call,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.call import Call
from trunkline_worker.call_life import LINGER_S, ORPHAN_S, State
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import (
    AppendAudio,
    AskForRedirect,
    ClearPlayback,
    Command,
    CreateResponse,
    Play,
    RecordOrphan,
    SendToModel,
)
from trunkline_worker.rescue import MOVING_S, NOTICES_S

LOST_AT = 5.0
ASKED_AT = LOST_AT + NOTICES_S
TAKEN = events.RedirectAnswered("taken")
NOBODY = events.RedirectAnswered("nobody")


def orphaned(call: Call | None = None) -> Call:
    call = call or greeted()
    call.handle(STREAM_LOST, LOST_AT)
    return call


def moving(call: Call | None = None) -> Call:
    """A call that Twilio is asked to move."""
    call = orphaned(call)
    call.handle(events.Tick(), ASKED_AT)
    call.handle(TAKEN, ASKED_AT)
    return call


def orphan_of(following: list[Command]) -> RecordOrphan:
    (orphan,) = [command for command in following if isinstance(command, RecordOrphan)]
    return orphan


def state(call: Call) -> State:
    """Return where the call is now; mypy takes an attribute that was asserted once for settled."""
    return call.state


# Heard again


@pytest.mark.parametrize(
    "event",
    [caller_audio(20), events.MarkPlayed("0:A1:100"), events.KeyPressed("1"), events.LineMeasured(1, 1)],
)
def test_a_call_that_hears_its_own_stream_again_goes_on(event: events.Event) -> None:
    call = orphaned()

    following = call.handle(event, now=5.5)

    assert state(call) is State.TALKING
    assert orphan_of(following) == RecordOrphan(0.5, "heard-again")
    assert AskForRedirect() not in call.handle(events.Tick(), ASKED_AT)


def test_what_the_caller_had_not_heard_is_said_again_when_the_stream_is_heard_again() -> None:
    call = talking()
    agent_speaks(call, 3_000, now=4.0)
    call.handle(events.MarkPlayed("0:A1:1000"), now=5.0)
    assert ClearPlayback(1) in call.handle(STREAM_LOST, LOST_AT)

    following = call.handle(caller_audio(20), now=5.4)

    again = [command for command in following if isinstance(command, Play)]
    assert sum(len(command.ulaw) for command in again) == 2_000 * 8
    assert {command.generation for command in again} == {1}
    assert not any(isinstance(event, CreateResponse) for event in sent(following)), "the model is not asked"


def test_the_timestamps_of_a_stream_that_is_heard_again_go_on() -> None:
    call = talking()
    for t_ms in range(0, 1_000, 20):
        call.handle(caller_audio(t_ms), now=1.0 + t_ms / 1000)
    call.handle(STREAM_LOST, now=2.6)

    following = call.handle(caller_audio(1_000), now=3.4)

    appended = [event for event in sent(following) if isinstance(event, AppendAudio)]
    assert [len(event.audio) for event in appended] == [160], (
        "late, but next to what came before: no silence between"
    )


def test_an_orphan_that_was_heard_again_can_be_lost_again() -> None:
    call = orphaned()
    call.handle(caller_audio(20), now=5.4)

    call.handle(STREAM_LOST, now=9.0)

    assert state(call) is State.ORPHANED
    assert AskForRedirect() in call.handle(events.Tick(), 9.0 + NOTICES_S)


# Asked back


def test_twilio_is_asked_for_a_call_that_does_not_come_back() -> None:
    call = orphaned()

    assert call.wake_at() == ASKED_AT
    assert call.handle(events.Tick(), ASKED_AT) == [AskForRedirect()]

    call.handle(TAKEN, ASKED_AT)
    following = call.handle(events.Attached("gw-2", "MZ2"), ASKED_AT + 0.5)
    assert state(call) is State.TALKING
    assert orphan_of(following) == RecordOrphan(NOTICES_S + 0.5, "attached")


def test_a_call_that_is_not_brought_back_ends_when_it_would_have() -> None:
    call = moving()
    call.handle(events.Tick(), ASKED_AT + MOVING_S)
    call.handle(TAKEN, ASKED_AT + MOVING_S)
    call.handle(STREAM_LOST, ASKED_AT + MOVING_S)

    assert call.wake_at() == LOST_AT + ORPHAN_S, "a second word of the same loss gives it no longer"
    following = call.handle(events.Tick(), LOST_AT + ORPHAN_S)

    assert verdict_of(following) is Verdict.STREAM_LOST
    assert orphan_of(following) == RecordOrphan(ORPHAN_S, "over")


def test_while_twilio_moves_the_call_frames_of_the_old_stream_do_not_bring_it_back() -> None:
    call = moving()

    call.handle(caller_audio(20), ASKED_AT + 0.2)
    assert state(call) is State.ORPHANED

    call.handle(caller_audio(40), ASKED_AT + MOVING_S)
    assert state(call) is State.TALKING, "Twilio did not move it after all"


def test_where_nobody_can_ask_twilio_the_old_stream_is_welcome() -> None:
    call = orphaned()
    call.handle(events.Tick(), ASKED_AT)
    call.handle(NOBODY, ASKED_AT)

    call.handle(caller_audio(20), ASKED_AT + 0.2)

    assert state(call) is State.TALKING


def test_a_new_owner_does_not_take_its_gateway_for_lost_before_the_first_frame() -> None:
    call = new_call()
    call.stand_by(100.0)

    call.handle(events.Owned("gw-1", "MZ1", Checkpoint(), "worker-lost", "1.1", 0), 100.1)
    call.handle(events.Tick(), 100.11)

    assert state(call) is State.TALKING


# Moved by Twilio


def test_the_stop_of_the_old_stream_is_what_a_redirect_looks_like() -> None:
    call = moving()

    call.handle(HUNG_UP, ASKED_AT + 0.1)
    assert state(call) is State.ORPHANED

    call.handle(events.Attached("gw-2", "MZ2"), ASKED_AT + 0.3)
    assert state(call) is State.TALKING


def test_a_redirect_may_be_carried_out_before_its_answer_is_here() -> None:
    call = orphaned()
    call.handle(events.Tick(), ASKED_AT)

    call.handle(HUNG_UP, ASKED_AT + 0.1)

    assert state(call) is State.ORPHANED


def test_a_redirect_that_crosses_twilio_s_own_stream_stops_that_one_and_the_call_lives() -> None:
    call = moving()
    call.handle(events.Attached("gw-2", "MZ2"), ASKED_AT + 0.1)

    call.handle(HUNG_UP, ASKED_AT + 0.3)
    assert state(call) is State.ORPHANED

    call.handle(events.Attached("gw-2", "MZ3"), ASKED_AT + 0.6)
    assert state(call) is State.TALKING


def test_a_caller_who_hangs_up_a_moved_call_later_has_hung_up() -> None:
    call = moving(answered())
    call.handle(events.Attached("gw-2", "MZ2"), ASKED_AT + 0.3)

    following = call.handle(HUNG_UP, ASKED_AT + MOVING_S)

    assert verdict_of(following) is Verdict.CALLER_HUNG_UP


# Over without us


@pytest.mark.parametrize(
    ("stopped", "verdict"), [(True, Verdict.CALLER_HUNG_UP), (False, Verdict.STREAM_LOST)]
)
def test_a_call_that_is_over_at_twilio_ends_at_once(stopped: bool, verdict: Verdict) -> None:
    call = moving(answered())
    if stopped:
        call.handle(HUNG_UP, ASKED_AT + 0.1)

    following = call.handle(events.OverAtTwilio(), ASKED_AT + 0.2)
    if call.state is not State.ENDED:
        following = call.handle(events.Tick(), ASKED_AT + 0.2 + LINGER_S)

    assert verdict_of(following) is verdict


def test_that_a_call_is_over_means_nothing_to_one_with_a_stream() -> None:
    call = moving()
    call.handle(ATTACHED, ASKED_AT + 0.1)

    assert [
        c for c in call.handle(events.OverAtTwilio(), ASKED_AT + 0.2) if not isinstance(c, SendToModel)
    ] == []
    assert state(call) is State.TALKING
