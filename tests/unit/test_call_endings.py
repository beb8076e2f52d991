"""Every way to the end of a call: the verdict, the last words, what Twilio is told, and that nothing follows."""

import pytest
from talk import (
    ATTACHED,
    HUNG_UP,
    STREAM_LOST,
    agent_speaks,
    caller_audio,
    caller_speaks,
    offered,
    recorded,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.call_events import CallEnded, CallerTurn
from trunkline_common.control import NextStep, StopReason
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.call_life import LINGER_S, OFFER_S, State
from trunkline_worker.commands import AppendAudio, CloseSession, Finish, HangUp, Play

# The caller leaves


def test_a_caller_who_heard_the_agent_and_hangs_up_is_a_success() -> None:
    call = talking()
    agent_speaks(call, 200, now=1.0)
    call.handle(events.MarkPlayed("0:A1:200"), now=1.2)

    following = call.handle(HUNG_UP, now=2.0)

    assert following[-1] == Finish(Verdict.CALLER_HUNG_UP, NextStep.HANG_UP)
    assert call.state is State.ENDED


def test_a_caller_who_hangs_up_before_any_answer_left_early() -> None:
    assert verdict_of(talking().handle(HUNG_UP, now=2.0)) is Verdict.CALLER_LEFT_EARLY


def test_a_stream_that_was_no_media_stream_is_told_apart() -> None:
    bad = events.StreamStopped(StopReason.BAD_STREAM)

    assert verdict_of(talking().handle(bad, now=2.0)) is Verdict.BAD_STREAM


def test_a_call_lingers_for_its_last_words() -> None:
    call = talking()
    caller_speaks(call, now=2.0)

    assert recorded(call.handle(HUNG_UP, now=2.5)) == []

    following = call.handle(events.CallerText(1, "U1", "Bye."), now=3.0)
    turn, ended = recorded(following)
    assert isinstance(turn, CallerTurn)
    assert isinstance(ended, CallEnded)
    assert call.state is State.ENDED


def test_a_call_does_not_linger_for_long() -> None:
    call = talking()
    caller_speaks(call, now=2.0)
    call.handle(HUNG_UP, now=2.5)

    assert call.wake_at() == 2.5 + LINGER_S
    assert verdict_of(call.handle(events.Tick(), now=2.5 + LINGER_S)) is Verdict.CALLER_LEFT_EARLY


def test_words_in_mid_sentence_end_with_silence_while_the_call_lingers() -> None:
    call = talking()
    call.handle(caller_audio(0), now=2.0)
    call.handle(events.SpeechStarted(1, "U1", 0), now=2.1)
    call.handle(HUNG_UP, now=2.2)
    wake_at = call.wake_at()
    assert wake_at is not None

    assert [type(event) for event in sent(call.handle(events.Tick(), now=wake_at))] == [AppendAudio]


def test_nothing_is_played_while_the_call_lingers() -> None:
    call = talking()
    caller_speaks(call, now=2.0)
    call.handle(HUNG_UP, now=2.5)

    assert not [command for command in agent_speaks(call, 400, now=2.6) if isinstance(command, Play)]


def test_a_call_that_lost_its_model_does_not_linger() -> None:
    call = talking()
    caller_speaks(call, now=2.0)
    call.handle(HUNG_UP, now=2.5)

    following = call.handle(events.SessionLost(1, "close-1006", fatal=False), now=2.6)

    assert verdict_of(following) is Verdict.CALLER_LEFT_EARLY
    assert not [command for command in following if isinstance(command, HangUp)]


def test_a_stream_that_comes_while_the_call_lingers_is_hung_up() -> None:
    call = talking()
    caller_speaks(call, now=2.0)
    call.handle(HUNG_UP, now=2.5)

    assert call.handle(ATTACHED, now=2.6) == [HangUp(NextStep.HANG_UP)]
    assert call.handle(STREAM_LOST, now=2.7) == []
    assert call.state is State.LINGERING


@pytest.mark.parametrize("state", [State.OFFERED, State.TALKING, State.ORPHANED])
def test_a_worker_that_stops_gives_the_caller_the_fallback(state: State) -> None:
    call = offered() if state is State.OFFERED else talking()
    if state is State.ORPHANED:
        call.handle(STREAM_LOST, now=2.0)
    assert call.state is state

    following = call.handle(events.WorkerStopping(), now=3.0)

    assert HangUp(NextStep.FALLBACK) in following
    assert following[-1] == Finish(Verdict.WORKER_STOPPED, NextStep.FALLBACK)


def test_the_last_event_tells_how_the_call_went() -> None:
    call = talking()
    call.handle(caller_audio(980), now=1.0)
    agent_speaks(call, 3_000, now=1.0)
    call.handle(events.SpeechStarted(1, "U1", 0), now=1.5)

    following = call.handle(events.WorkerStopping(), now=3.0)

    assert recorded(following)[-1] == CallEnded(
        outcome=Verdict.WORKER_STOPPED.outcome,
        reason="worker-stopped",
        duration_ms=1_000,
        interruptions=1,
        events_expected=0,
    )


@pytest.mark.parametrize(
    "event", [HUNG_UP, ATTACHED, STREAM_LOST, events.Tick(), events.WorkerStopping(), events.KeyPressed("1")]
)
def test_nothing_follows_the_end(event: events.Event) -> None:
    call = talking()
    call.handle(HUNG_UP, now=2.0)

    assert call.handle(event, now=3.0) == []
    assert call.handle(caller_audio(0), now=3.0) == []
    assert call.wake_at() is None


def test_a_session_is_closed_once() -> None:
    # Lost just before the offer ended: the next try was still to come.
    call = offered()
    first = call.handle(events.SessionLost(1, "close-1006", fatal=False), now=OFFER_S - 0.001)
    last = call.handle(events.Tick(), now=OFFER_S)

    assert [command for command in [*first, *last] if isinstance(command, CloseSession)] == [CloseSession(1)]
    assert verdict_of(last) is Verdict.NEVER_ATTACHED
