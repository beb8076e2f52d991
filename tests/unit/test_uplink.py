"""The caller's direction: where audio belongs, what waits, and what silence is filled in."""

import numpy as np
import pytest

from trunkline_worker.uplink import (
    ANCHORS_MAX,
    BACKLOG_MS_MAX,
    FILL_MS_MAX,
    FILL_STEP_MS,
    GAP_MS_MAX,
    POSITION_MS_MAX,
    STALL_MS,
    Uplink,
)

SILENCE = b"\xff"


# Formats


def test_pcmu_audio_goes_through_as_it_is() -> None:
    uplink = opened()

    assert uplink.push(0, speech(20), now=0.0) == speech(20)


def test_pcm24k_audio_is_pcm16_little_endian_at_24_khz() -> None:
    uplink = Uplink("pcm24k", "polyphase")
    uplink.open()

    sent = b"".join(uplink.push(t_ms, speech(20), t_ms / 1000) for t_ms in range(0, 1_000, 20))

    samples = np.frombuffer(sent, dtype="<i2")
    held_back_ms = 1_000 - len(samples) / 24
    assert 0 <= held_back_ms < 3
    assert np.abs(samples[200:-200]).max() > 5_000


def test_frames_may_have_any_length() -> None:
    # Twilio sends 20 ms, but does not promise it.
    uplink = opened()

    sent = [
        uplink.push(0, speech(100), 0.0),
        uplink.push(100, speech(5), 0.1),
        uplink.push(105, speech(60), 0.2),
    ]

    assert sent == [speech(100), speech(5), speech(60)]
    assert uplink.media_end_ms == 165


# The timestamp decides


def test_the_first_timestamp_need_not_be_zero() -> None:
    uplink = opened()

    assert uplink.push(5, speech(20), now=0.0) == speech(20)
    assert uplink.media_end_ms == 25


def test_late_arrival_makes_no_gap() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    assert uplink.push(20, speech(20), now=1.5) == speech(20)
    assert uplink.padded_ms == 0


def test_a_jump_in_the_timestamps_becomes_silence() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    assert uplink.push(320, speech(20), now=0.3) == SILENCE * 300 * 8 + speech(20)
    assert uplink.padded_ms == 300
    assert uplink.media_end_ms == 340


def test_less_than_a_frame_is_rounding_not_a_gap() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    assert uplink.push(39, speech(20), now=0.04) == speech(20)
    assert uplink.padded_ms == 0


def test_rounding_does_not_add_up() -> None:
    # 21 ms on the clock for each 20 ms of audio: the difference is made up for once it is a frame.
    uplink = opened()

    sent = b"".join(uplink.push(frame * 21, speech(20), frame * 0.021) for frame in range(201))

    media_ms = 200 * 21 + 20
    assert abs(len(sent) / 8 - media_ms) < 20
    assert abs(uplink.media_end_ms - media_ms) < 20


def test_a_long_hold_is_not_padded_in_full() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    sent = uplink.push(600_000, speech(20), now=600.0)

    assert len(sent) == (GAP_MS_MAX + 20) * 8
    assert uplink.media_end_ms == 600_020


def test_a_repeated_frame_is_dropped_and_counted() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    assert uplink.push(0, speech(20), now=0.02) == b""
    assert uplink.repeated_frames == 1


# A second stream


def test_the_timestamps_of_a_second_stream_start_again() -> None:
    uplink = opened()
    uplink.push(0, speech(5_000), now=5.0)

    uplink.start_stream()
    sent = uplink.push(0, speech(20), now=7.02)

    # 2 s passed between the frames, and that is where the words belong.
    assert sent == SILENCE * 2_000 * 8 + speech(20)
    assert uplink.media_end_ms == 7_020
    assert uplink.repeated_frames == 0


def test_a_second_stream_that_follows_at_once_makes_no_gap() -> None:
    uplink = opened()
    uplink.push(0, speech(5_000), now=5.0)

    uplink.start_stream()

    assert uplink.push(40, speech(20), now=5.025) == speech(20)
    assert uplink.push(60, speech(20), now=5.045) == speech(20)
    assert uplink.media_end_ms == 5_040


