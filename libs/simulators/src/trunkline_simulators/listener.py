"""What the simulated model heard: which of the caller's recordings the received audio is.

Sound becomes log-mel frames of the telephone band, and every recording is laid along them by
dynamic time warping, so that lost, repeated and late pieces of a call are tolerated. What is
too unlike every recording, or equally like two of them, was not understood: noise, silence, a
garbled line. Pure, and quick enough (a few milliseconds a turn) to run in any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import soxr
from numpy.typing import NDArray

from trunkline_simulators import recordings
from trunkline_simulators.recordings import Utterance

RATE_HZ = 8_000  # what a telephone carries, whatever the model was sent
HOP_MS = 20

# Measured on the recordings: μ-law, resampling, 5 % lost frames, noise at 20 dB or a cut beginning
# leave 0.95 or more; every second frame lost or each frame reversed at most 0.9; the wrong
# recording, wrong code or order of bytes at most 0.8.
SCORE_MIN = 0.92
SCORE_MIN_UNFINISHED = 0.85  # the start of a line has less to be measured by
LEAD_MIN = 0.05  # over the second most alike

HEARD_S_MAX = 20  # the longest recording is a quarter of this; the end of more audio is ignored

_WINDOW_SAMPLES = 256  # 32 ms
_HOP_SAMPLES = RATE_HZ * HOP_MS // 1000
_FFT = 256
_BANDS = 20
_BAND_HZ = (250.0, 3_400.0)
_FLOOR_DB = 30.0  # what is this far below the loudest frame counts as silence
_CUT_FRAMES = 15  # how much of a recording's beginning or end may be missing
_WARP_COST = 0.02  # prefers walking both sounds at the same speed
_FAR = np.float32(1e6)

Frames = NDArray[np.float32]  # one row for each hop

# Each recording is known twice, the second time half a hop later: sound that falls between the
# frames of one is close to those of the other.
_SHIFTS_SAMPLES = (0, _HOP_SAMPLES // 2)


@dataclass(frozen=True, slots=True)
class Heard:
    """The most alike recording, if it is alike enough, and how much of it has been said."""

    utterance: Utterance | None
    score: float  # 0…1
    said: float  # 0…1; less than 1 while the caller is still speaking


def listen(sound: NDArray[np.int16], rate_hz: int, *, finished: bool = True) -> Heard:
    """Recognise mono PCM16 `sound`; with `finished=False` it may be just the start of something."""
    frames = _features(_to_telephone(sound, rate_hz))
    if frames is None:
        return Heard(None, 0.0, 0.0)
    references = _references()
    scores, ends = _align(frames, references, finished=finished)
    best = int(np.argmax(scores))
    utterance = references.utterances[best // len(_SHIFTS_SAMPLES)]
    second, first = np.sort(scores.reshape(-1, len(_SHIFTS_SAMPLES)).max(axis=1))[-2:]
    score, lead = float(first), float(first - second)
    said = float(ends[best] / references.lengths[best])
    if score < (SCORE_MIN if finished else SCORE_MIN_UNFINISHED) or lead < LEAD_MIN:
        return Heard(None, max(score, 0.0), 0.0)
    return Heard(utterance, score, 1.0 if finished else min(said, 1.0))


def warm_up() -> None:
    """Load the recordings now, so that the first caller does not wait for it."""
    _references()


@dataclass(frozen=True, slots=True)
class _References:
    utterances: tuple[Utterance, ...]
    frames: Frames  # (utterance × shift) × frame × band, padded with zeros
    lengths: NDArray[np.int64]


@cache
def _references() -> _References:
    spoken = recordings.utterances("caller")
    known = []
    for each in spoken:
        sound = recordings.samples(each.id, RATE_HZ)
        for shift in _SHIFTS_SAMPLES:
            frames = _features(sound[shift:])
            assert frames is not None, f"{each.id} is silent"
            known.append(frames)
    lengths = np.array([len(frames) for frames in known])
    padded = np.zeros((len(known), lengths.max(), _BANDS), np.float32)
    for row, frames in zip(padded, known, strict=True):
        row[: len(frames)] = frames
    return _References(spoken, padded, lengths)


def _to_telephone(sound: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    sound = sound[: HEARD_S_MAX * rate_hz]
    if rate_hz == RATE_HZ:
        return sound
    resampled: NDArray[np.int16] = soxr.resample(sound, rate_hz, RATE_HZ, quality="MQ")
    return resampled


def _features(sound: NDArray[np.int16]) -> Frames | None:
    """Return normalised log-mel frames from the first to the last loud one; None for silence."""
    if len(sound) < _WINDOW_SAMPLES:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW_SAMPLES)[::_HOP_SAMPLES]
    spectrum = np.abs(np.fft.rfft(windows * _WINDOW, _FFT)) ** 2
    power = spectrum @ _MEL
    level_db = 10 * np.log10(power.sum(axis=1) + 1e-9)
    if level_db.max() < _SILENCE_DB:
        return None
    loud = np.flatnonzero(level_db > level_db.max() - _FLOOR_DB / 2)
    decibels = 10 * np.log10(power[loud[0] : loud[-1] + 1] + 1e-9)
    decibels = np.maximum(decibels, decibels.max() - _FLOOR_DB)
    decibels -= decibels.mean(axis=0)  # takes the line's own colour away
    norms = np.linalg.norm(decibels, axis=1, keepdims=True)
    frames: Frames = (decibels / np.maximum(norms, 1e-6)).astype(np.float32)
    return frames


def _align(frames: Frames, references: _References, *, finished: bool) -> tuple[Frames, NDArray[np.int64]]:
    """Return, for each recording, its likeness along the best alignment and the frame it reached.

    Each frame heard moves on by none, one or two frames of the recording, so that one row of the
    table depends on the row before only, and all recordings are computed at once.
    """
    distance = 1 - references.frames @ frames.T  # recording × its frame × heard frame
    position = np.arange(distance.shape[1])
    outside = position[None, :] >= references.lengths[:, None]
    distance[outside] = _FAR
    cost = np.where(position[None, :] <= _CUT_FRAMES, distance[:, :, 0], _FAR)
    for heard in range(1, len(frames)):
        standing = cost + _WARP_COST
        jumping = np.full_like(cost, _FAR)
        jumping[:, 2:] = cost[:, :-2] + _WARP_COST
        best = np.minimum(standing, jumping)
        np.minimum(best[:, 1:], cost[:, :-1], out=best[:, 1:])
        cost = best + distance[:, :, heard]
    if finished:
        cost[position[None, :] < references.lengths[:, None] - 1 - _CUT_FRAMES] = _FAR
    ends = cost.argmin(axis=1)
    scores: Frames = 1 - cost.min(axis=1) / len(frames)
    return scores, ends + 1


def _mel_filters() -> NDArray[np.float64]:
    def to_mel(hz: float | NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(2595 * np.log10(1 + np.asarray(hz) / 700))

    edges = np.linspace(to_mel(_BAND_HZ[0]), to_mel(_BAND_HZ[1]), _BANDS + 2)
    bins = to_mel(np.fft.rfftfreq(_FFT, 1 / RATE_HZ))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


_WINDOW = np.hanning(_WINDOW_SAMPLES)
_MEL = _mel_filters()
_SILENCE_DB = 10 * np.log10(_WINDOW_SAMPLES * _FFT) + 20 * np.log10(100)  # about −50 dBFS
