"""Streaming resamplers between the telephone's 8 kHz and the model's 24 kHz.

The live path uses a short polyphase filter that holds 2.25 ms back. soxr's filtering streams hold 40–153 ms
back: they serve where delay is free, and as the reference. Rules that every `Resampler` keeps:

- Output sample k belongs to the input's time k / (output rate). What still needs later input is held back
  (`delay_ms`) and comes out of `flush`: N samples in give 3 N, or N / 3 rounded up (soxr: to the nearest),
  samples out in all.
- Cutting the input into chunks, of any size, changes no bit of the output.
- Output is rounded to the nearest integer, a tie to the even one, and saturates at the ends of int16.

Both polyphase directions share one linear-phase filter of 107 taps at 24 kHz:

- 0–3,400 Hz: within ±0.12 dB.
- 3,400–4,000 Hz: falls, −1.4 dB at 3,500, −6.5 dB at 3,650, −18 dB at 3,800, to −63 dB. A telephone line carries
  nothing here that speech needs, and nothing of it folds to another frequency.
- 4,000 Hz and up: at least 63 dB down. Here lies all that 24 → 8 kHz would fold into 0–4,000 Hz, and all that
  8 → 24 kHz would mirror out of it; the two images of one tone together stay 60 dB down.
"""

from functools import cache
from typing import Literal, Protocol

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

PHONE_HZ = 8_000
MODEL_HZ = 24_000

PASS_BAND_HZ = 3_400
STOP_BAND_HZ = 4_000
DELAY_MS = 2.25
"""The most that a polyphase resampler, of either direction, holds back."""

ResamplerKind = Literal["polyphase", "soxr"]
SoxrQuality = Literal["QQ", "LQ", "MQ", "HQ", "VHQ"]

# Taps on each side of the middle one: the delay is 53 / 24 kHz = 2.21 ms. With 47 (1.96 ms) the same
# rejection would cost a ripple of ±0.28 dB, with 59 (2.46 ms) ±0.05 dB.
_TAPS_ASIDE = 53
# An error in the pass band counts this much of one in the stop band: ±0.12 dB against −63 dB.
_PASS_BAND_WEIGHT = 0.05
_DESIGN_ROUNDS = 8
# Taps are multiples of this. Samples are integers, so every product and every sum, in any order, is exact in
# float64 (below 2^15 · 2^24 · 6.3 < 2^53). That is why chunk borders and BLAS kernels change no bit.
_TAP_UNIT = 2.0**-24
# One matrix product filters at most this many blocks. Larger ones cross the size (2^18 multiplications) at
# which OpenBLAS wakes other threads, which costs a busy worker more than it saves.
_BLOCKS_MAX = 33


