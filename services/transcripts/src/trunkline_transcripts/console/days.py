"""The figures of many days, those that were asked for lately remembered."""

from collections import OrderedDict
from datetime import date, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.console import days_queries
from trunkline_transcripts.console.day import Day

CHANGING_DAYS: Final = 2
"""Today, and yesterday: calls that began then may still go on."""
FRESH_S: Final = 15
"""For a day that changes."""
KEPT_S: Final = 600
"""For a day that is over: late events, erased calls and new prices show after this."""
REMEMBERED_MAX: Final = 2_000
"""Days of an agent or of all: half a megabyte."""


class Days:
    """What this process remembers."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[date, str | None], tuple[Day, float]] = OrderedDict()
        """Each day's figures, and until when they hold."""

    async def until(
        self,
        connection: AsyncConnection,
        last: date,
        count: int,
        agent: str | None,
        today: date,
        now_s: float,
    ) -> list[Day]:
        """Return so many days, the last one last; `now_s` is a monotonic time."""
        found = []
        for back in reversed(range(count)):
            which = last - timedelta(days=back)
            known, holds_until_s = self._remembered.get((which, agent), (None, 0.0))
            if known is None or now_s >= holds_until_s:
                known = await days_queries.day(connection, which, agent)
                changes = which > today - timedelta(days=CHANGING_DAYS)
                self._remember(known, agent, now_s + (FRESH_S if changes else KEPT_S))
            found.append(known)
        return found

    def _remember(self, known: Day, agent: str | None, until_s: float) -> None:
        self._remembered.pop((known.day, agent), None)
        self._remembered[known.day, agent] = (known, until_s)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
