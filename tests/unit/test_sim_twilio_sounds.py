"""What the simulated Twilio lets a caller hear (see `twilio_sounds`)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trunkline_simulators import g711, twilio_sounds


@pytest.mark.parametrize(
    ("key", "tones_hz"), [("1", {697, 1209}), ("5", {770, 1336}), ("0", {941, 1336}), ("#", {941, 1477})]
)
def test_a_key_is_two_tones(key: str, tones_hz: set[int]) -> None:
    sound = g711.decode(twilio_sounds.dtmf(key))

    assert strongest_hz(sound[:800]) == tones_hz
    assert not np.any(sound[800:])


@pytest.mark.parametrize(("digits", "length_ms"), [("1", 200), ("1w2", 900), ("W", 1_000)])
def test_keys_take_their_time(digits: str, length_ms: int) -> None:
    assert len(twilio_sounds.dtmf(digits)) == length_ms * 8


def strongest_hz(sound: NDArray[np.int16]) -> set[int]:
    """Return the two of the keypad's tones that are loudest."""
    tones_hz = [697, 770, 852, 941, 1209, 1336, 1477]
    t_s = np.arange(len(sound)) / 8_000
    levels = {tone_hz: abs(np.exp(-2j * np.pi * tone_hz * t_s) @ sound) for tone_hz in tones_hz}
    return set(sorted(tones_hz, key=lambda tone_hz: levels[tone_hz])[-2:])
