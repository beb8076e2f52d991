"""Pure: decides from the fate of pings over NATS whether a process is lost, and how.

A ping that fails says something about its process only while NATS works, and while processes had time to come
back to it: in an outage of the bus everybody is silent, and no call may be ended for that.
"""

from typing import Final, Literal

PING_TIMEOUT_S: Final = 0.2

MISSES_MAX: Final = 3
"""A hung process is noticed after 0.6 s; one slow turn of its event loop is forgiven."""

REFUSALS_MAX: Final = 2
"""NATS knows at once that a process is gone; the second answer excludes a moment of reconnecting."""

REFUSED_AGAIN_S: Final = 0.02
"""Until the process that nobody listens for is asked for a second time."""

RECONNECT_GRACE_S: Final = 3.0
"""After our own link came back: the others' links may need a moment more, up to their longest wait of 2 s."""

Loss = Literal["silent", "gone"]
"""It hangs; or it has ended, or nobody of that name ever was."""


class Pulse:
    """One process, as its pings tell."""

    def __init__(self, bus_returned_at: float = float("-inf")) -> None:
        self._misses = 0
        self._refusals = 0
        self._bus_returned_at = bus_returned_at

    def answered(self) -> None:
        """The process is there."""
        self._misses = self._refusals = 0

    def bus_broke(self, now: float) -> None:
        """NATS itself does not answer, or did not a moment ago: nothing is known of the process."""
        self._misses = self._refusals = 0
        self._bus_returned_at = now

    def missed(self, now: float) -> Literal["silent"] | None:
        """No answer in time. Returns `silent` when that makes the process lost."""
        self._misses += 1
        self._refusals = 0
        return "silent" if self._misses >= MISSES_MAX and not self._in_grace(now) else None

    def refused(self, now: float) -> Literal["gone"] | None:
        """Nobody listens to its pings. Returns `gone` when that makes the process lost."""
        self._refusals += 1
        self._misses = 0
        return "gone" if self._refusals >= REFUSALS_MAX and not self._in_grace(now) else None

    @property
    def is_in_doubt(self) -> bool:
        """Whether one more refusal would decide."""
        return self._refusals == REFUSALS_MAX - 1

    def _in_grace(self, now: float) -> bool:
        return now < self._bus_returned_at + RECONNECT_GRACE_S
