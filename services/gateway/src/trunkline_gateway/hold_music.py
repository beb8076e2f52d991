"""Pure: what callers in a queue hear where their profile names nothing else: a few quiet notes, as a WAV file."""

import io
import math
import sys
import wave
from array import array
from typing import Final

RATE_HZ: Final = 8_000
"""A telephone's."""

LENGTH_S: Final = 8.0
"""Twilio plays it whole before it asks whether a line is free."""

LEVEL: Final = 3_000
"""Of one note, of 32,767."""

_NOTE_S: Final = 2.5
_FADE_IN_S: Final = 0.02
_DECAY_PER_S: Final = 1.6
_NOTES: Final = (
    *((0.0, 261.63), (0.6, 329.63), (1.2, 392.00), (1.8, 523.25)),
    *((3.0, 220.00), (3.6, 329.63), (4.2, 440.00), (4.8, 392.00)),
)
"""When each begins, in s, and its frequency in Hz. The last has faded before the file ends, so it can begin again."""


def wav() -> bytes:
    """Return the file: PCM16, mono, 8 kHz; takes some 50 ms."""
    samples = [0.0] * int(LENGTH_S * RATE_HZ)
    for begins_s, frequency_hz in _NOTES:
        first = int(begins_s * RATE_HZ)
        for n, sample in enumerate(_note(frequency_hz)):
            samples[first + n] += sample
    pcm = array("h", (round(sample) for sample in samples))
    if sys.byteorder == "big":
        pcm.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE_HZ)
        writer.writeframes(pcm.tobytes())
    return file.getvalue()


def _note(frequency_hz: float) -> list[float]:
    step = 2 * math.pi * frequency_hz / RATE_HZ
    length = int(_NOTE_S * RATE_HZ)
    return [LEVEL * _envelope(n / RATE_HZ) * math.sin(step * n) for n in range(length)]


def _envelope(t_s: float) -> float:
    """A soft attack, a decay, and nothing at the end of the note."""
    return min(t_s / _FADE_IN_S, 1.0) * math.exp(-_DECAY_PER_S * t_s) * (1 - t_s / _NOTE_S)
