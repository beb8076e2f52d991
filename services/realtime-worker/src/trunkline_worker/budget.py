"""Pure: what a day has cost the whole fleet, and whether that is the budget."""

from datetime import date
from typing import Final

DAYS_KEPT: Final = 2
"""Around midnight events of the day before still arrive."""


class DailyBudget:
    """Adds up costs by the day (UTC) on which the event log took them; each day begins with 0."""

    def __init__(self, budget_usd: float) -> None:
        """Without a budget, which is 0, nothing is ever spent."""
        self.budget_usd = budget_usd
        self._spent_usd: dict[date, float] = {}

    def add(self, day: date, cost_usd: float) -> None:
        """Add a cost; one of a day long gone is of no interest."""
        self._spent_usd[day] = self._spent_usd.get(day, 0.0) + cost_usd
        while len(self._spent_usd) > DAYS_KEPT:
            del self._spent_usd[min(self._spent_usd)]

    def spent_usd(self, today: date) -> float:
        """Return what the day has cost so far."""
        return self._spent_usd.get(today, 0.0)

    def is_spent(self, today: date) -> bool:
        """Return whether no new call may begin today."""
        return self.budget_usd > 0 and self.spent_usd(today) >= self.budget_usd
