"""Pure: the workers that were heard of a moment ago, for when the queue group's choice was, or may be, a hung one.

A worker that hangs keeps its places in the group until NATS drops it, after about three seconds, and swallows its share of
the questions. Its heartbeat stops at once.
"""

from typing import Final, NamedTuple

from trunkline_common.control import Heartbeat

FRESH_S: Final = 1.3
"""A heartbeat comes every second."""

WORKERS_MAX: Final = 10_000
"""Names that are remembered; ten times the largest fleet, for old ones are forgotten with the next."""


class _Heard(NamedTuple):
    free: int
    at: float


class Roster:
    """Who has room, as of the newest heartbeats."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._heard: dict[str, _Heard] = {}

    def heard(self, beat: Heartbeat, now: float) -> None:
        """Take a heartbeat."""
        if beat.region not in {"", self._region}:
            return
        if len(self._heard) >= WORKERS_MAX:
            self._heard = {worker: each for worker, each in self._heard.items() if now < each.at + FRESH_S}
        free = 0 if beat.draining else max(beat.capacity - beat.active, 0)
        self._heard[beat.worker] = _Heard(free, now)

    def forget(self, worker: str) -> None:
        """It did not answer; its next heartbeat brings it back."""
        self._heard.pop(worker, None)

    def choose(self, but: frozenset[str], now: float, draw: float) -> str | None:
        """Return a worker with room by `draw`, from 0 to 1: the more room, the likelier; None when there is none."""
        rooms = [
            (worker, each.free)
            for worker, each in self._heard.items()
            if each.free and now < each.at + FRESH_S and worker not in but
        ]
        place = draw * sum(free for _, free in rooms)
        for worker, free in rooms:
            place -= free
            if place < 0:
                return worker
        return rooms[-1][0] if rooms else None
