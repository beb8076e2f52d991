"""The caller's audio in one simulated session, and the turn that is under way in it. Pure.

Rules:
- A position is milliseconds of audio appended since the session began, with turn detection or
  without, in whatever formats; no setting moves it.
- A turn under way ends without a trace when turn detection is switched off or the buffer cleared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline_simulators.openai_audio import InputBuffer
from trunkline_simulators.openai_configuration import AudioFormatName, TurnDetection
from trunkline_simulators.openai_vad import Vad, VadEvent

# Audio is judged in slices, so that a turn that ends inside a long append ends there.
SLICE_MS = 100

OVERHEAR_FIRST_MS = 1_000  # of speech, before a word of it can be recognised
OVERHEAR_EVERY_MS = 400


@dataclass(frozen=True, slots=True)
class Committed:
    """The audio of a finished turn, and where in the session's input it lies."""

    sound: NDArray[np.int16]
    from_ms: float
    to_ms: float


class CallerTurns:
    """Takes what the client appends, says when somebody begins and stops to speak, and gives turns out."""

    def __init__(self, format_name: AudioFormatName) -> None:
        self.turn_id: str | None = None  # of the turn under way
        self.start_ms = 0.0  # where it began
        self._buffer = InputBuffer(format_name)
        self._vad = Vad(self._buffer.format.rate_hz)
        self._overhear_at_ms = 0.0
        self._overhearing = False

    @property
    def end_ms(self) -> float:
        """How much audio was ever appended."""
        return self._buffer.end_ms

    @property
    def rate_hz(self) -> int:
        """Samples a second of the input format."""
        return self._buffer.format.rate_hz

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks."""
        return self._vad.speaking

    def configure(self, format_name: AudioFormatName, settings: TurnDetection | None) -> None:
        """Follow a change of the session's settings."""
        self._buffer.set_format(format_name)
        self._vad.set_rate(self._buffer.format.rate_hz)
        if settings is None:
            self._vad.reset()
            self.turn_id = None

    def take(
        self, data: bytes, settings: TurnDetection | None
    ) -> Iterator[tuple[NDArray[np.int16], list[VadEvent]]]:
        """Append encoded audio; yield it slice by slice, each with the starts and ends of speech in it."""
        details = self._buffer.format
        slice_bytes = details.rate_hz * details.sample_bytes * SLICE_MS // 1000
        for start in range(0, len(data), slice_bytes):
            sound = self._buffer.append(data[start : start + slice_bytes])
            yield sound, self._vad.feed(sound, settings)
            if settings is not None and not self._vad.speaking:
                kept_ms = max(settings.prefix_padding_ms, settings.idle_timeout_ms or 0) + 1_000
                self._buffer.keep_last_ms(kept_ms)

    def begin(self, turn_id: str, start_ms: float, settings: TurnDetection) -> None:
        """Take note that a turn is under way."""
        self.turn_id = turn_id
        self.start_ms = start_ms
        self._overhear_at_ms = start_ms + settings.prefix_padding_ms + OVERHEAR_FIRST_MS
        self._overhearing = False

    def overhear(self) -> NDArray[np.int16] | None:
        """Return the turn under way so far, if it is time to listen to it again."""
        if self.turn_id is None or self._overhearing or self.end_ms < self._overhear_at_ms:
            return None
        self._overhear_at_ms = self.end_ms + OVERHEAR_EVERY_MS
        self._overhearing = True
        return self._buffer.since(self.start_ms)

    def overheard(self) -> None:
        """Take note that what `overhear` returned has been listened to."""
        self._overhearing = False

    def commit(self, start_ms: float | None = None) -> Committed:
        """Return the audio since `start_ms` and forget it; without, all of it, or `Rejection` if that is too short."""
        held_from_ms = self.end_ms - self._buffer.held_ms
        from_ms = held_from_ms if start_ms is None else max(start_ms, held_from_ms)
        sound = self._buffer.commit(from_ms, check_length=start_ms is None)
        self.turn_id = None
        if start_ms is None:
            self._vad.reset()
        return Committed(sound, from_ms, self.end_ms)

    def encoded(self, sound: NDArray[np.int16]) -> bytes:
        """Return sound in the session's input format."""
        return self._buffer.format.encode(sound)

    def clear(self) -> None:
        """Forget the audio that is not committed, and the turn under way."""
        self._buffer.clear()
        self._vad.reset()
        self.turn_id = None
