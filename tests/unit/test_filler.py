"""The sound that fills a silence of ours: when it plays, that it ends, and that no answer waits for it."""

from talk import LOST, acts, agent_speaks, caller_audio, caller_speaks, counted, greeted, played, talking

from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.commands import ClearPlayback, Command, Count, Measure, Play, PutMark
from trunkline_worker.filler import FILLED_S_MAX, LEFTOVER_S, PIECE_MS, SLOW_S, SOFT, TROUBLE_S
from trunkline_worker.g711 import ulaw_to_pcm16

AGENT = Agent(audio_path="pcmu")


def asked() -> Call:
    """The caller asked something at 5.0 s, and no answer comes."""
    call = talking(AGENT)
    call.handle(events.ResponseCreated(1, "R0"), now=0.4)
    agent_speaks(call, 100, now=0.5, item_id="A0", response_id="R0")
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.6)
    call.handle(events.MarkPlayed("0:A0:100"), now=0.8)
    caller_speaks(call, now=5.0)
    return call


def run(call: Call, now: float, until: float) -> list[Command]:
    """Let time pass, waking the call when it wants to be woken."""
    following = []
    while (wake_at := call.wake_at()) is not None and wake_at <= until:
        now = max(wake_at, now)
        following += call.handle(events.Tick(), now)
        due_again = call.wake_at()
        assert due_again is None or due_again > now, "due again at once"
    return following


def test_it_fills_the_silence_of_a_slow_model() -> None:
    call = asked()

    assert played(run(call, 5.0, 5.0 + SLOW_S - 0.01)) == []
    assert played(run(call, 5.0, 5.0 + SLOW_S))[0] == Play(0, SOFT[0])


def test_it_comes_sooner_when_the_session_is_being_restored() -> None:
    call = asked()
    call.handle(LOST, now=5.2)

    assert played(run(call, 5.2, 5.0 + TROUBLE_S - 0.01)) == []
    assert played(run(call, 5.2, 5.0 + TROUBLE_S)) != []


def test_it_comes_sooner_when_an_answer_failed_and_waits_for_its_retry() -> None:
    call = asked()
    call.handle(events.ResponseCreated(1, "R1"), now=5.1)
    call.handle(events.ResponseDone(1, "R1", "failed", "server_error", None), now=5.2)

    assert played(run(call, 5.2, 5.0 + TROUBLE_S)) != []


def test_nothing_is_filled_when_nothing_is_owed() -> None:
    call = asked()
    agent_speaks(call, 100, now=5.5)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=5.6)
    call.handle(events.MarkPlayed("0:A1:100"), now=5.8)
    call.handle(LOST, now=6.0)

    assert played(run(call, 6.0, 9.0)) == []


def test_it_stays_just_ahead_of_real_time_and_has_no_marks() -> None:
    call = asked()
    starts_at = 5.0 + SLOW_S

    following = run(call, starts_at, starts_at + 1.0)

    sent_ms = PIECE_MS * len(played(following))
    assert 1_000 <= sent_ms <= 1_100
    assert not [command for command in following if isinstance(command, PutMark)]
    assert sum(command.amount for command in following if isinstance(command, Count)) == sent_ms


def test_the_answer_does_not_wait_for_what_is_left_of_it() -> None:
    call = asked()
    run(call, 5.0, 8.0)

    following = acts(agent_speaks(call, 200, now=8.0))

    assert following[0] == ClearPlayback(1)
    assert following[1] == Play(1, b"\x21" * 1_600)


def test_nothing_is_cleared_when_it_ended_long_ago() -> None:
    call = asked()
    run(call, 5.0, 40.0)

    assert ClearPlayback(1) not in agent_speaks(call, 200, now=40.0 + LEFTOVER_S)


def test_the_caller_silences_it() -> None:
    call = asked()
    run(call, 5.0, 8.0)

    assert acts(call.handle(events.SpeechStarted(1, "U2", 0), now=8.0)) == [ClearPlayback(1)]
    assert played(run(call, 8.0, 12.0)) == []


def test_the_caller_silences_it_even_while_no_session_listens() -> None:
    call = asked()
    call.handle(LOST, now=5.2)
    run(call, 5.2, 5.9)

    following = [
        command
        for t_ms in range(0, 60, 20)
        for command in call.handle(caller_audio(t_ms), now=5.9 + t_ms / 1000)
    ]

    assert following == [ClearPlayback(1)]


def test_it_ends_after_a_while() -> None:
    call = asked()
    call.handle(events.ResponseCreated(1, "R1"), now=5.1)

    following = run(call, 5.1, 60.0)

    assert PIECE_MS * len(played(following)) <= FILLED_S_MAX * 1000 + PIECE_MS


def test_it_is_nobodys_speech() -> None:
    call = asked()
    following = run(call, 5.0, 8.0)

    assert set(counted(following)) == {Measure.FILLER_MS}
    assert acts(call.handle(events.SpeechStarted(1, "U2", 0), now=8.0)) == [ClearPlayback(1)]
    assert call.interruptions == 0


def test_an_agent_without_it_leaves_the_silence_alone() -> None:
    call = greeted()
    caller_speaks(call, now=5.0)

    assert played(run(call, 5.0, 10.0)) == []


def test_it_is_quiet() -> None:
    sound = ulaw_to_pcm16(b"".join(SOFT))

    assert 0 < abs(sound.astype(int)).max() < 32_768 * 10 ** (-33 / 20)
    assert {len(piece) for piece in SOFT} == {8 * PIECE_MS}
