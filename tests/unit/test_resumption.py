"""A talk goes on at another owner of the call: what plays on, and who is heard again."""

from typing import Any

from resumed import (
    NOW,
    QUIET,
    but,
    orders,
    owned,
    requests,
    standing_by,
    state,
    taken_over,
)
from talk import AGENT, STREAM_LOST, acts, new_call, played, recorded, sent

from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallerTurn,
    CallTakenOver,
    ModelConnected,
)
from trunkline_worker import commands, events
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import (
    AppendAudio,
    Command,
    CreateMessage,
    TellReady,
)
from trunkline_worker.conversation import AgentDraft, CallerDraft
from trunkline_worker.debt import CONTINUE
from trunkline_worker.floor import Floor
from trunkline_worker.model_link import STAND_BY_S
from trunkline_worker.playback import InFlight

# Standing by


def test_a_session_is_ready_before_the_call_is_ours_and_says_nothing() -> None:
    call = new_call()
    call.stand_by(NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)

    assert call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW) == [TellReady()]


def test_a_worker_that_is_not_needed_forgets_the_call() -> None:
    call = standing_by()

    following = call.handle(events.Tick(), NOW + STAND_BY_S)

    assert following[-1] == commands.LetGo("it was not needed")
    assert recorded(following) == []


def test_one_whose_model_cannot_be_had_forgets_the_call() -> None:
    call = new_call()
    call.stand_by(NOW)

    following = call.handle(events.SessionLost(1, "invalid_api_key", fatal=True), NOW)

    assert isinstance(following[-1], commands.LetGo)
    assert state(call) is State.ENDED


# A quiet call


def test_a_quiet_call_goes_on_in_silence_and_the_model_is_told_of_it() -> None:
    call, following = taken_over(QUIET)

    assert [event.text for event in sent(following) if isinstance(event, CreateMessage)] == [
        "Hello.",
        "When are you open?",
    ]
    assert requests(following) == []
    kinds = [type(event) for event in recorded(following)]
    assert kinds[:3] == [CallTakenOver, CallAttached, ModelConnected]
    assert state(call) is State.TALKING


def test_its_gateway_counts_as_heard_from_then_on() -> None:
    # Long before, by the clock, when this worker's part of the call began.
    call, _ = taken_over(QUIET)

    following = call.handle(events.Tick(), NOW + 0.1)

    assert state(call) is State.TALKING
    assert not [each for each in following if isinstance(each, commands.Finish)]


def test_a_caller_who_was_not_greeted_is_greeted() -> None:
    _, following = taken_over(Checkpoint(stream_shift_ms=0.0))

    assert len(requests(following)) == 1


def test_the_next_turn_has_the_next_place() -> None:
    call, _ = taken_over(QUIET)
    call.handle(events.SpeechStarted(1, "U2", 0), NOW + 1)
    call.handle(events.SpeechStopped(1, "U2", 900), NOW + 2)
    call.handle(events.ItemAdded(1, "U2", "user"), NOW + 2)

    (turn,) = recorded(call.handle(events.CallerText(1, "U2", "Thanks."), NOW + 2))

    assert isinstance(turn, CallerTurn)
    assert turn.position == 3


# The agent speaks


def speaking(heard_ms: int = 1_000, *, complete: bool = True) -> Checkpoint:
    return but(
        QUIET,
        position=3,
        agent=(AgentDraft("A2", "R2", 3, started=True, text="From nine to one.", text_final=complete),),
        in_flight=(InFlight("A2", "R2", 4_000, heard_ms, complete),),
    )


MARKS: dict[str, Any] = {"mark_sent": "0:A2:4000", "mark_played": "0:A2:1000", "unplayed_ms": 3_000}


def test_what_twilio_holds_plays_on_and_is_not_sent_again() -> None:
    call, following = taken_over(speaking(), **MARKS)
    heard = call.handle(events.MarkPlayed("0:A2:4000"), NOW + 3)

    assert played(following) == []
    (turn,) = recorded(heard)
    assert isinstance(turn, AgentTurn)
    assert (turn.item_id, turn.heard_ms, turn.heard_text, turn.interrupted) == (
        "A2",
        4_000,
        "From nine to one.",
        False,
    )


def test_an_answer_that_broke_off_goes_on() -> None:
    _, following = taken_over(speaking(complete=False), **MARKS)

    assert any(CONTINUE in order for order in orders(following))
    assert len(requests(following)) == 1


def test_who_interrupts_it_is_answered_from_what_was_heard() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    # Marks of the owner before lie wherever it put them; from the last one the clock runs on.
    call.handle(events.MarkPlayed("0:A2:1860"), NOW + 0.86)
    following = call.handle(events.SpeechStarted(1, "U2", 0), NOW + 1)

    (turn,) = [event for event in recorded(following) if isinstance(event, AgentTurn)]
    assert (turn.heard_ms, turn.generated_ms, turn.interrupted) == (2_000, 4_000, True)
    assert "From nine to one.".startswith(turn.heard_text)
    assert turn.heard_text != turn.generated_text


def test_marks_of_an_older_generation_count_for_nothing() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    following = call.handle(events.MarkPlayed("7:A2:4000"), NOW + 1)

    assert recorded(following) == []


def test_a_line_that_breaks_after_a_takeover_is_a_line_that_breaks() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    following = acts(call.handle(STREAM_LOST, NOW + 1))

    assert state(call) is State.ORPHANED
    assert following[0] == commands.ClearPlayback(1)


# The caller speaks


def frames(call: Call, from_ms: int, to_ms: int) -> list[Command]:
    """What the gateway kept of the caller comes again."""
    return [
        command
        for t_ms in range(from_ms, to_ms, 20)
        for command in call.handle(events.CallerAudio(t_ms, b"\x21" * 160), NOW)
    ]


def appended_ms(following: list[Command]) -> int:
    return sum(len(event.audio) for event in sent(following) if isinstance(event, AppendAudio)) // 8


def in_mid_sentence() -> Checkpoint:
    floor = Floor(speaking_item="U2", owes=False, taken_ms=3_000)
    return but(QUIET, caller=(CallerDraft("U2", 0, 4_000),), floor=floor)


def test_a_caller_in_mid_sentence_is_heard_again_from_its_beginning_and_once() -> None:
    call, following = taken_over(in_mid_sentence())

    following += frames(call, 4_000, 6_000)
    again = frames(call, 5_000, 6_000)

    assert appended_ms(following) == 2_000
    assert appended_ms(again) == 0, "what comes twice is heard once"
    call.handle(events.SpeechStarted(1, "U101", 0), NOW)
    call.handle(events.SpeechStopped(1, "U101", 1_500), NOW)
    call.handle(events.ItemAdded(1, "U101", "user"), NOW)
    (turn,) = recorded(call.handle(events.CallerText(1, "U101", "And on Sunday?"), NOW))
    assert isinstance(turn, CallerTurn)
    assert (turn.start_ms, turn.end_ms) == (4_000, 5_500)


def test_audio_that_comes_before_the_session_waits_for_it() -> None:
    call = new_call()
    call.stand_by(NOW)
    call.handle(owned(in_mid_sentence()), NOW)
    frames(call, 4_000, 6_000)
    call.handle(events.SessionCreated(1, "sess_1"), NOW + 0.3)

    following = call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW + 0.4)

    assert appended_ms(following) == 2_000
