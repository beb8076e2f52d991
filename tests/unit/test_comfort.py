import numpy as np
import pytest

from trunkline_gateway.comfort import DOUBLE_TICK, PERIOD_S, SILENCE_S, Comfort, ulaw
from trunkline_simulators import g711


def test_our_mu_law_is_that_of_the_standard() -> None:
    samples = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)

    assert bytes(ulaw(int(sample)) for sample in samples) == g711.encode(samples)


def test_the_sound_is_short_soft_and_begins_and_ends_in_silence() -> None:
    samples = g711.decode(DOUBLE_TICK).astype(np.int64)

    assert len(samples) / 8_000 < 0.25
    assert 500 < np.abs(samples).max() < 2_000
    assert np.abs(samples[[0, -1]]).max() < 100
    assert np.abs(samples[500:1_000]).max() == 0, "two ticks"


def test_it_begins_when_nothing_has_played_for_a_moment() -> None:
    comfort = Comfort()

    assert comfort.due_at(trouble_since=10.0, played_until=3.0) == 10.0 + SILENCE_S
    assert comfort.due_at(trouble_since=10.0, played_until=14.0) == 14.0 + SILENCE_S


def test_it_comes_again_and_again() -> None:
    comfort = Comfort()
    comfort.sound(11.0)

    assert comfort.due_at(10.0, 11.2) == 11.0 + PERIOD_S


def test_it_knows_what_is_still_to_be_heard_and_how_long_it_took() -> None:
    comfort = Comfort()
    assert comfort.over(9.0) is None
    comfort.sound(10.0)

    assert comfort.is_unplayed(10.2)
    assert not comfort.is_unplayed(10.3)
    comfort.sound(12.0)
    comfort.cleared()
    assert not comfort.is_unplayed(12.1)
    assert comfort.over(12.5) == pytest.approx(2.5)
    assert comfort.over(12.6) is None
