"""What the simulated model recognises: a recording after a whole line, and nothing after a broken one."""

from collections.abc import Callable

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from trunkline_simulators import g711, recordings
from trunkline_simulators.listener import listen
from trunkline_simulators.openai_audio import FORMATS

Sound = NDArray[np.int16]

CALLER = [utterance.id for utterance in recordings.utterances("caller")]
FRAME = 160  # 20 ms at 8 kHz


def through_the_line(utterance_id: str) -> Sound:
    """Return a recording as μ-law leaves it."""
    return g711.decode(g711.encode(recordings.samples(utterance_id, 8_000)))


def frames_of(sound: Sound) -> list[Sound]:
    return [sound[start : start + FRAME] for start in range(0, len(sound), FRAME)]


def with_lost_frames(sound: Sound, share: float, *, padded: bool) -> Sound:
    random = np.random.default_rng(7)
    kept = []
    for frame in frames_of(sound):
        if random.random() >= share:
            kept.append(frame)
        elif padded:
            kept.append(np.zeros_like(frame))
    return np.concatenate(kept)


def noise(samples: int, rms: float) -> NDArray[np.float64]:
    return np.random.default_rng(3).normal(0, rms, samples)


def to_24_khz_and_half_as_loud(sound: Sound) -> Sound:
    louder: Sound = soxr.resample(sound, 8_000, 24_000)
    return (louder * 0.5).astype(np.int16)


@pytest.mark.parametrize("utterance_id", CALLER)
def test_every_caller_utterance_is_recognised_through_the_line(utterance_id: str) -> None:
    heard = listen(through_the_line(utterance_id), 8_000)

    assert heard.utterance == recordings.utterance(utterance_id)
    assert heard.score > 0.95


@pytest.mark.parametrize("utterance_id", CALLER)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda sound: sound[8 * 200 :], id="200 ms of the beginning cut"),
        pytest.param(lambda sound: np.pad(sound, (8 * 700, 8 * 1_000)), id="silence around it"),
        pytest.param(lambda sound: with_lost_frames(sound, 0.02, padded=True), id="2 % lost, padded"),
        pytest.param(lambda sound: with_lost_frames(sound, 0.02, padded=False), id="2 % lost, closed up"),
        pytest.param(
            lambda sound: (sound + noise(len(sound), float(np.std(sound)) / 10)).astype(np.int16),
            id="noise, 20 dB below",
        ),
    ],
)
def test_it_is_recognised_through_the_troubles_of_a_call(
    utterance_id: str, change: Callable[[Sound], Sound]
) -> None:
    heard = listen(change(through_the_line(utterance_id)), 8_000)

    assert heard.utterance is not None
    assert heard.utterance.id == utterance_id


@pytest.mark.parametrize("utterance_id", CALLER)
def test_it_is_recognised_at_24_khz_from_the_line_or_beside_it(utterance_id: str) -> None:
    from_line = listen(to_24_khz_and_half_as_loud(through_the_line(utterance_id)), 24_000)
    wide_band = listen(recordings.samples(utterance_id, 24_000), 24_000)

    assert from_line.utterance == wide_band.utterance == recordings.utterance(utterance_id)


@pytest.mark.parametrize("utterance_id", CALLER)
@pytest.mark.parametrize(
    "garble",
    [
        pytest.param(lambda sound: np.concatenate(frames_of(sound)[::2]), id="every second frame lost"),
        pytest.param(lambda sound: np.concatenate([f[::-1] for f in frames_of(sound)]), id="frames reversed"),
        pytest.param(lambda sound: sound[::-1], id="played backwards"),
        pytest.param(lambda sound: sound[::2], id="twice as fast"),
        pytest.param(lambda sound: np.repeat(sound, 2), id="half as fast"),
        pytest.param(lambda sound: sound[: len(sound) // 2], id="only the first half"),
        pytest.param(
            lambda sound: FORMATS["audio/pcma"].decode(g711.encode(sound)), id="μ-law read as A-law"
        ),
        pytest.param(lambda sound: sound.byteswap(), id="bytes swapped"),
        pytest.param(
            lambda sound: (sound * 0.5 + noise(len(sound), 3_000)).astype(np.int16), id="drowned in noise"
        ),
    ],
)
def test_a_garbled_line_is_not_understood(utterance_id: str, garble: Callable[[Sound], Sound]) -> None:
    assert listen(garble(through_the_line(utterance_id)), 8_000).utterance is None


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(16_000, np.int16), id="silence"),
        pytest.param(np.zeros(0, np.int16), id="nothing"),
        pytest.param(noise(16_000, 3_000).astype(np.int16), id="noise"),
        pytest.param((8_000 * np.sin(np.arange(16_000) * 0.4)).astype(np.int16), id="a tone"),
    ],
)
def test_what_is_no_speech_is_not_understood(sound: Sound) -> None:
    assert listen(sound, 8_000).utterance is None


@pytest.mark.parametrize("utterance", recordings.utterances("agent"), ids=lambda each: each.id)
def test_the_agents_own_voice_is_not_taken_for_the_caller(utterance: recordings.Utterance) -> None:
    assert listen(recordings.samples(utterance.id, 8_000), 8_000).utterance is None


def test_of_an_unfinished_line_it_knows_how_much_was_said() -> None:
    sound = through_the_line("caller-hours")

    early = listen(sound[: 8 * 1_000], 8_000, finished=False)
    late = listen(sound[: 8 * 1_800], 8_000, finished=False)

    assert early.utterance == late.utterance == recordings.utterance("caller-hours")
    assert 0.2 < early.said < late.said < 1
