"""Pure: tells a flood on one socket from a phone line whose network had stalled."""

from typing import Final

MESSAGES_PER_S_MAX: Final = 100
"""Twilio sends 50 media messages a second, and few others."""

FLOOD_S: Final = 2
"""For so many whole seconds on end: a stall of some seconds that arrives in one burst is over sooner."""

BURST_MESSAGES_MAX: Final = 1_000
"""Within one second: 20 s of audio at once. Twilio itself gives up a receiver that was gone for so long."""


class MessageRate:
    """Counts messages second by second."""

    def __init__(self) -> None:
        self._second_ends_at = float("-inf")
        self._messages = 0
        self._watching = False
        self._seconds_over = 0

    def admits(self, now: float) -> bool:
        """Count one message; False once the socket is flooded."""
        if now >= self._second_ends_at:
            self._next_second(now)
        self._messages += 1
        if self._messages > MESSAGES_PER_S_MAX and not self._watching:
            # The two seconds begin here, or a burst across the border of two seconds would count as both.
            self._watching = True
            self._begin_second(now)
        return self._messages <= BURST_MESSAGES_MAX and self._seconds_over < FLOOD_S

    def _next_second(self, now: float) -> None:
        if self._watching and self._messages > MESSAGES_PER_S_MAX and now < self._second_ends_at + 1:
            self._seconds_over += 1
        else:
            self._watching = False
            self._seconds_over = 0
        self._begin_second(now)

    def _begin_second(self, now: float) -> None:
        self._second_ends_at = now + 1
        self._messages = 0
