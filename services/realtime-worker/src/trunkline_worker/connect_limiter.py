"""Pure: how fast this worker opens model sessions, so that a fleet that lost them all does not bury the model.

The limit is the fleet's; each worker takes an equal share of it. How many workers there are, it learns from their
heartbeats.
"""

from typing import Final

HEARD_S: Final = 3.0
"""A worker that was silent for this long is gone; a heartbeat comes every second."""

WORKERS_MAX: Final = 10_000
DELAY_S_MAX: Final = 10.0
"""Nobody waits longer, so nobody has a place behind that: the row would be longer with every try that gave up."""

BURST_S: Final = 1.0
"""So much of the rate may be used at once, after a time without connects."""


class ConnectLimiter:
    """A token bucket that is emptied in advance: who comes too early is told how long to wait."""

    def __init__(self, fleet_rate_per_s: float) -> None:
        self._fleet_rate_per_s = fleet_rate_per_s
        self._heard_at: dict[str, float] = {}
        self._free_at = 0.0
        """When the next connect may begin, had nothing been saved up."""

    def heard(self, worker: str, now: float) -> None:
        """A worker, this one included, is alive."""
        if worker in self._heard_at or len(self._heard_at) < WORKERS_MAX:
            self._heard_at[worker] = now

    def workers(self, now: float) -> int:
        """Return how many workers are alive."""
        for worker in [worker for worker, at in self._heard_at.items() if now - at > HEARD_S]:
            del self._heard_at[worker]
        return max(len(self._heard_at), 1)

    def delay_s(self, now: float) -> float:
        """Take a place in the row; return how long it has to wait. There is none behind `DELAY_S_MAX`."""
        step_s = self.workers(now) / self._fleet_rate_per_s
        # At least one connect is always free, however small the share.
        self._free_at = max(self._free_at, now - max(BURST_S - step_s, 0))
        delay_s = max(self._free_at - now, 0.0)
        if delay_s <= DELAY_S_MAX:
            self._free_at += step_s
        return delay_s
