"""Pure: whether what the caller does while the agent speaks is speech, or only a cough.

Rules:

* Speech while the caller hears nothing is a turn at once: there is nothing to protect. The same holds for speech
  that lasts until the agent has ended.
* Speech over the agent's voice counts once it is `min_speech_ms` long. The model tells that speech ended only after
  the silence behind it, so its length is taken from the caller's audio itself: the loud part since it began.
* A noisy line is loud all the time, and then all that the model's VAD takes for speech counts.
* Should the VAD not have told of the end when it must have, had the speech been too short, then it was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from trunkline_worker import g711

BLOCK_BYTES: Final = 160
"""20 ms."""

TELL_MS: Final = 1_000
"""The model tells that speech ended this long after it was given the end, at most: its windows, and the way back. Where
media stops it is given more than a second of silence at once, and has no time at all to tell."""

LOUD: Final = 250
"""Mean of the samples' magnitudes from which 20 ms are loud: about -41 dBFS, between a quiet talker and line noise."""

IGNORED_MAX: Final = 16
"""Ignored items that are not in the model's conversation yet: one, unless the model is in trouble."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Speech that may be a cough."""

    item_id: str
    start_ms: int
    """Media time, padding included."""
    due_ms: int
    """Once the model was given the caller's audio up to here, it is speech, whatever it sounds like."""


class SpeechGuard:
    """The guard of one call; off when `min_speech_ms` is 0."""

    def __init__(self, min_speech_ms: int, end_of_speech_ms: int) -> None:
        self.is_on = min_speech_ms > 0
        self.doubt: Doubt | None = None
        self._min_speech_ms = min_speech_ms
        self._end_of_speech_ms = end_of_speech_ms
        self._ignored: dict[str, None] = {}

    def doubted(self, item_id: str, start_ms: int, given_ms: int) -> None:
        """Speech began over the agent's voice; the model was given the caller's audio up to `given_ms`."""
        due_ms = given_ms + self._min_speech_ms + self._end_of_speech_ms + TELL_MS
        self.doubt = Doubt(item_id, start_ms, due_ms)

    def is_speech(self, ulaw: bytes, given_ms: int) -> bool:
        """Return whether the doubt is over; `ulaw` is the caller's audio since it began."""
        return self.doubt is not None and (
            given_ms >= self.doubt.due_ms or loud_ms(ulaw) >= self._min_speech_ms
        )

    def believed(self) -> Doubt:
        """It is speech: return what was doubted, for the last time."""
        doubt, self.doubt = self.doubt, None
        assert doubt is not None
        return doubt

    def ignored(self) -> None:
        """It ended as a cough."""
        self._ignored[self.believed().item_id] = None
        if len(self._ignored) > IGNORED_MAX:
            del self._ignored[next(iter(self._ignored))]

    def forgets(self, item_id: str) -> bool:
        """Return, once, whether an item of the model's conversation is only a cough."""
        if item_id not in self._ignored:
            return False
        del self._ignored[item_id]
        return True

    def session_lost(self) -> None:
        """The next session hears again what was in doubt, under an id of its own."""
        self.doubt = None
        self._ignored.clear()


def loud_ms(ulaw: bytes) -> int:
    """Return for how long the caller's audio is as loud as speech, in ms."""
    whole = len(ulaw) - len(ulaw) % BLOCK_BYTES
    if not whole:
        return 0
    samples = g711.ulaw_to_pcm16(ulaw[:whole]).astype(np.int32)
    levels: Sequence[bool] = np.abs(samples).reshape(-1, BLOCK_BYTES).mean(axis=1) >= LOUD
    return 20 * int(np.count_nonzero(levels))
