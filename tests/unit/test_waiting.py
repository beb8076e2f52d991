"""What Twilio says of a caller in a queue, and what the caller is told (see `waiting`)."""

import io
import wave

import pytest

from trunkline_gateway import hold_music, waiting
from trunkline_gateway.waiting import NO_STAY, ROUND_S_MIN, TELL_AGAIN_S, Place, Stay

POSITION = "Number {position}."


def test_the_place_is_what_twilio_tells() -> None:
    assert waiting.place_of({"QueuePosition": "2", "QueueTime": "0"}) == Place(2, 0)


@pytest.mark.parametrize(
    "form",
    [
        *({}, {"QueuePosition": "2"}, {"QueueTime": "3"}, {"QueuePosition": "0", "QueueTime": "3"}),
        *({"QueuePosition": "²", "QueueTime": "1"}, {"QueuePosition": "-1", "QueueTime": "1"}),
    ],
)
def test_without_a_place_there_is_none(form: dict[str, str]) -> None:
    assert waiting.place_of(form) is None


def test_a_position_is_told_at_first_when_it_changes_and_after_a_while() -> None:
    stay, said = NO_STAY, []
    for at_s, position in ((0, 2), (8, 2), (16, 1), (24, 1), (16 + TELL_AGAIN_S, 1), (54, 1)):
        text, stay = waiting.tell(POSITION, Place(position, at_s), stay)
        said.append(text)

    assert said == ["Number 2.", "", "Number 1.", "", "Number 1.", ""]


def test_a_profile_may_tell_no_position() -> None:
    assert waiting.tell("", Place(1, 0), NO_STAY) == ("", NO_STAY)


def test_stays_add_up_and_one_that_ends_at_once_counts_too() -> None:
    assert Stay(before_s=40).again(60) == Stay(before_s=100)
    assert NO_STAY.again(0).before_s == ROUND_S_MIN


def test_the_music_is_a_sound_file_that_is_quiet_at_both_ends() -> None:
    with wave.open(io.BytesIO(hold_music.wav())) as file:
        frames = file.readframes(file.getnframes())
        rate_hz, seconds = file.getframerate(), file.getnframes() / file.getframerate()

    samples = memoryview(frames).cast("h")
    assert (rate_hz, seconds) == (8_000, hold_music.LENGTH_S)
    assert 2_000 < max(samples) < 16_000
    assert max(map(abs, [*samples[:10], *samples[-10:]])) < 200