def test_the_timestamps_of_a_second_stream_decide_from_its_first_frame_on() -> None:
    uplink = opened()
    uplink.push(0, speech(1_000), now=1.0)
    uplink.start_stream()
    uplink.push(0, speech(20), now=1.02)

    assert uplink.push(120, speech(20), now=1.03) == SILENCE * 100 * 8 + speech(20)


# Before a session is open


def test_nothing_leaves_before_the_session_is_open() -> None:
    uplink = Uplink("pcmu", "polyphase")

    assert uplink.push(100, speech(20), now=0.0) == b""
    assert uplink.push(120, speech(20), now=0.02) == b""
    assert uplink.open() == (speech(40), 100)


def test_nothing_waited() -> None:
    assert Uplink("pcmu", "polyphase").open() == (b"", None)


def test_what_waits_is_bounded_and_the_oldest_is_dropped() -> None:
    uplink = Uplink("pcmu", "polyphase")
    for t_ms in range(0, 3_000, 20):
        uplink.push(t_ms, speech(20), t_ms / 1000)

    waited, media_start_ms = uplink.open()

    assert len(waited) == BACKLOG_MS_MAX * 8
    assert media_start_ms == 1_000
    assert uplink.dropped_ms == 1_000


def test_what_waits_is_bounded_even_in_one_piece() -> None:
    # A gap of nine seconds is padded in one piece.
    uplink = Uplink("pcmu", "polyphase")
    uplink.push(0, speech(20), now=0.0)
    uplink.push(9_000, speech(20), now=9.0)

    waited, media_start_ms = uplink.open()

    assert waited == SILENCE * (BACKLOG_MS_MAX - 20) * 8 + speech(20)
    assert media_start_ms == 9_020 - BACKLOG_MS_MAX


def test_audio_waits_again_after_the_session_is_gone() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)
    uplink.close()

    assert uplink.push(20, speech(20), now=0.02) == b""
    assert uplink.open() == (speech(20), 20)


def test_what_waited_before_does_not_take_room_from_what_waits_again() -> None:
    uplink = Uplink("pcmu", "polyphase")
    uplink.push(0, speech(1_500), now=1.5)
    uplink.open()
    uplink.close()
    uplink.push(1_500, speech(1_500), now=3.0)

    assert uplink.open() == (speech(1_500), 1_500)
    assert uplink.dropped_ms == 0


def test_nothing_of_the_last_session_leaks_into_the_next() -> None:
    used, fresh = Uplink("pcm24k", "polyphase"), Uplink("pcm24k", "polyphase")
    used.open()
    used.push(0, speech(20), now=0.0)
    used.close()

    used.open()
    fresh.open()

    assert used.push(20, speech(20), now=0.02) == fresh.push(20, speech(20), now=0.02)


# Positions


def test_positions_in_the_session_are_media_times() -> None:
    uplink = Uplink("pcmu", "polyphase")
    uplink.push(5_000, speech(100), now=5.0)
    uplink.open()
    uplink.push(5_100, speech(100), now=5.1)

    assert [uplink.media_ms(session_ms) for session_ms in (0, 60, 200)] == [5_000, 5_060, 5_200]


def test_silence_that_was_padded_keeps_positions_in_step() -> None:
    uplink = opened()
    uplink.push(0, speech(100), now=0.1)
    uplink.push(700, speech(100), now=0.8)

    assert uplink.media_ms(750) == 750


def test_positions_after_a_gap_that_was_not_padded_in_full() -> None:
    uplink = opened()
    uplink.push(0, speech(100), now=0.1)
    uplink.push(60_000, speech(100), now=60.1)

    assert uplink.media_ms(50) == 50
    assert uplink.media_ms(100 + GAP_MS_MAX + 30) == 60_030


