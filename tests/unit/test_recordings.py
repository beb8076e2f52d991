"""The recordings are clear speech: the digits are read back from them after a telephone line."""

from importlib import resources

import numpy as np
import pytest
from digit_recognition import spoken_digits

from trunkline_simulators import g711, recordings

ALL = [*recordings.utterances("caller"), *recordings.utterances("agent")]
DIGITS = [each for each in ALL if "digits" in each.id]


@pytest.mark.parametrize("utterance", DIGITS, ids=lambda each: each.id)
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_digits_are_understood_after_a_telephone_line(utterance: recordings.Utterance, gain: float) -> None:
    sound = (recordings.samples(utterance.id, 8_000) * gain).astype(np.int16)

    heard = g711.decode(g711.encode(sound))

    assert spoken_digits(heard, 8_000) == utterance.text


@pytest.mark.parametrize("speaker", ["caller", "agent"])
def test_each_side_speaks_all_ten_digits(speaker: recordings.Speaker) -> None:
    words = {word for each in DIGITS if each.speaker == speaker for word in each.text.split()}

    assert words == {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


@pytest.mark.parametrize("utterance", ALL, ids=lambda each: each.id)
def test_a_recording_is_as_long_as_it_is_heard(utterance: recordings.Utterance) -> None:
    sound = recordings.samples(utterance.id, recordings.RATE_HZ)

    loud_s = np.flatnonzero(np.abs(sound) > 200) / recordings.RATE_HZ

    assert sound.dtype == np.int16
    assert loud_s[0] < 0.2
    assert len(sound) / recordings.RATE_HZ - loud_s[-1] < 0.2
    assert np.abs(sound.astype(int)).max() <= 30_000


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_a_recording_is_resampled_to_any_rate(rate_hz: int) -> None:
    recorded = recordings.samples("caller-hours", recordings.RATE_HZ)

    sound = recordings.samples("caller-hours", rate_hz)

    assert len(sound) == pytest.approx(len(recorded) * rate_hz / recordings.RATE_HZ, abs=1)
    assert sound is recordings.samples("caller-hours", rate_hz)
    assert not sound.flags.writeable


def test_the_agent_answers_every_caller() -> None:
    answers = [recordings.reply(each.id) for each in recordings.utterances("caller")]

    assert {each.speaker for each in answers} == {"agent"}
    assert "agent-sorry" not in {each.id for each in answers}
    assert (
        recordings.reply(None) == recordings.reply("nobody-said-this") == recordings.utterance("agent-sorry")
    )
    assert recordings.greeting().id == "agent-greeting"


def test_an_unknown_utterance_is_refused() -> None:
    with pytest.raises(KeyError):
        recordings.samples("caller-silence", 8_000)


def test_the_recordings_stay_small() -> None:
    files = [
        each for each in (resources.files("trunkline_simulators") / "speech").iterdir() if each.is_file()
    ]

    assert {each.name for each in files} == {
        "manifest.json",
        "conversations.json",
        *(f"{each.id}.flac" for each in ALL),
    }
    assert sum(len(each.read_bytes()) for each in files) < 1_500_000
