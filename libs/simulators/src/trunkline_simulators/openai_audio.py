"""The three audio formats of the Realtime API, and the buffer of the caller's audio.

`audio/pcm` is PCM16 little-endian mono at 24 kHz, `audio/pcmu` and `audio/pcma` are G.711 at 8 kHz
(OpenAI: Realtime API reference, RealtimeAudioFormats).
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline_simulators import g711
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_rejection import Rejection

APPEND_BYTES_MAX = 15 * 1024 * 1024  # OpenAI's own limit of one append
COMMIT_MS_MIN = 100  # "Expected at least 100ms of audio"

# The caller's audio that may wait to be committed. A turn of five minutes is a forgotten line;
# older audio is dropped and counted.
UNCOMMITTED_MS_MAX = 300_000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How samples become bytes, in both directions."""

    rate_hz: int
    sample_bytes: int
    decode: Callable[[bytes], NDArray[np.int16]]
    encode: Callable[[NDArray[np.int16]], bytes]

    def duration_ms(self, size_bytes: int) -> float:
        """Return how long this many bytes sound."""
        return size_bytes * 1000 / (self.rate_hz * self.sample_bytes)


def decode_base64(audio: str, param: str) -> bytes:
    """Return the bytes of an audio field; `Rejection` when it is not base64 or too long."""
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise Rejection(f"Invalid '{param}'. Expected base64-encoded audio bytes.", param=param) from None
    if len(data) > APPEND_BYTES_MAX:
        raise Rejection(
            f"Invalid '{param}': audio too long. Expected at most {APPEND_BYTES_MAX} bytes.", param=param
        )
    return data


class InputBuffer:
    """The caller's audio since the last commit; positions are milliseconds since the session began."""

    def __init__(self, format_name: AudioFormatName) -> None:
        self.format = FORMATS[format_name]
        self.dropped_ms = 0.0
        self._chunks: deque[NDArray[np.int16]] = deque()
        self._held_samples = 0
        self._half_sample = b""
        self._before_format_ms = 0.0  # appended in earlier formats
        self._samples = 0  # appended in this format

    @property
    def end_ms(self) -> float:
        """How much audio was ever appended."""
        return self._before_format_ms + self._samples * 1000 / self.format.rate_hz

    @property
    def held_ms(self) -> float:
        """How much of it is not committed, cleared or dropped."""
        return self._held_samples * 1000 / self.format.rate_hz

    def set_format(self, format_name: AudioFormatName) -> None:
        """Expect another format from now on; audio of the old one that is not committed is dropped."""
        if FORMATS[format_name] is not self.format:
            self._before_format_ms = self.end_ms
            self._samples = 0
            self.clear()
            self.format = FORMATS[format_name]

    def append(self, data: bytes) -> NDArray[np.int16]:
        """Take more audio, in pieces of any size, and return its samples."""
        data = self._half_sample + data
        whole = len(data) - len(data) % self.format.sample_bytes
        self._half_sample = data[whole:]
        sound = self.format.decode(data[:whole])
        self._chunks.append(sound)
        self._samples += len(sound)
        self._held_samples += len(sound)
        self.keep_last_ms(UNCOMMITTED_MS_MAX)
        return sound

    def keep_last_ms(self, duration_ms: float) -> None:
        """Drop whole pieces that are older than this."""
        limit = int(duration_ms * self.format.rate_hz / 1000)
        while self._chunks and self._held_samples - len(self._chunks[0]) >= limit:
            self._held_samples -= len(self._chunks[0])
            self.dropped_ms += len(self._chunks.popleft()) * 1000 / self.format.rate_hz

    def since(self, start_ms: float) -> NDArray[np.int16]:
        """Return the held audio from a position on, at the format's rate."""
        held = np.concatenate((*self._chunks, np.zeros(0, np.int16)))
        skipped = round((start_ms - (self.end_ms - self.held_ms)) * self.format.rate_hz / 1000)
        return held[max(0, skipped) :]

    def commit(self, start_ms: float, *, check_length: bool) -> NDArray[np.int16]:
        """Return the audio from `start_ms` on and forget everything held.

        `Rejection` when `check_length` and less than 100 ms is held.
        """
        if check_length and self.held_ms < COMMIT_MS_MIN:
            raise Rejection(
                "Error committing input audio buffer: buffer too small. Expected at least"
                f" {COMMIT_MS_MIN}ms of audio, but buffer only has {self.held_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        sound = self.since(start_ms)
        self.clear()
        return sound

    def clear(self) -> None:
        """Forget everything held."""
        self._chunks.clear()
        self._held_samples = 0
        self._half_sample = b""


def _decode_pcm(data: bytes) -> NDArray[np.int16]:
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def _encode_pcm(sound: NDArray[np.int16]) -> bytes:
    return sound.astype("<i2", copy=False).tobytes()


def _alaw_decoding_table() -> NDArray[np.int16]:
    # ITU-T G.711, table 1a: even bits are inverted; a set sign bit means a positive value.
    code = np.arange(256) ^ 0x55
    segment, step = (code >> 4) & 7, code & 15
    magnitude = (step << 4) + 8 + np.where(segment > 0, 0x100, 0)
    magnitude = magnitude << np.maximum(segment - 1, 0)
    value: NDArray[np.int16] = np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
    return value


def _decode_alaw(data: bytes) -> NDArray[np.int16]:
    return _ALAW_DECODED[np.frombuffer(data, np.uint8)]


def _encode_alaw(sound: NDArray[np.int16]) -> bytes:
    # The code whose value is nearest: the boundaries lie half-way between neighbouring values.
    return _ALAW_BY_VALUE[np.searchsorted(_ALAW_BOUNDARIES, sound)].tobytes()


_ALAW_DECODED = _alaw_decoding_table()
_ALAW_BY_VALUE = np.argsort(_ALAW_DECODED).astype(np.uint8)
_ALAW_BOUNDARIES = np.convolve(np.sort(_ALAW_DECODED).astype(np.float64), (0.5, 0.5), "valid")

FORMATS: dict[AudioFormatName, AudioFormat] = {
    "audio/pcm": AudioFormat(24_000, 2, _decode_pcm, _encode_pcm),
    "audio/pcmu": AudioFormat(8_000, 1, g711.decode, g711.encode),
    "audio/pcma": AudioFormat(8_000, 1, _decode_alaw, _encode_alaw),
}
