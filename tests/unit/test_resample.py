"""The worker's resamplers, measured as filters: pass band, rejection, delay, chunk borders, saturation."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trunkline_worker.resample import (
    DELAY_MS,
    MODEL_HZ,
    PASS_BAND_HZ,
    PHONE_HZ,
    STOP_BAND_HZ,
    PolyphaseDownsampler,
    PolyphaseUpsampler,
    Resampler,
    SoxrQuality,
    SoxrResampler,
    downsampler,
    upsampler,
)

Pcm16 = NDArray[np.int16]

POLYPHASE = [
    pytest.param(PolyphaseUpsampler, PHONE_HZ, MODEL_HZ, id="polyphase-up"),
    pytest.param(PolyphaseDownsampler, MODEL_HZ, PHONE_HZ, id="polyphase-down"),
]
EVERY_RESAMPLER = [
    *POLYPHASE,
    pytest.param(lambda: SoxrResampler(PHONE_HZ, MODEL_HZ), PHONE_HZ, MODEL_HZ, id="soxr-up"),
    pytest.param(lambda: SoxrResampler(MODEL_HZ, PHONE_HZ), MODEL_HZ, PHONE_HZ, id="soxr-down"),
]
NewResampler = Callable[[], Resampler]


# Streaming


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
@given(
    sizes=st.lists(st.integers(0, 8) | st.sampled_from([160, 161, 480]) | st.integers(0, 4_000), max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None, database=None)
def test_chunk_borders_change_no_bit(
    new: NewResampler, from_hz: int, to_hz: int, sizes: list[int], seed: int
) -> None:
    samples = noise(sum(sizes), seed)

    whole = resampled(new(), [samples])
    chunked = resampled(new(), cut(samples, sizes))

    np.testing.assert_array_equal(chunked, whole)
    if isinstance(new(), SoxrResampler):
        assert abs(whole.size - samples.size * to_hz / from_hz) < 1
    else:
        assert whole.size == -(-samples.size * to_hz // from_hz)


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_single_samples_and_empty_chunks(new: NewResampler, from_hz: int, to_hz: int) -> None:
    samples = noise(700, seed=1)

    chunked = resampled(new(), cut(samples, [0, 1] * samples.size))

    np.testing.assert_array_equal(chunked, resampled(new(), [samples]))


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_nothing_in_nothing_out(new: NewResampler, from_hz: int, to_hz: int) -> None:
    resampler = new()

    for output in (resampler.process(np.zeros(0, np.int16)), resampler.flush()):
        assert output.size == 0
        assert output.dtype == np.int16


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
@pytest.mark.parametrize("end", ["reset", "flush"])
def test_is_as_new_after_reset_and_after_flush(new: NewResampler, from_hz: int, to_hz: int, end: str) -> None:
    resampler = new()
    resampler.process(noise(5_003, seed=2))

    getattr(resampler, end)()

    samples = noise(1_000, seed=3)
    np.testing.assert_array_equal(resampled(resampler, [samples]), resampled(new(), [samples]))


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_output_belongs_to_the_caller(new: NewResampler, from_hz: int, to_hz: int) -> None:
    resampler = new()
    first = resampler.process(noise(from_hz // 4, seed=4))
    kept = first.copy()

    resampler.process(noise(from_hz // 4, seed=5))
    resampler.reset()

    assert first.size > 0
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
def test_no_clicks_at_chunk_borders(new: NewResampler, from_hz: int, to_hz: int) -> None:
    samples = sine(1_000, from_hz, amplitude=10_000)

    output = resampled(new(), cut(samples, [1, 7, 160, 163, 480, 501] * 20))

    # A click is a few samples off the sine: 10 of 10,000 is -60 dB.
    rest = middle(output) - fitted(middle(output), 1_000, to_hz)
    assert np.abs(rest).max() <= 10


# Frequency response


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
def test_pass_band_is_flat_to_3400_hz(new: NewResampler, from_hz: int, to_hz: int) -> None:
    gains_db = {hz: gain_db(new(), hz, from_hz, to_hz) for hz in [20, *range(100, PASS_BAND_HZ + 1, 50)]}

    assert max(gains_db) == PASS_BAND_HZ == 3_400
    assert {hz: gain for hz, gain in gains_db.items() if abs(gain) > 0.12} == {}


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
@pytest.mark.parametrize(("hz", "stated_db"), [(3_500, -1.4), (3_650, -6.5), (3_800, -17.7)])
def test_transition_band_falls_as_stated(
    new: NewResampler, from_hz: int, to_hz: int, hz: int, stated_db: float
) -> None:
    assert gain_db(new(), hz, from_hz, to_hz) == pytest.approx(stated_db, abs=0.1)


def test_downsampler_rejects_what_would_alias() -> None:
    stop_band_hz = range(STOP_BAND_HZ, MODEL_HZ // 2, 50)

    # Whatever comes out was folded, so all of it counts.
    aliases_db = {
        hz: level_db(resampled(PolyphaseDownsampler(), [sine(hz, MODEL_HZ, amplitude=30_000)]), 30_000)
        for hz in stop_band_hz
    }

    assert STOP_BAND_HZ == PHONE_HZ // 2
    assert {hz: alias for hz, alias in aliases_db.items() if alias > -63} == {}


def test_upsampler_rejects_images() -> None:
    images_db = {}
    for hz in range(50, PHONE_HZ // 2, 50):
        output = middle(resampled(PolyphaseUpsampler(), [sine(hz, PHONE_HZ, amplitude=30_000)]))
        images_db[hz] = level_db(output - fitted(output, hz, MODEL_HZ), 30_000)

    assert {hz: image for hz, image in images_db.items() if image > -60} == {}


# Delay


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
def test_an_impulse_comes_out_at_its_own_time_and_the_stated_delay_later(
    new: NewResampler, from_hz: int, to_hz: int
) -> None:
    resampler = new()
    impulse_at = 300
    samples = np.zeros(900, np.int16)
    samples[impulse_at] = 30_000

    output: list[int] = []
    fed_when_returned: list[int] = []
    for fed, sample in enumerate(cut(samples, [1] * samples.size)):
        returned = resampler.process(sample)
        output.extend(returned)
        fed_when_returned.extend([fed] * returned.size)

    peak_at = int(np.argmax(output))
    assert peak_at == impulse_at * to_hz // from_hz
    delay_ms = 1000 * (fed_when_returned[peak_at] - impulse_at) / from_hz
    assert delay_ms == pytest.approx(resampler.delay_ms)
    assert resampler.delay_ms <= DELAY_MS <= 5


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
def test_delay_is_the_same_at_every_frequency(new: NewResampler, from_hz: int, to_hz: int) -> None:
    samples = np.zeros(900, np.int16)
    samples[300] = 30_000

    response = resampled(new(), [samples])

    # A symmetric impulse response is a linear phase.
    peak_at = 300 * to_hz // from_hz
    np.testing.assert_array_equal(response[peak_at - 60 : peak_at], response[peak_at + 60 : peak_at : -1])


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_never_holds_back_more_than_stated(new: NewResampler, from_hz: int, to_hz: int) -> None:
    resampler = new()
    frame = from_hz // 50
    sizes = [frame, frame - 1, frame - 2, 1] * 30

    fed, returned = 0, 0
    for chunk in cut(noise(sum(sizes), seed=6), sizes):
        fed += chunk.size
        returned += resampler.process(chunk).size
        assert 1000 * (fed / from_hz - returned / to_hz) <= resampler.delay_ms + 1e-9


@pytest.mark.parametrize(("quality", "least_ms"), [("LQ", 30), ("MQ", 50), ("HQ", 50), ("VHQ", 120)])
def test_soxr_streams_that_filter_are_too_slow_for_the_live_path(quality: SoxrQuality, least_ms: int) -> None:
    for from_hz, to_hz in [(PHONE_HZ, MODEL_HZ), (MODEL_HZ, PHONE_HZ)]:
        assert SoxrResampler(from_hz, to_hz, quality).delay_ms > least_ms


# Against soxr


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), POLYPHASE)
def test_agrees_with_soxr_hq_on_speech(new: NewResampler, from_hz: int, to_hz: int) -> None:
    samples = speechlike(from_hz)

    ours = in_pass_band(resampled(new(), cut(samples, [from_hz // 50] * 200)), to_hz)
    theirs = in_pass_band(resampled(SoxrResampler(from_hz, to_hz, "HQ"), [samples]), to_hz)

    # Both outputs stand at the input's time, so there is nothing to align. soxr HQ is flat; our ±0.12 dB
    # as an error everywhere would be 1.4 %, which is 37 dB; a ripple is less. μ-law itself leaves about 38 dB.
    difference = ours - theirs
    assert 10 * np.log10(np.sum(theirs**2) / np.sum(difference**2)) >= 38


# Full scale


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_overshoot_saturates_and_never_wraps(new: NewResampler, from_hz: int, to_hz: int) -> None:
    half_ms = 10
    half = from_hz * half_ms // 1000
    square = np.tile(np.repeat(np.array([32_767, -32_768], np.int16), half), 20)

    output = resampled(new(), [square])

    assert output.max() == 32_767
    assert output.min() == -32_768
    # A quarter of a millisecond from an edge the filter has crossed zero and rings by less than a quarter.
    half_out, edge = to_hz * half_ms // 1000, to_hz // 4000
    flats = output.reshape(-1, half_out)[1:-1, edge : -edge or None]
    assert flats[1::2].min() > 25_000
    assert flats[0::2].max() < -25_000


@pytest.mark.parametrize(("new", "from_hz", "to_hz"), EVERY_RESAMPLER)
def test_rounds_to_the_nearest_sample(new: NewResampler, from_hz: int, to_hz: int) -> None:
    # The filter passes 8 of 24 kHz at most: the peak is about 0.9 of the impulse going up, 0.3 going down.
    impulse, peak = (1, 0.91) if to_hz > from_hz else (2, 0.61)
    samples = np.zeros(900, np.int16)
    samples[300] = impulse

    output = resampled(new(), [samples])

    assert output[300 * to_hz // from_hz] == round(peak) == 1


# Choice


def test_factories_give_a_resampler_of_the_named_kind_and_direction() -> None:
    tenth_of_a_second = {PHONE_HZ: noise(800, seed=7), MODEL_HZ: noise(2_400, seed=7)}

    assert isinstance(upsampler("polyphase"), PolyphaseUpsampler)
    assert isinstance(downsampler("polyphase"), PolyphaseDownsampler)
    assert isinstance(upsampler("soxr"), SoxrResampler)
    assert isinstance(downsampler("soxr"), SoxrResampler)
    assert resampled(upsampler("soxr"), [tenth_of_a_second[PHONE_HZ]]).size == 2_400
    assert resampled(downsampler("soxr"), [tenth_of_a_second[MODEL_HZ]]).size == 800


# Signals and measurements


def resampled(resampler: Resampler, chunks: Iterable[Pcm16]) -> Pcm16:
    outputs = [resampler.process(chunk) for chunk in chunks]
    return np.concatenate([*outputs, resampler.flush()])


def cut(samples: Pcm16, sizes: Iterable[int]) -> Iterator[Pcm16]:
    """Yield chunks of the given sizes, then what is left."""
    at = 0
    for size in sizes:
        yield samples[at : at + size]
        at += size
    yield samples[at:]


def noise(count: int, seed: int) -> Pcm16:
    return np.random.default_rng(seed).integers(-32_768, 32_768, count).astype(np.int16)


def sine(hz: float, rate_hz: int, amplitude: float) -> Pcm16:
    """Return 400 ms; the phase keeps a sine at half the rate from vanishing."""
    seconds = np.arange(rate_hz * 2 // 5) / rate_hz
    return np.rint(amplitude * np.sin(2 * np.pi * hz * seconds + 0.7)).astype(np.int16)


def middle(output: Pcm16) -> NDArray[np.float64]:
    """Return the output without its first and last eighth, where the sine starts and stops."""
    return output[output.size // 8 : -output.size // 8].astype(np.float64)


def fitted(output: NDArray[np.float64], hz: float, rate_hz: int) -> NDArray[np.float64]:
    """Return the sine of this frequency that is nearest to the output."""
    angle = 2 * np.pi * hz * np.arange(output.size) / rate_hz
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit: NDArray[np.float64] = basis @ np.linalg.lstsq(basis, output)[0]
    return fit


def level_db(output: NDArray[np.floating] | Pcm16, sine_amplitude: float) -> float:
    """Return the RMS level of the output's middle against a sine of this amplitude."""
    level = output[output.size // 8 : -output.size // 8].astype(np.float64)
    # Not less than a single bit, so that what is rejected wholly has a level too.
    power = max(float(np.mean(level**2)), 1 / level.size)
    return float(10 * np.log10(2 * power / sine_amplitude**2))


def gain_db(resampler: Resampler, hz: float, from_hz: int, to_hz: int) -> float:
    output = middle(resampled(resampler, [sine(hz, from_hz, amplitude=20_000)]))
    return level_db(fitted(output, hz, to_hz), 20_000)


def speechlike(rate_hz: int) -> Pcm16:
    """Return 4 s: a gliding voice with three formants, and hissing noise to the top of the band, by turns."""
    seconds = np.arange(4 * rate_hz) / rate_hz
    pitch_hz = 130 + 30 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    formants_hz = np.array([600, 1_400, 2_600])
    voice = np.zeros(seconds.size)
    for harmonic in range(1, rate_hz // 2 // 160):
        loudness = np.sum(1 / (1 + ((130 * harmonic - formants_hz) / 120) ** 2)) + 0.02
        voice += loudness * np.sin(harmonic * phase)
    hiss = np.random.default_rng(8).standard_normal(seconds.size)
    syllable = np.sin(2 * np.pi * 2 * seconds)
    voiced, unvoiced = voice / np.abs(voice).max() * syllable.clip(0, 1), hiss * (-syllable).clip(0, 1)
    speech: Pcm16 = np.rint(20_000 * voiced + 2_000 * unvoiced).astype(np.int16)
    return speech


def in_pass_band(samples: Pcm16, rate_hz: int) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(samples.size, 1 / rate_hz) > PASS_BAND_HZ] = 0
    return np.fft.irfft(spectrum, samples.size)
