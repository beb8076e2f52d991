"""Pure: what the caller hears while nobody can answer for the agent: a soft double tick, so that a line that waits
does not sound like one that is dead.

It begins when nothing of ours has played for a moment, and comes in pieces so short that hardly any must be
cleared when the agent is back.
"""

import math
from typing import Final

from trunkline_gateway import twilio

SILENCE_S: Final = 0.7
"""People pause for as long while they talk; most changes of owner are over by then."""

PERIOD_S: Final = 2.0
"""From one double tick to the next: as calm as the tones of a call on hold."""

TICK_MS: Final = 50
PAUSE_MS: Final = 110
TONE_HZ: Final = 425
"""The tone of most telephone networks, so that nobody takes it for the agent or for a fault."""

AMPLITUDE: Final = 1_500
"""Of 32,767: some 27 dB below the loudest, quiet beside any voice."""

_SAMPLES_PER_S: Final = 8_000
_BIAS: Final = 132
_CLIP: Final = 32_635


class Comfort:
    """When the next sound is due, and what of it may still be unplayed."""

    def __init__(self) -> None:
        self._next_at = float("-inf")
        self._playing_until = float("-inf")
        self._began_at: float | None = None

    def due_at(self, trouble_since: float, played_until: float) -> float:
        """Return when the next sound is due, in a trouble and with Twilio's buffer empty since these times."""
        return max(trouble_since + SILENCE_S, played_until + SILENCE_S, self._next_at)

    def sound(self, now: float) -> bytes:
        """Return the sound to send now: μ-law, 8 kHz."""
        self._next_at = now + PERIOD_S
        self._playing_until = now + len(DOUBLE_TICK) / _SAMPLES_PER_S
        if self._began_at is None:
            self._began_at = now
        return DOUBLE_TICK

    def is_unplayed(self, now: float) -> bool:
        """Whether some of the last sound is still to be heard."""
        return now < self._playing_until

    def cleared(self) -> None:
        """What was unplayed is dropped."""
        self._playing_until = float("-inf")

    def over(self, now: float) -> float | None:
        """End it; return for how many seconds there was comfort, or None when there was none."""
        if self._began_at is None:
            return None
        seconds = now - self._began_at
        self._began_at = None
        return seconds


def ulaw(sample: int) -> int:
    """Return the μ-law byte for a 16-bit sample (ITU-T G.711)."""
    magnitude = min(abs(sample), _CLIP) + _BIAS
    segment = magnitude.bit_length() - 8
    step = magnitude >> (segment + 3) & 15
    return ~((sample < 0) << 7 | segment << 4 | step) & 0xFF


def _tick() -> bytes:
    samples = TICK_MS * twilio.BYTES_PER_MS
    return bytes(
        ulaw(
            round(
                AMPLITUDE
                * math.sin(math.pi * number / samples)
                * math.sin(math.tau * TONE_HZ * number / _SAMPLES_PER_S)
            )
        )
        for number in range(samples)
    )


DOUBLE_TICK: Final = _tick() + bytes([ulaw(0)]) * (PAUSE_MS * twilio.BYTES_PER_MS) + _tick()
