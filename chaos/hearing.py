"""Pure: which of the agent's recorded lines a caller heard, when, and which part of each.

Every recording is looked for piece by piece (correlation of 200 ms), then compared frame by frame where pieces agree on
when it began. So a line that stops for a while, begins anew or plays twice is seen as such, to 20 ms, and a comfort
sound or two lines chopped into each other are nobody's line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from trunkline_simulators import recordings

RATE_HZ: Final = 8_000
FRAME_MS: Final = 20
LOUD_RMS: Final = 200
"""Of 32768: above a line's noise, below every syllable of the recordings."""

LINES: Final = ("agent-greeting", *(f"agent-digits-{number}" for number in range(1, 5)), "agent-sorry")
"""What the agent may say to callers who read out digits."""

_COARSE_HZ: Final = 4_000
"""Most of a voice lies below 2 kHz, and half the samples are a third of the work."""
_CHUNK: Final = _COARSE_HZ // 5
_ALIKE_MIN: Final = 0.75
"""Correlation of a piece with its recording: 0.9 and more after transcoding, below 0.6 for any other words."""
_AGREE_MS: Final = 4
"""Pieces of one playing begin at the same time, to within the resampler's rounding."""
_FRAME_ALIKE_MIN: Final = 0.7
_WINDOW_FRAMES: Final = 3
"""A frame is compared together with its neighbours: 20 ms alone are much like other 20 ms."""
_STRAY_FRAMES: Final = 4
"""So many frames in a row may be distorted, where resampling or a lost packet blurs them."""
_STRETCH_FRAMES_MIN: Final = 6
"""Less is a sound that lines share."""
_SILENT_FRAMES: Final = 25
_MARGIN: Final = RATE_HZ // 5

