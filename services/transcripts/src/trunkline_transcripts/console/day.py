"""What is told of a day. Pure."""

from datetime import date
from typing import Final, NamedTuple

UNDECIDED: Final = "live"
"""Instead of an outcome: the call goes on, or its end is not stored."""


class Day(NamedTuple):
    """What happened on one day (UTC)."""

    day: date
    outcomes: dict[str, int]
    """Calls that began, by outcome."""
    talked_ms: int
    interruptions: int
    response_p50_ms: float | None
    response_p95_ms: float | None
    cost_usd: float
    tokens: int
    unpriced: int

    @property
    def calls(self) -> int:
        """Calls that began."""
        return sum(self.outcomes.values())
