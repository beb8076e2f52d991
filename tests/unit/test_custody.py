"""An owner of a call tells what the next one must know, and lets go when another is ready."""

from talk import (
    AGENT,
    ATTACHED,
    STREAM_LOST,
    agent_speaks,
    answered,
    caller_audio,
    caller_speaks,
    greeted,
    recorded,
    talking,
)

from trunkline_common.call_events import CallEnded
from trunkline_worker import events
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.commands import CloseSession, Command, LetGo, Play, SendCheckpoint
from trunkline_worker.custody import GROWTH_S, HEARD_LIVE_MS, WORDS_S, YIELD_S

YIELD = events.YieldAsked()


def told(following: list[Command]) -> list[SendCheckpoint]:
    return [command for command in following if isinstance(command, SendCheckpoint)]


def lets_go(following: list[Command]) -> bool:
    return any(isinstance(command, LetGo) for command in following)


def state(call: Call) -> State:
    """Return where the call is now; mypy takes an attribute that was asserted once for settled."""
    return call.state


# Tells


def test_a_turn_that_begins_is_told_at_once() -> None:
    call = greeted()

    (started,) = told(call.handle(events.SpeechStarted(1, "U1", 0), now=5.0))
    assert [turn.item_id for turn in started.checkpoint.caller] == ["U1"]
    assert started.checkpoint.floor is not None
    assert started.checkpoint.floor.speaking_item == "U1"

    (ended,) = told(call.handle(events.SpeechStopped(1, "U1", 900), now=5.1))
    assert ended.checkpoint.caller[0].end_ms == 900


def test_words_and_audio_that_only_grow_are_told_twice_a_second() -> None:
    call = greeted()
    agent_speaks(call, 200, now=5.0)

    grown = [
        told(call.handle(events.AudioDelta(1, "R1", "A1", b"\x21" * 1_600), now=5.0 + tenth / 10))
        for tenth in range(1, 11)
    ]

    assert [tenth for tenth, checkpoints in enumerate(grown, 1) if checkpoints] == [5, 10]
    assert GROWTH_S == 0.5


def test_while_nothing_happens_nothing_is_told() -> None:
    call = greeted()
    call.handle(events.LineMeasured(None, 0.5), now=5.0)

    assert told(call.handle(events.LineMeasured(None, 0.5), now=9.0)) == []


def test_the_callers_frames_are_not_asked_for_once_they_became_a_written_turn() -> None:
    call = answered()

    (checkpoint,) = told(call.handle(events.SpeechStarted(1, "U2", 2_800), now=9.0))

    # The answered turn ended at 2,000 ms; the next one began at 2,800 ms.
    assert checkpoint.needed_from_ms == 2_800


def test_a_call_without_a_stream_has_nobody_to_tell() -> None:
    call = greeted()
    call.handle(STREAM_LOST, now=5.0)

    assert told(call.handle(events.SpeechStarted(1, "U1", 0), now=5.1)) == []


# Lets go


def test_a_quiet_call_is_let_go_at_once_with_all_of_its_conversation() -> None:
    call = answered()

    following = call.handle(YIELD, now=10.0)

    (last_words,) = told(following)
    assert last_words.is_final
    assert [item.item_id for item in last_words.checkpoint.items] == ["U1", "A1"]
    assert following[-2:] == [CloseSession(1), LetGo("another worker goes on")]
    assert not any(isinstance(event, CallEnded) for event in recorded(following)), "it has not ended"
    assert state(call) is State.ENDED


def test_an_agent_that_speaks_is_heard_to_its_end() -> None:
    call = greeted()
    agent_speaks(call, 200, now=5.0)
    call.handle(events.SpokenText(1, "A1", "Yes.", final=True), now=5.1)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=5.1)

    assert not lets_go(call.handle(YIELD, now=5.1))
    assert lets_go(call.handle(events.MarkPlayed("0:A1:200"), now=5.4))


def test_words_that_are_still_to_come_are_waited_for_a_moment() -> None:
    call = greeted()
    caller_speaks(call, now=5.0)
    agent_speaks(call, 100, now=5.1)
    call.handle(events.SpokenText(1, "A1", "Yes.", final=True), now=5.1)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=5.2)
    call.handle(events.MarkPlayed("0:A1:100"), now=5.3)

    assert not lets_go(call.handle(YIELD, now=6.0))
    assert call.wake_at() == 6.0 + WORDS_S
    assert lets_go(call.handle(events.Tick(), now=6.0 + WORDS_S))


def test_it_is_let_go_in_the_middle_of_a_sentence_when_the_process_has_to_end() -> None:
    call = greeted()
    call.handle(events.SpeechStarted(1, "U1", 0), now=5.0)
    call.handle(YIELD, now=5.1)
    call.handle(caller_audio(20), now=5.2)

    assert not lets_go(call.handle(events.Tick(), now=5.1 + YIELD_S - 0.1))
    assert lets_go(call.handle(events.Tick(), now=5.1 + YIELD_S))


def test_another_stream_was_not_asked_for() -> None:
    # Nobody is ready to go on with that one.
    call = greeted()
    call.handle(events.SpeechStarted(1, "U1", 0), now=5.0)
    call.handle(YIELD, now=5.1)
    call.handle(STREAM_LOST, now=5.2)
    call.handle(events.SpeechStopped(1, "U1", 900), now=5.3)

    following = call.handle(ATTACHED, now=6.0)
    following += call.handle(events.LineMeasured(None, 0.5), now=6.0 + YIELD_S)

    assert not lets_go(following)
    assert state(call) is State.TALKING


def test_a_quiet_session_vouches_for_what_it_heard_live() -> None:
    call = answered()
    for t_ms in range(3_000, 9_000, 20):
        call.handle(caller_audio(t_ms), now=4.0 + (t_ms - 3_000) / 1_000)

    (last_words,) = told(call.handle(YIELD, now=10.0))

    assert last_words.checkpoint.told_ms == 9_000 - HEARD_LIVE_MS


def test_a_session_that_just_opened_vouches_for_nothing_that_it_was_given_at_once() -> None:
    call = talking()
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.4)
    call.handle(events.SessionLost(1, "close-1006", fatal=False), now=0.5)
    for t_ms in range(0, 5_000, 20):
        call.handle(caller_audio(t_ms), now=0.6 + t_ms / 10_000)
    call.handle(events.Tick(), now=1.2)
    call.handle(events.SessionCreated(2, "sess_2"), now=1.3)
    call.handle(events.SessionConfigured(2, AGENT.session(deaf=True)), now=1.4)
    following = call.handle(YIELD, now=1.5)
    following += call.handle(events.Tick(), now=1.5 + YIELD_S)

    last_words = told(following)[-1]
    assert last_words.is_final
    assert last_words.checkpoint.told_ms < 5_000 - HEARD_LIVE_MS


# The way to the gateway


def test_while_the_bus_is_away_what_the_agent_says_waits() -> None:
    call = greeted()
    call.handle(events.BusChanged(is_up=False), now=5.0)

    away = agent_speaks(call, 200, now=5.1)
    back = call.handle(events.BusChanged(is_up=True), now=6.0)

    assert not [command for command in away if isinstance(command, Play)]
    assert [command for command in back if isinstance(command, Play)] == [Play(0, b"\x21" * 1_600)]
