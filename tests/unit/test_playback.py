"""The agent's direction: whole frames, marks, and what the caller has heard of which item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_worker import g711, resample
from trunkline_worker.commands import Command, Play, PutMark
from trunkline_worker.playback import ITEMS_MAX, LEAD_MS_MAX, Playback
from trunkline_worker.playing_item import FRAME_BYTES, MARK_EVERY_MS, Cut

SILENCE = b"\xff"


def test_whole_frames_are_sent_at_once_and_the_rest_waits_for_the_next_delta() -> None:
    playback = pcmu()

    first = playback.receive("R1", "A1", sound(30), now=0.0)
    second = playback.receive("R1", "A1", sound(15), now=0.1)

    assert played(first) == played(second) == sound(20)


def test_only_the_end_of_an_item_is_padded_with_silence() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(30), now=0.0)

    assert played(playback.finish("A1", now=0.1)) == sound(10) + SILENCE * 80


def test_the_end_is_taken_once() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(30), now=0.0)
    playback.finish("A1", now=0.1)

    assert playback.finish("A1", now=0.2) == []


def test_an_item_without_audio_has_no_end() -> None:
    assert pcmu().finish("A1", now=0.0) == []


def test_audio_behind_the_end_of_an_item_is_not_played() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=0.0)
    playback.finish("A1", now=0.1)

    assert playback.receive("R1", "A1", sound(200), now=0.2) == []


@given(sizes=st.lists(st.integers(0, 2_000), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, database=None)
def test_deltas_of_odd_sizes_lose_no_sample_and_click_nowhere(sizes: list[int]) -> None:
    pcm = tone_pcm24k(sum(sizes) + sum(sizes) % 2)
    playback = Playback("pcm24k", "polyphase")
    commands: list[Command] = []
    at = 0
    for size in [*sizes, len(pcm)]:
        commands += playback.receive("R1", "A1", pcm[at : at + size], now=0.0)
        at += size
    commands += playback.finish("A1", now=0.0)

    whole = as_ulaw(pcm)
    assert played(commands) == whole + SILENCE * (-len(whole) % FRAME_BYTES)
    assert all(len(play.ulaw) % FRAME_BYTES == 0 for play in commands if isinstance(play, Play))


# Marks


def test_a_mark_follows_every_200_ms_and_the_end_of_each_delta() -> None:
    playback = pcmu()

    commands = playback.receive("R1", "A1", sound(500), now=0.0)

    assert [type(command) for command in commands] == [Play, PutMark] * 3
    assert marks(commands) == ["0:A1:200", "0:A1:400", "0:A1:500"]
    assert all(len(play.ulaw) <= MARK_EVERY_MS * 8 for play in commands if isinstance(play, Play))


def test_marks_tell_positions_in_their_own_item() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=0.0)
    playback.finish("A1", now=0.0)

    assert marks(playback.receive("R1", "A2", sound(100), now=0.0)) == ["0:A2:100"]


def test_marks_name_the_generation() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=0.0)
    playback.interrupt(now=0.1)

    assert marks(playback.receive("R2", "A2", sound(20), now=0.2)) == ["1:A2:20"]


# The heard position


def test_before_the_first_echo_the_clock_runs_from_the_moment_of_sending() -> None:
    # The audio and a clear have the same way, so the round trip does not count.
    playback = pcmu(round_trip_ms=120)
    playback.receive("R1", "A1", sound(1_000), now=5.0)

    assert playback.heard_ms(now=5.05) == {"A1": 50}


def test_without_an_echo_the_clock_stops_at_the_first_mark_and_a_round_trip() -> None:
    playback = pcmu(round_trip_ms=120)
    playback.receive("R1", "A1", sound(1_000), now=5.0)

    assert playback.heard_ms(now=9.0) == {"A1": 320}


def test_an_echo_moves_the_position_and_the_round_trip_counts() -> None:
    # What it tells was so half a round trip ago, and a clear takes another half.
    playback = pcmu(round_trip_ms=100)
    playback.receive("R1", "A1", sound(1_000), now=5.0)

    playback.mark_played("0:A1:400", now=5.5)

    assert playback.heard_ms(now=5.5) == {"A1": 500}
    assert playback.heard_ms(now=5.55) == {"A1": 550}


def test_between_two_echoes_the_clock_runs_but_not_past_the_next_mark() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(1_000), now=5.0)
    playback.mark_played("0:A1:200", now=5.2)

    assert playback.heard_ms(now=5.25) == {"A1": 250}
    assert playback.heard_ms(now=8.0) == {"A1": 400}


def test_the_position_never_passes_what_was_sent() -> None:
    playback = pcmu(round_trip_ms=100)
    playback.receive("R1", "A1", sound(220), now=5.0)
    playback.mark_played("0:A1:200", now=5.3)

    assert playback.heard_ms(now=9.0) == {"A1": 220}


def test_a_gap_in_the_audio_is_not_heard_speech() -> None:
    # Twilio ran dry at 200 ms, and the rest was sent a second later.
    playback = pcmu(round_trip_ms=40)
    playback.receive("R1", "A1", sound(200), now=5.0)
    playback.mark_played("0:A1:200", now=5.24)
    playback.receive("R1", "A1", sound(400), now=6.2)

    assert playback.heard_ms(now=6.25) == {"A1": 250}


def test_a_gap_is_known_even_before_the_echo_that_shows_it() -> None:
    playback = pcmu(round_trip_ms=400)
    playback.receive("R1", "A1", sound(100), now=5.0)
    playback.receive("R1", "A1", sound(100), now=5.3)

    assert playback.heard_ms(now=5.35) == {"A1": 150}


def test_two_items_within_a_round_trip_are_both_heard() -> None:
    playback = pcmu(round_trip_ms=200)
    playback.receive("R1", "A1", sound(100), now=5.0)
    playback.finish("A1", now=5.0)
    playback.receive("R1", "A2", sound(1_000), now=5.0)

    assert playback.heard_ms(now=5.25) == {"A1": 100, "A2": 150}


def test_an_echo_tells_of_everything_before_it() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=5.0)
    playback.finish("A1", now=5.0)
    playback.receive("R1", "A2", sound(400), now=5.0)

    playback.mark_played("0:A2:200", now=5.4)

    assert [item.item_id for item in playback.take_heard()] == ["A1"]


@pytest.mark.parametrize(
    "name",
    ["0:A1:999", "0:A9:200", "7:A1:200", "probe:3", "", "::", "0:A1:", "0:A1:-200", "0:A1:" + "9" * 5_000],
)
def test_an_echo_of_a_mark_that_was_never_set_is_no_playback(name: str) -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(400), now=5.0)

    assert playback.mark_played(name, now=5.0) is None
    assert playback.heard_ms(now=5.0) == {"A1": 0}


def test_an_echo_counts_once() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(400), now=5.0)
    playback.mark_played("0:A1:200", now=5.2)

    assert playback.mark_played("0:A1:200", now=5.3) is None
    assert playback.heard_ms(now=5.3) == {"A1": 300}


# Fully heard


def test_an_item_is_heard_with_the_echo_of_its_last_mark() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(390), now=5.0)
    last = marks(playback.finish("A1", now=5.0))[-1]

    playback.mark_played("0:A1:200", now=5.2)
    assert playback.take_heard() == []
    playback.mark_played(last, now=5.4)

    (heard,) = playback.take_heard()
    assert (heard.item_id, heard.generated_ms) == ("A1", 390)
    assert not playback.active
    assert playback.take_heard() == []


def test_an_item_that_may_go_on_is_not_heard_yet() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=5.0)
    playback.mark_played("0:A1:200", now=5.2)

    assert playback.take_heard() == []
    assert playback.active


def test_an_item_whose_end_comes_after_its_last_echo_is_heard_at_once() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(200), now=5.0)
    playback.mark_played("0:A1:200", now=5.2)

    assert playback.finish("A1", now=5.3) == []
    assert [item.item_id for item in playback.take_heard()] == ["A1"]


# Interruptions


def test_an_interruption_tells_what_was_heard_and_raises_the_generation() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(1_000), now=5.0)
    playback.finish("A1", now=5.0)
    playback.receive("R1", "A2", sound(500), now=5.1)

    cuts = playback.interrupt(now=5.15)

    assert cuts == [Cut("A1", 150, 1_000), Cut("A2", 0, 500, complete=False)]
    assert playback.generation == 1
    assert not playback.active
    assert playback.heard_ms(now=6.0) == {}


def test_echoes_of_a_cleared_generation_are_not_playback() -> None:
    # Twilio sends every waiting mark back at once after a clear.
    playback = pcmu()
    playback.receive("R1", "A1", sound(400), now=5.0)
    playback.interrupt(now=5.1)
    playback.receive("R2", "A1", sound(400), now=5.2)

    assert playback.mark_played("0:A1:400", now=5.2) is None
    assert playback.heard_ms(now=5.2) == {"A1": 0}


def test_padding_is_not_heard_speech() -> None:
    playback = pcmu(round_trip_ms=100)
    playback.receive("R1", "A1", sound(185), now=5.0)
    playback.finish("A1", now=5.0)

    assert playback.interrupt(now=5.199) == [Cut("A1", 185, 185)]


def test_nothing_of_the_interrupted_item_leaks_into_the_next() -> None:
    # Neither the frame that was not full nor the half sample nor the resampler's tail.
    pcm = tone_pcm24k(9_600)
    playback = Playback("pcm24k", "polyphase")
    playback.receive("R1", "A1", pcm[:4_801], now=0.0)
    playback.interrupt(now=0.1)

    commands = [*playback.receive("R2", "A2", pcm, now=0.2), *playback.finish("A2", now=0.2)]

    assert played(commands) == as_ulaw(pcm)


# Several items


def test_interleaved_items_are_heard_one_after_the_other() -> None:
    pcm = tone_pcm24k(9_600)
    playback = Playback("pcm24k", "polyphase")

    commands = playback.receive("R1", "A1", pcm[:5_001], now=0.0)
    commands += playback.receive("R1", "A2", pcm[:4_801], now=0.0)
    commands += playback.receive("R1", "A1", pcm[5_001:], now=0.0)
    commands += playback.finish("A1", now=0.0)
    commands += playback.receive("R1", "A2", pcm[4_801:], now=0.0)
    commands += playback.finish("A2", now=0.0)

    assert played(commands) == as_ulaw(pcm) * 2


def test_the_end_of_a_response_ends_its_items() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(30), now=0.0)

    assert played(playback.finish_response("R1", now=0.0)) == sound(10) + SILENCE * 80
    assert playback.finish_response("R1", now=0.0) == []


def test_an_item_whose_end_was_never_told_does_not_hold_up_the_next_answer() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(30), now=0.0)

    commands = playback.receive("R2", "A2", sound(40), now=0.0)

    assert played(commands) == sound(10) + SILENCE * 80 + sound(40)


def test_items_that_nobody_hears_are_bounded() -> None:
    playback = pcmu()
    for number in range(ITEMS_MAX + 1):
        playback.receive("R1", f"A{number}", sound(20), now=0.0)
        playback.finish(f"A{number}", now=0.0)

    assert [item.item_id for item in playback.take_heard()] == ["A0"]
    assert len(playback.heard_ms(now=0.0)) == ITEMS_MAX


# Limits


def test_the_lead_is_bounded_and_the_rest_follows_as_the_caller_hears() -> None:
    playback = pcmu()
    sent = playback.receive("R1", "A1", sound(60_000), now=0.0)
    lead_ms = len(played(sent)) / 8

    released = playback.mark_played("0:A1:10000", now=10.0)

    assert LEAD_MS_MAX <= lead_ms <= LEAD_MS_MAX + MARK_EVERY_MS
    assert released is not None
    assert len(played(released)) == 10_000 * 8


def test_what_waits_behind_the_lead_is_interrupted_too() -> None:
    playback = pcmu()
    playback.receive("R1", "A1", sound(60_000), now=0.0)
    playback.receive("R1", "A2", sound(1_000), now=0.0)

    cuts = playback.interrupt(now=0.0)

    assert [(cut.item_id, cut.generated_ms) for cut in cuts] == [("A1", 60_000), ("A2", 1_000)]


def test_without_a_line_everything_waits() -> None:
    playback = pcmu()
    playback.hold()

    assert playback.receive("R1", "A1", sound(400), now=0.0) == []
    assert playback.finish("A1", now=0.0) == []
    assert playback.heard_ms(now=3.0) == {"A1": 0}

    released = playback.release(now=3.0)
    assert played(released) == sound(400)
    assert playback.heard_ms(now=3.1) == {"A1": 100}


def pcmu(round_trip_ms: float = 0.0) -> Playback:
    playback = Playback("pcmu", "polyphase")
    playback.round_trip_ms = round_trip_ms
    return playback


def sound(ms: int) -> bytes:
    return b"\x21" * (ms * 8)


def tone_pcm24k(size_bytes: int) -> bytes:
    samples = 12_000 * np.sin(2 * np.pi * 440 / 24_000 * np.arange(size_bytes // 2))
    pcm: bytes = samples.astype("<i2").tobytes()
    return pcm


def as_ulaw(pcm: bytes) -> bytes:
    """Convert in one piece."""
    downsampler = resample.downsampler("polyphase")
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16)
    return g711.pcm16_to_ulaw(np.concatenate([downsampler.process(samples), downsampler.flush()]))


def played(commands: list[Command]) -> bytes:
    return b"".join(command.ulaw for command in commands if isinstance(command, Play))


def marks(commands: list[Command]) -> list[str]:
    return [command.name for command in commands if isinstance(command, PutMark)]
