"""Pure: whether one call is stuck in a worker that is well otherwise."""

from typing import Final

STUCK_S: Final = 1.0
"""A call that has frames waiting and consumes none for so long is stuck; a slow turn of its worker is shorter."""

ANSWERS_EVERY_S: Final = 0.8
"""With a longer pause between two answers, what did not move may be their fault: two pings and their time-outs."""


class Progress:
    """Pure: decides from the numbers of one call whether it is stuck in a worker that is well."""

    def __init__(self) -> None:
        self._consumed: int | None = None
        self._is_known = False
        self._moved_at = 0.0
        self._told_at = float("-inf")

    def is_stuck(self, consumed: int | None, newest: int | None, now: float) -> bool:
        """Tell of the newest frame that the call consumed and that it was sent; None for what is not known.

        A worker that spoke of the call before and does no more has lost it, which is as bad.
        """
        is_fresh = now < self._told_at + ANSWERS_EVERY_S
        self._told_at = now
        has_moved = consumed != self._consumed
        self._consumed = consumed
        self._is_known = self._is_known or consumed is not None
        has_all = newest is None or (consumed is not None and consumed >= newest)
        if has_moved or has_all or not self._is_known or not is_fresh:
            self._moved_at = now
        return now >= self._moved_at + STUCK_S
