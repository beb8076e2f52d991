"""What `<Play>` lets the caller hear: sound files, and DTMF as two tones each."""

from __future__ import annotations

import io

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from trunkline_simulators import g711
from trunkline_simulators.twilio_conversations import RATE_HZ

TONE_MS = 100
GAP_MS = 100  # after each tone
LEVEL = 8_000  # of each of the two tones

_ROWS_HZ = (697, 770, 852, 941)
_COLUMNS_HZ = (1209, 1336, 1477)
_KEYPAD = ("123", "456", "789", "*0#")  # (ITU-T Q.23)
_PAUSES_MS = {"w": 500, "W": 1_000}


def telephone_sound(file: bytes) -> bytes:
    """Return a sound file as µ-law; raises `soundfile.LibsndfileError` when it is none."""
    sound, rate_hz = sf.read(io.BytesIO(file), dtype="float64", always_2d=True)
    mono = soxr.resample(sound.mean(axis=1), rate_hz, RATE_HZ)
    return g711.encode(np.clip(mono * 32768, -32768, 32767).astype(np.int16))


def dtmf(digits: str) -> bytes:
    """Return keys of a telephone as µ-law; `w` and `W` are silence."""
    return g711.encode(np.concatenate([_key(digit) for digit in digits]))


def _key(digit: str) -> NDArray[np.int16]:
    if digit in _PAUSES_MS:
        return _silence(_PAUSES_MS[digit])
    row = next(n for n, keys in enumerate(_KEYPAD) if digit in keys)
    t_s = np.arange(TONE_MS * RATE_HZ // 1000) / RATE_HZ
    low_hz, high_hz = _ROWS_HZ[row], _COLUMNS_HZ[_KEYPAD[row].index(digit)]
    tone = LEVEL * (np.sin(2 * np.pi * low_hz * t_s) + np.sin(2 * np.pi * high_hz * t_s))
    return np.concatenate([tone.astype(np.int16), _silence(GAP_MS)])


def _silence(length_ms: int) -> NDArray[np.int16]:
    return np.zeros(length_ms * RATE_HZ // 1000, np.int16)
