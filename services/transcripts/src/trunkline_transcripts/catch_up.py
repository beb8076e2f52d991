"""How fast events are stored, and when a store that was behind has caught up. Pure: the time is an argument."""

from collections import deque
from typing import Final, NamedTuple

RATE_WINDOW_S: Final = 5
"""Long enough for a batch every second, short enough to watch it change."""
SAMPLES_MAX: Final = 1_000
"""Batches in one window; a batch of one event takes 5 ms at least."""

BEHIND_EVENTS_MIN: Final = 1_000
"""Two full batches waiting: more than a busy second, so somebody or something was away."""
CAUGHT_UP_EVENTS_MAX: Final = 100
"""New calls never let a log run empty; what is left then is stored within its 200 ms."""


class CaughtUp(NamedTuple):
    """An outage, or a start on a full log, that is over."""

    events: int
    """Stored since it began."""
    took_s: float
    away_s: float
    """How long nothing could be stored before; 0 when Postgres was there all the time."""

    @property
    def events_per_s(self) -> float:
        """The rate of catching up."""
        return self.events / self.took_s if self.took_s else 0.0


class CatchUp:
    """Is told of every batch and every failure of one process."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=SAMPLES_MAX)
        self._away_since: float | None = None
        self._failed_at = 0.0
        self._stored_at = 0.0
        self._began_at: float | None = None
        self._away_s = 0.0
        self._events = 0

    def failed(self, now: float) -> None:
        """Nothing can be stored at the moment."""
        self._failed_at = now
        if self._away_since is None:
            self._away_since = now

    def stored(
        self, events: int, *, left: int, left_at: float, began_at: float, now: float
    ) -> CaughtUp | None:
        """Count a batch whose transaction `began_at`; `left` were in the log and not fetched at the time `left_at`.

        Returns what there is to tell when this was the last batch of a catch-up. What was left before or while the store
        was away says nothing of what is left now.
        """
        self._stored_at = now
        self._recent.append((now, events))
        if self._away_since is not None:
            self._away_s += began_at - self._away_since
            self._away_since = None
            self._began_at = self._began_at or began_at
        elif left >= BEHIND_EVENTS_MIN and self._began_at is None:
            self._began_at = began_at
        if self._began_at is None:
            return None
        self._events += events
        return self._over(left_at) if left <= CAUGHT_UP_EVENTS_MAX else None

    def drained(self, at: float) -> CaughtUp | None:
        """Nothing was left in the log at that time; returns the same."""
        return self._over(at)

    def _over(self, at: float) -> CaughtUp | None:
        if self._began_at is None or self._away_since is not None or at <= self._failed_at:
            return None
        told = CaughtUp(self._events, self._stored_at - self._began_at, self._away_s)
        self._began_at, self._away_s, self._events = None, 0.0, 0
        return told

    def rate(self, now: float) -> float:
        """Return the events a second over the last `RATE_WINDOW_S`."""
        while self._recent and self._recent[0][0] <= now - RATE_WINDOW_S:
            self._recent.popleft()
        return sum(events for _, events in self._recent) / RATE_WINDOW_S
