"""Pure: the soft sound that a caller hears when an answer that is owed does not come.

Rules:

* It begins after a silence, sooner when the delay is trouble (a session is being restored, a failed answer waits to
  be asked for again) than when the model is only slow.
* It is sent just ahead of real time and without marks: it is nobody's speech, and nothing waits for it.
* Audio of the answer never queues behind it: who plays something else calls `stop` first, and clears what is left.
"""

from typing import Final

import numpy as np

from trunkline_worker import g711
from trunkline_worker.agent import Filler as Kind
from trunkline_worker.commands import ClearPlayback, Command, Count, Measure, Play
from trunkline_worker.playback import Playback
from trunkline_worker.speech_guard import loud_ms

TROUBLE_S: Final = 0.7
"""A pause in a talk is shorter."""

SLOW_S: Final = 2.5
"""A model that reasons, or a tool, takes this long; before, the sound would be in the way of most answers."""

PIECE_MS: Final = 60
LEAD_S: Final = 0.04
"""The next piece is sent when so much is left: a late wake-up is not heard, and at most 100 ms wait at Twilio."""

FILLED_S_MAX: Final = 15.0
"""In one silence. After so long it comforts nobody."""

LEFTOVER_S: Final = 0.2
"""What was sent may be this late at Twilio, and still be playing."""

CALLER_MS: Final = 60
"""So much voice in one piece is the caller speaking; without a session nobody else tells."""


class FillerSound:
    """The filler of one call."""

    def __init__(self, kind: Kind) -> None:
        self._pieces = SOFT if kind == "soft" else ()
        self._silent_since: float | None = None
        self._delay_s = SLOW_S
        self._plays_until: float | None = None
        """When what was sent is played; None when there is nothing."""
        self._filled_ms = 0
        self._voice_ms = 0

    @property
    def is_waiting(self) -> bool:
        """The caller waits in silence, or hears the sound."""
        return self._silent_since is not None

    def wake_at(self) -> float | None:
        """Return when `fill` is due."""
        if self._silent_since is None or self._filled_ms >= FILLED_S_MAX * 1000:
            return None
        if self._plays_until is not None and self._filled_ms:
            return self._plays_until - LEAD_S
        return self._silent_since + self._delay_s

    def wait(self, now: float, *, trouble: bool) -> None:
        """An answer is owed and the caller hears nothing; to be repeated as long as that is so."""
        if not self._pieces:
            return
        self._delay_s = TROUBLE_S if trouble else SLOW_S
        if self._silent_since is None:
            self._silent_since = now

    def fill(self, generation: int, now: float) -> list[Command]:
        """Return the sound that is due."""
        due_at = self.wake_at()
        if due_at is None or now < due_at:
            return []
        commands: list[Command] = []
        plays_until = max(self._plays_until or now, now)
        # At least one piece: by a rounding error, what is due may not be behind the lead yet.
        while not commands or plays_until - now <= LEAD_S:
            piece = self._pieces[self._filled_ms // PIECE_MS % len(self._pieces)]
            commands += [Play(generation, piece), Count(Measure.FILLER_MS, PIECE_MS)]
            self._filled_ms += PIECE_MS
            plays_until += PIECE_MS / 1000
        self._plays_until = plays_until
        return commands

    def caller_voice(self, ulaw: bytes) -> bool:
        """Return whether the caller speaks, by their audio alone."""
        self._voice_ms = self._voice_ms + len(ulaw) // 8 if loud_ms(ulaw) else 0
        return self._voice_ms >= CALLER_MS

    def stop(self, now: float) -> bool:
        """The silence is over; return whether some of the sound may still be played, and must be cleared."""
        left = self._plays_until is not None and now < self._plays_until + LEFTOVER_S
        self._silent_since = self._plays_until = None
        self._filled_ms = self._voice_ms = 0
        return left

    def cleared(self, playback: Playback, now: float) -> list[Command]:
        """Stop, and clear what is left of the sound; nothing else is in Twilio's buffer."""
        if not self.stop(now):
            return []
        playback.interrupt(now)
        return [ClearPlayback(playback.generation)]

    def end(self) -> None:
        """Nothing is owed any more: what was sent plays on, and is remembered until it must have ended."""
        self._silent_since = None
        self._filled_ms = self._voice_ms = 0


def _soft() -> tuple[bytes, ...]:
    """Return 2.4 s of two quiet notes, each swelling and fading for 0.6 s, in pieces."""
    length_ms, note_ms, peak = 2_400, 600, 700
    rate_hz = 8_000
    sound = np.zeros(length_ms * rate_hz // 1000)
    at = np.arange(note_ms * rate_hz // 1000) / rate_hz
    swell = np.sin(np.pi * at / (note_ms / 1000)) ** 2
    for start_ms, tone_hz in ((0, 392.0), (700, 523.25)):
        start = start_ms * rate_hz // 1000
        sound[start : start + at.size] += peak * swell * np.sin(2 * np.pi * tone_hz * at)
    ulaw = g711.pcm16_to_ulaw(np.round(sound).astype(np.int16))
    size = PIECE_MS * rate_hz // 1000
    return tuple(ulaw[start : start + size] for start in range(0, len(ulaw), size))


SOFT: Final = _soft()
"""G.711 μ-law, 8 kHz; at its loudest -33 dBFS, far below speech."""
