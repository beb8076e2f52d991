"""Voice activity detection as OpenAI's server VAD shows it from outside, by energy instead of a model.

Rules, from recorded sessions:
- Time is milliseconds of audio appended since the session began; it never follows a clock.
- Decisions fall on 32 ms windows, so `audio_end_ms`, and `audio_start_ms` plus the padding, are
  multiples of 32.
- `audio_start_ms` includes the prefix padding, `audio_end_ms` includes the silence.
- Without audio nothing happens: a caller whose line stops mid-word never ends the turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trunkline_simulators.openai_configuration import TurnDetection

WINDOW_MS = 32
SPEECH_WINDOWS_MIN = 2  # one loud window is a click; a spoken vowel lasts longer

# Loudness is mapped to 0…1 so that the default threshold 0.5 lies at −40 dBFS, between a quiet
# line and a quiet voice, and 0.9 at −28 dBFS, where short words get lost.
_MIDDLE_DBFS = -40.0
_SLOPE_DB = 5.5

# A running word may dip below what was needed to start it.
_RELEASE = 0.15


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak; `audio_start_ms` is before that by the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller fell silent; `audio_end_ms` is after that by the silence that proved it."""

    audio_end_ms: int


VadEvent: TypeAlias = SpeechStarted | SpeechStopped


class Vad:
    """Finds turns in the audio of one session; pure, fed with whatever arrives."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._rest: NDArray[np.int16] = np.zeros(0, np.int16)  # less than one window
        self._windows = 0
        self._loud_windows = 0
        self._quiet_ms = 0
        self.speaking = False

    def set_rate(self, rate_hz: int) -> None:
        """Follow a change of the input format; less than a window of audio is forgotten."""
        if rate_hz != self._rate_hz:
            self._rate_hz = rate_hz
            self._rest = np.zeros(0, np.int16)

    def reset(self) -> None:
        """Forget a turn under way, as clearing or committing the buffer does."""
        self.speaking = False
        self._loud_windows = 0
        self._quiet_ms = 0

    def feed(self, sound: NDArray[np.int16], settings: TurnDetection | None) -> list[VadEvent]:
        """Return the starts and ends of speech in mono PCM16 `sound`; none when `settings` is None."""
        samples = np.concatenate((self._rest, sound)) if len(self._rest) else sound
        window_samples = self._rate_hz * WINDOW_MS // 1000
        whole = len(samples) // window_samples
        self._rest = samples[whole * window_samples :]
        events: list[VadEvent] = []
        if settings is None:
            self._windows += whole
            self.reset()
            return []
        for score in speech_scores(samples[: whole * window_samples].reshape(whole, window_samples)):
            self._windows += 1
            event = self._judge(score, settings)
            if event is not None:
                events.append(event)
        return events

    def _judge(self, score: float, settings: TurnDetection) -> VadEvent | None:
        end_ms = self._windows * WINDOW_MS
        if not self.speaking:
            self._loud_windows = self._loud_windows + 1 if score >= settings.threshold else 0
            if self._loud_windows < SPEECH_WINDOWS_MIN:
                return None
            self.speaking = True
            self._quiet_ms = 0
            start_ms = end_ms - self._loud_windows * WINDOW_MS
            return SpeechStarted(max(0, start_ms - settings.prefix_padding_ms))
        loud = score >= settings.threshold - _RELEASE
        self._quiet_ms = 0 if loud else self._quiet_ms + WINDOW_MS
        if self._quiet_ms < max(settings.silence_duration_ms, WINDOW_MS):
            return None
        self.reset()
        return SpeechStopped(end_ms)


def speech_scores(windows: NDArray[np.int16]) -> list[float]:
    """Return how likely each window holds speech, 0…1, by its loudness without any constant offset."""
    rms = np.std(windows.astype(np.float32), axis=1)
    loudness_dbfs = 20 * np.log10(np.maximum(rms, 1) / 32_768)
    scores: list[float] = (1 / (1 + np.exp((_MIDDLE_DBFS - loudness_dbfs) / _SLOPE_DB))).tolist()
    return scores