def test_positions_start_again_with_each_session() -> None:
    uplink = opened()
    uplink.push(0, speech(1_000), now=1.0)
    uplink.close()

    uplink.open()
    uplink.push(1_000, speech(100), now=1.1)

    assert uplink.media_ms(40) == 1_040


def test_a_position_before_any_audio_is_itself() -> None:
    assert opened().media_ms(300) == 300


def test_positions_of_long_ago_are_forgotten_and_recent_ones_are_kept() -> None:
    uplink = opened()
    hold_ms = GAP_MS_MAX + 1_000  # Each leaves 1 s out, so each moves the positions.
    for hold in range(ANCHORS_MAX + 10):
        uplink.push(hold * (hold_ms + 20), speech(20), now=hold * 11.0)

    session_ms = 20 + (ANCHORS_MAX + 9) * (GAP_MS_MAX + 20)

    assert uplink.media_ms(session_ms) == uplink.media_end_ms


# Silence in mid-speech


def test_silence_is_due_when_media_stays_away() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)

    assert uplink.fill_at() == pytest.approx(10.0 + STALL_MS / 1000)
    assert uplink.fill(now=10.5) == b""


def test_the_first_silence_makes_up_for_the_whole_stall() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)

    assert uplink.fill(now=11.2) == SILENCE * STALL_MS * 8


def test_then_silence_goes_on_as_time_goes_by() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)
    uplink.fill(now=11.2)

    assert uplink.fill_at() == pytest.approx(11.2 + FILL_STEP_MS / 1000)
    assert uplink.fill(now=11.3) == SILENCE * FILL_STEP_MS * 8


def test_a_late_wake_up_fills_everything_that_is_due_at_once() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)

    assert len(uplink.fill(now=11.5)) == 1_500 * 8
    fill_at = uplink.fill_at()
    assert fill_at is not None
    assert fill_at > 11.5


def test_silence_ends_where_any_vad_has_ended_the_turn() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)
    filled = b""

    while (fill_at := uplink.fill_at()) is not None:
        filled += uplink.fill(fill_at)

    assert filled == SILENCE * FILL_MS_MAX * 8
    assert uplink.padded_ms == FILL_MS_MAX


def test_what_was_filled_in_is_not_padded_again() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)
    uplink.fill(now=11.2)

    # Twilio's timestamps tell that the pause took a second and a half in all.
    assert uplink.push(1_520, speech(20), now=11.5) == SILENCE * 300 * 8 + speech(20)
    assert uplink.media_ms(1_525) == 1_525


def test_words_after_a_mere_stall_keep_their_place_and_their_positions() -> None:
    # The network, not Twilio: the timestamps go on without a gap.
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)
    uplink.fill(now=11.2)

    assert uplink.push(20, speech(20), now=11.25) == speech(20)
    assert uplink.media_end_ms == 40
    assert uplink.media_ms(20 + STALL_MS + 10) == 30


def test_media_that_comes_back_ends_the_filling() -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=10.0)
    uplink.fill(now=10.75)
    uplink.push(770, speech(20), now=10.8)

    assert uplink.fill_at() == pytest.approx(10.8 + STALL_MS / 1000)


def test_nothing_is_filled_in_without_a_session_or_without_any_media() -> None:
    closed = Uplink("pcmu", "polyphase")
    closed.push(0, speech(20), now=0.0)

    assert closed.fill_at() is None
    assert closed.fill(now=5.0) == b""
    assert opened().fill_at() is None


@pytest.mark.parametrize("position_ms", [-5, 10**400])
def test_a_position_that_cannot_be_is_no_fault(position_ms: int) -> None:
    uplink = opened()
    uplink.push(0, speech(20), now=0.0)

    assert 0 <= uplink.media_ms(position_ms) <= POSITION_MS_MAX


def opened() -> Uplink:
    uplink = Uplink("pcmu", "polyphase")
    uplink.open()
    return uplink


def speech(ms: int) -> bytes:
    """μ-law that is loud: a square wave of 500 Hz."""
    return (b"\x10" * 8 + b"\x90" * 8) * (ms // 2) + b"\x10" * 8 * (ms % 2)