class Resampler(Protocol):
    """Changes the rate of one mono PCM16 stream, chunk by chunk."""

    @property
    def delay_ms(self) -> float:
        """The most input that is held back, waiting for later input, when `process` returns."""

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take the next samples, any number of them, and return the output now known, perhaps none."""

    def flush(self) -> NDArray[np.int16]:
        """End the stream: return the tail that was held back, and be as new."""

    def reset(self) -> None:
        """Drop the stream and what is held back of it, and be as new."""


def upsampler(kind: ResamplerKind) -> Resampler:
    """Return a new 8 → 24 kHz resampler."""
    return PolyphaseUpsampler() if kind == "polyphase" else SoxrResampler(PHONE_HZ, MODEL_HZ)


def downsampler(kind: ResamplerKind) -> Resampler:
    """Return a new 24 → 8 kHz resampler."""
    return PolyphaseDownsampler() if kind == "polyphase" else SoxrResampler(MODEL_HZ, PHONE_HZ)


class _PolyphaseResampler:
    # Works in blocks: a window of inputs (overlapping the next block's) times one matrix is a block of
    # outputs. A step is the least that moves both rates by whole samples: 1 of 8 kHz, 3 of 24 kHz.

    def __init__(self, from_hz: int, to_hz: int, block_steps: int) -> None:
        self._step_in = from_hz // PHONE_HZ
        self._step_out = to_hz // PHONE_HZ
        self._block_steps = block_steps
        # What the first output of a step needs before its own time, and the last one after the step began.
        in_spacing, out_spacing = MODEL_HZ // from_hz, MODEL_HZ // to_hz
        self._before = _TAPS_ASIDE // in_spacing
        self._after = (_TAPS_ASIDE + (self._step_out - 1) * out_spacing) // in_spacing
        self._step_window = self._before + 1 + self._after
        self.delay_ms = 1000 * self._after / from_hz

        self._matrix = _block_matrix(in_spacing, out_spacing, self._before, self._after, block_steps)
        block_in = block_steps * self._step_in
        self._piece_max = (_BLOCKS_MAX - 1) * block_in
        # The first `_held` of these are inputs that outputs to come still need.
        self._inputs = np.zeros(self._piece_max + block_in + self._step_window)
        self._windows = sliding_window_view(self._inputs, len(self._matrix))[::block_in]
        self._held = self._before

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take the next samples, any number of them, and return the output now known, perhaps none."""
        if samples.size <= self._piece_max:
            return self._process_piece(samples)
        starts = range(0, samples.size, self._piece_max)
        return np.concatenate([self._process_piece(samples[at : at + self._piece_max]) for at in starts])

    def flush(self) -> NDArray[np.int16]:
        """End the stream: return the tail that was held back, and be as new."""
        tail = self._process_piece(np.zeros(self._after, np.int16))
        self.reset()
        return tail

    def reset(self) -> None:
        """Drop the stream and what is held back of it, and be as new."""
        self._inputs[: self._before] = 0.0
        self._held = self._before

    def _process_piece(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        inputs = self._inputs
        end = self._held + samples.size
        inputs[self._held : end] = samples
        steps = max(0, (end - self._step_window) // self._step_in + 1)
        # Whole blocks are computed: the last one also reads old samples behind `end`, into outputs that are
        # cut off. `dot` copies the overlapping windows and uses BLAS in every numpy; `matmul` need not.
        blocks = -(-steps // self._block_steps)
        outputs = np.dot(self._windows[:blocks], self._matrix).reshape(-1)[: steps * self._step_out]
        used = steps * self._step_in
        self._held = end - used
        inputs[: self._held] = inputs[used:end]
        return _to_pcm16(outputs)


class PolyphaseUpsampler(_PolyphaseResampler):
    """8 → 24 kHz with 2.25 ms of delay, for the live path."""

    def __init__(self) -> None:
        # Fastest for the 20 ms frames that Twilio sends.
        super().__init__(PHONE_HZ, MODEL_HZ, block_steps=16)


class PolyphaseDownsampler(_PolyphaseResampler):
    """24 → 8 kHz with 2.21 ms of delay, for the live path."""

    def __init__(self) -> None:
        # Fastest for deltas of 250 ms.
        super().__init__(MODEL_HZ, PHONE_HZ, block_steps=32)


class SoxrResampler:
    """Any rate to any other by a stream of soxr; `delay_ms` holds for chunks of up to 20 ms."""

    def __init__(self, from_hz: int, to_hz: int, quality: SoxrQuality = "HQ") -> None:
        # soxr dithers int16 output with noise that chunk borders change; float32 it leaves alone.
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=quality)
        self.delay_ms = _soxr_delay_ms(from_hz, to_hz, quality)

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take the next samples, any number of them, and return the output now known, perhaps none."""
        return _to_pcm16(self._stream.resample_chunk(samples.astype(np.float32)))

    def flush(self) -> NDArray[np.int16]:
        """End the stream: return the tail that was held back, and be as new."""
        tail = _to_pcm16(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._stream.clear()
        return tail

    def reset(self) -> None:
        """Drop the stream and what is held back of it, and be as new."""
        self._stream.clear()


def _to_pcm16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    # Overwrites its argument.
    np.rint(samples, out=samples)
    np.minimum(samples, 32_767.0, out=samples)
    np.maximum(samples, -32_768.0, out=samples)
    return samples.astype(np.int16)


@cache
def _block_matrix(
    in_spacing: int, out_spacing: int, before: int, after: int, block_steps: int
) -> NDArray[np.float64]:
    # (inputs, outputs): the taps shifted along the block. Spacings and positions are in samples of 24 kHz.
    steps_at = np.arange(block_steps) * max(in_spacing, out_spacing)
    inputs_at = np.arange(-before * in_spacing, steps_at[-1] + after * in_spacing + 1, in_spacing)
    outputs_at = np.arange(0, block_steps * max(in_spacing, out_spacing), out_spacing)
    tap = outputs_at - inputs_at[:, None] + _TAPS_ASIDE
    # Upsampling reaches each output with every third tap only, so it needs three times the gain.
    taps = in_spacing * _TAPS
    matrix = np.where((tap >= 0) & (tap < taps.size), taps.take(tap, mode="clip"), 0.0)
    matrix.setflags(write=False)
    return matrix


def _design_taps() -> NDArray[np.float64]:
    # The nearest filter to the ideal one in the maximum norm (Lawson's method): weighted least squares over
    # both bands, where each round weighs a frequency by the error that the round before left there.
    order = np.arange(_TAPS_ASIDE + 1)
    grid_hz = np.linspace(0, MODEL_HZ / 2, 16 * order.size)
    grid_hz = np.concatenate(
        [grid_hz[grid_hz < PASS_BAND_HZ], [PASS_BAND_HZ, STOP_BAND_HZ], grid_hz[grid_hz > STOP_BAND_HZ]]
    )
    wanted = np.where(grid_hz <= PASS_BAND_HZ, 1.0, 0.0)
    importance = np.where(grid_hz <= PASS_BAND_HZ, _PASS_BAND_WEIGHT, 1.0)
    # The response of the middle tap, and of each pair of equal taps around it.
    cosines = np.cos(2 * np.pi / MODEL_HZ * np.outer(grid_hz, order)) * np.where(order, 2.0, 1.0)
    attention = np.ones(grid_hz.size)
    half = np.zeros(order.size)
    for _ in range(_DESIGN_ROUNDS):
        weighted = cosines.T * (attention * importance**2)
        half = np.linalg.solve(weighted @ cosines, weighted @ wanted)
        attention *= np.abs(cosines @ half - wanted) * importance
        # The floor lets a frequency come back that one round happened to hit exactly.
        attention = attention / attention.sum() + 1e-4 / attention.size
    taps = np.concatenate([half[:0:-1], half])
    return np.rint(taps / _TAP_UNIT) * _TAP_UNIT


@cache
def _soxr_delay_ms(from_hz: int, to_hz: int, quality: SoxrQuality) -> float:
    # soxr works in blocks and tells only its present delay, so a second of silence is sent through once.
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=quality)
    frame = np.zeros(from_hz // 50, np.float32)
    delay_s, returned = 0.0, 0
    for frames in range(1, 51):
        returned += stream.resample_chunk(frame).size
        delay_s = max(delay_s, frames / 50 - returned / to_hz)
    return 1000 * delay_s


_TAPS = _design_taps()