Sound = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one recording, as it was heard without a break."""

    line: str
    from_ms: int
    to_ms: int
    """In the call."""
    starts_at_ms: int
    """Where in the recording it starts."""

    @property
    def ends_at_ms(self) -> int:
        """Where in the recording it ends."""
        return self.starts_at_ms + self.to_ms - self.from_ms


def pieces(heard: Sound) -> list[Piece]:
    """Return what was heard of the agent's lines in mono PCM16 at 8 kHz, in the order of time."""
    found: list[Piece] = []
    for first, last in _stretches(heard):
        coarse = _coarse(heard[first:last])
        spectrum, energy = _spectrum(coarse), _energy(coarse)
        for line in LINES:
            for began in _beginnings(line, coarse, spectrum, energy):
                found += _compare(line, heard, first + began * RATE_HZ // _COARSE_HZ)
    return sorted(_without_doubles(found), key=lambda piece: piece.from_ms)


def loud_ms(line: str) -> tuple[int, int]:
    """Return where in its recording a line's first word begins and its last one ends."""
    loud = np.flatnonzero(_loud(recordings.samples(line, RATE_HZ)))
    return int(loud[0]) * FRAME_MS, (int(loud[-1]) + 1) * FRAME_MS


def _stretches(heard: Sound) -> Iterator[tuple[int, int]]:
    """Yield where, in samples, there is sound with less than half a second of silence in it, and a margin around."""
    step = RATE_HZ * FRAME_MS // 1000
    loud = np.flatnonzero(_loud(heard))
    for run in np.split(loud, np.flatnonzero(np.diff(loud) > _SILENT_FRAMES) + 1):
        if len(run):
            yield max(int(run[0]) * step - _MARGIN, 0), int(run[-1] + 1) * step + _MARGIN


def _coarse(sound: Sound) -> NDArray[np.float32]:
    resampled: NDArray[np.float32] = soxr.resample(sound.astype(np.float32), RATE_HZ, _COARSE_HZ)
    return resampled


def _spectrum(sound: NDArray[np.float32]) -> NDArray[np.complex128]:
    size = 1 << int(len(sound) + _CHUNK).bit_length()
    return np.fft.rfft(sound, size)


def _energy(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the norm of the chunk that begins at each sample."""
    squares = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    sums = squares[_CHUNK:] - squares[:-_CHUNK]
    norms: NDArray[np.float64] = np.sqrt(np.maximum(sums, 1.0))
    return norms


@cache
def _chunks(line: str) -> tuple[tuple[int, NDArray[np.float32]], ...]:
    sound = _coarse(recordings.samples(line, RATE_HZ))
    cut = ((at, sound[at : at + _CHUNK]) for at in range(0, len(sound) - _CHUNK, _CHUNK // 2))
    return tuple((at, chunk) for at, chunk in cut if np.sqrt((chunk**2).mean()) > LOUD_RMS)


def _beginnings(
    line: str,
    coarse: NDArray[np.float32],
    spectrum: NDArray[np.complex128],
    energy: NDArray[np.float64],
) -> Iterator[int]:
    """Yield each time, in coarse samples, at which the recording would have begun; may be negative."""
    if len(coarse) <= _CHUNK:
        return
    size = 2 * (len(spectrum) - 1)
    begins: list[int] = []
    for at, chunk in _chunks(line):
        product = np.fft.irfft(spectrum * np.conj(np.fft.rfft(chunk, size)), size)[: len(energy)]
        alike = product / (energy * np.linalg.norm(chunk))
        begins += [int(peak) - at for peak in _peaks(alike)]
    agree = _AGREE_MS * _COARSE_HZ // 1000
    begins.sort()
    group: list[int] = []
    for begin in begins:
        if group and begin - group[-1] > agree:
            if len(group) > 1:
                yield group[len(group) // 2]
            group = []
        group.append(begin)
    if len(group) > 1:
        yield group[len(group) // 2]


def _peaks(alike: NDArray[np.float64]) -> Iterator[int]:
    above = np.flatnonzero(alike > _ALIKE_MIN)
    for run in np.split(above, np.flatnonzero(np.diff(above) > _CHUNK // 4) + 1):
        if len(run):
            yield int(run[np.argmax(alike[run])])


def _compare(line: str, heard: Sound, near: int) -> list[Piece]:
    """Return the stretches that are the recording's own, were it to begin near this sample."""
    recorded = recordings.samples(line, RATE_HZ).astype(np.float64)
    shifts = range(near - 4, near + 5)
    aligned = [(_alike_by_frame(recorded, heard, shift), shift) for shift in shifts]
    alike, began = max(aligned, key=lambda each: float(each[0].sum()))
    began_ms = round(began * 1000 / RATE_HZ)
    return [
        Piece(line, began_ms + first, began_ms + last, first)
        for first, last in _unbroken(alike > _FRAME_ALIKE_MIN, _loud(recorded))
    ]


def _unbroken(alike: NDArray[np.bool_], spoken: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where, in ms of the recording, its spoken frames were heard; its own pauses do not break a stretch."""
    words = np.flatnonzero(spoken)
    right = np.flatnonzero(alike[words])
    for run in np.split(right, np.flatnonzero(np.diff(right) > _STRAY_FRAMES) + 1):
        if len(run) >= _STRETCH_FRAMES_MIN:
            yield int(words[run[0]]) * FRAME_MS, (int(words[run[-1]]) + 1) * FRAME_MS


def _alike_by_frame(recorded: NDArray[np.float64], heard: Sound, began: int) -> NDArray[np.float64]:
    """Return the correlation of each loud frame, with its neighbours, of the recording; 0 for the others."""
    step = RATE_HZ * FRAME_MS // 1000
    frames = len(recorded) // step
    there = np.zeros(frames * step)
    first, last = max(began, 0), min(began + frames * step, len(heard))
    if last > first:
        there[first - began : last - began] = heard[first:last]
    ours, theirs = recorded[: frames * step].reshape(-1, step), there.reshape(-1, step)
    kernel = np.ones(_WINDOW_FRAMES)
    dots, own, other = (
        np.convolve((a * b).sum(axis=1), kernel, "same")
        for a, b in ((ours, theirs), (ours, ours), (theirs, theirs))
    )
    alike = dots / np.sqrt(np.maximum(own * other, 1.0))
    both_loud = _loud(recorded) & _loud(there)
    return np.where(both_loud, alike, 0.0)


def _loud(sound: Sound | NDArray[np.float64]) -> NDArray[np.bool_]:
    step = RATE_HZ * FRAME_MS // 1000
    frames = sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64)
    loud: NDArray[np.bool_] = np.sqrt((frames**2).mean(axis=1)) > LOUD_RMS
    return loud


def _without_doubles(found: Sequence[Piece]) -> list[Piece]:
    """Drop what lies inside a longer piece: two beginnings of one playing, or words that two lines share."""
    kept: list[Piece] = []
    for piece in sorted(found, key=lambda each: each.from_ms - each.to_ms):
        inside = any(
            piece.from_ms >= other.from_ms - FRAME_MS and piece.to_ms <= other.to_ms + FRAME_MS
            for other in kept
        )
        if not inside:
            kept.append(piece)
    return kept
