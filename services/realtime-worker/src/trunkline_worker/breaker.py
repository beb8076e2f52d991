"""Pure: whether this worker may take new calls, by how its last model sessions began.

A worker whose sessions fail takes call after call and serves none. So it leaves the queue when most of its last
session starts failed, and at once when the account itself is refused, which no retry and no other session helps.
After a while it takes one call as a trial.

What one profile asks for and the model refuses is the profile's fault, on every worker alike: it counts once among
the starts, however often that number is called. Two more failures, of this kind or another, are the worker's.
"""

from collections import deque
from typing import Final, NamedTuple

STARTS_WATCHED: Final = 5
FAILURES_MAX: Final = 2
"""Of the starts watched: one more opens the breaker."""

OPEN_S: Final = 10.0
"""Doubled for each trial that fails."""

OPEN_S_MAX: Final = 300.0


class _Start(NamedTuple):
    failed: bool
    profile: str | None = None
    """Whose configuration was refused."""


_BEGUN: Final = _Start(failed=False)


class Breaker:
    """Open: take no new call. Half open: take one."""

    def __init__(self) -> None:
        self._starts: deque[_Start] = deque(maxlen=STARTS_WATCHED)
        self._opened_at: float | None = None
        self._open_s = OPEN_S
        self._trial_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last trial, if there was one, has not shown yet that sessions begin again."""
        return self._opened_at is not None

    def allows(self, now: float) -> bool:
        """Return whether a new call may be taken."""
        if self._opened_at is None:
            return True
        if now < self._opened_at + self._open_s:
            return False
        # A trial that never tells how it went does not count for ever.
        return self._trial_at is None or now >= self._trial_at + self._open_s

    def took_call(self, now: float) -> None:
        """A new call was taken; while half open, it is the trial."""
        if self._opened_at is not None:
            self._trial_at = now

    def succeeded(self) -> None:
        """A session began to serve."""
        self._starts.append(_BEGUN)
        if self._opened_at is not None:
            self._starts.clear()
            self._opened_at = self._trial_at = None
            self._open_s = OPEN_S

    def failed(self, now: float, *, account: bool, profile: str | None = None) -> bool:
        """A session did not begin, or (`account`) the account was refused; return whether this opens the breaker.

        `profile` names the one whose configuration was refused.
        """
        self._starts.append(_Start(failed=True, profile=profile))
        if self._opened_at is not None:
            if self._trial_at is not None:
                self._opened_at, self._trial_at = now, None
                self._open_s = min(2 * self._open_s, OPEN_S_MAX)
            return False
        if not account and self._failures() <= FAILURES_MAX:
            return False
        self._opened_at = now
        return True

    def _failures(self) -> int:
        failures = [start.profile for start in self._starts if start.failed]
        return failures.count(None) + len({profile for profile in failures if profile is not None})
