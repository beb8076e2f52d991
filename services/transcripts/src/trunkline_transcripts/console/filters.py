"""Which calls are meant: the parameters that list, search and export share, and the conditions that they become.

Values reach Postgres as bound parameters and in no other way.
"""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, FromClause, and_, func, literal, select, tuple_

from trunkline_common.verdict import Outcome
from trunkline_transcripts.tables import calls, transcription_usage, usage

TEXT_CHARS_MAX: Final = 200
DURATION_MS_MAX: Final = 7 * 24 * 3_600_000
"""A week; Twilio ends a call after a day."""
COST_USD_MAX: Final = 1_000_000
YEARS: Final = (2000, 2200)
"""Calls outside these are nobody's, and Postgres ends at other years than Python."""

_MOMENT: Final = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?$"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def _moment(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_MOMENT, value, re.ASCII):
        raise ValueError("must be such as 2026-11-20, or 2026-11-20T09:30:00Z; without a zone it is UTC")
    moment = datetime.fromisoformat(value)
    if not YEARS[0] <= moment.year < YEARS[1]:
        raise ValueError(f"must be in the years {YEARS[0]} to {YEARS[1]}")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def printable(value: str) -> str:
    """Return the text; raise `ValueError` when it holds NUL or another control character."""
    if _CONTROL.search(value):
        raise ValueError("holds control characters")
    return value


Moment = Annotated[
    datetime,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, Field(pattern=_MOMENT)]),
]
Name = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX), AfterValidator(printable)]
CALL_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"


def is_call_id(value: str) -> bool:
    """Tell whether this may be the name of a call."""
    return re.fullmatch(CALL_ID_PATTERN, value) is not None and not value.endswith("\n")


class CallFilters(BaseModel):
    """The calls that are meant; what is not given does not matter."""

    model_config = ConfigDict(extra="forbid")

    started_from: Moment | None = Field(None, alias="from", description="Began at this moment or later.")
    started_to: Moment | None = Field(None, alias="to", description="Began before this moment.")
    agent: Name | None = Field(None, description="Name of the agent profile.")
    outcome: Outcome | None = Field(None, description="Whose doing the end was.")
    reason: Name | None = Field(None, description="Why it ended, such as caller-hung-up.")
    caller_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        None, description="Who called: what stands for the number."
    )
    min_duration_ms: int | None = Field(None, ge=0, le=DURATION_MS_MAX)
    max_duration_ms: int | None = Field(None, ge=0, le=DURATION_MS_MAX)
    interrupted: bool | None = Field(None, description="Whether the caller interrupted the agent.")
    min_cost_usd: Decimal | None = Field(None, ge=0, le=COST_USD_MAX, max_digits=16, decimal_places=9)
    max_cost_usd: Decimal | None = Field(None, ge=0, le=COST_USD_MAX, max_digits=16, decimal_places=9)
    live: bool | None = Field(None, description="true: those that go on; false: those that are over.")

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> Self:
        if self.started_from and self.started_to and self.started_from >= self.started_to:
            raise ValueError("from must be before to")
        for name in ("duration_ms", "cost_usd"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{name} must not be above max_{name}")
        return self

    @property
    def by_cost(self) -> bool:
        """Whether what a call cost decides; that has to be summed up for each one that is looked at."""
        return self.min_cost_usd is not None or self.max_cost_usd is not None


FILTER_NAMES: Final = frozenset(CallFilters.model_fields)


def conditions(filters: CallFilters) -> list[ColumnElement[bool]]:
    """Return what must hold of a row of `calls`, its cost left out."""
    column = calls.c
    chosen: tuple[tuple[Any, Callable[[Any, Any], Any], ColumnElement[Any]], ...] = (
        (filters.started_from, operator.ge, column.call_started_at),
        (filters.started_to, operator.lt, column.call_started_at),
        (filters.agent, operator.eq, column.agent),
        (filters.outcome, operator.eq, column.outcome),
        (filters.reason, operator.eq, column.reason),
        (filters.min_duration_ms, operator.ge, column.duration_ms),
        (filters.max_duration_ms, operator.le, column.duration_ms),
    )
    found = [compare(column, value) for value, compare, column in chosen if value is not None]
    if filters.caller_hash is not None:
        found.append(calls.c.caller_hash == filters.caller_hash)
    if filters.interrupted is not None:
        count = func.coalesce(calls.c.interruptions, 0)
        found.append(count > 0 if filters.interrupted else count == 0)
    if filters.live is not None:
        found.append(calls.c.ended_at.is_(None) if filters.live else calls.c.ended_at.is_not(None))
    return found


def of_the_call(
    table: FromClause, call: FromClause, between: tuple[datetime, datetime] | None = None
) -> ColumnElement[bool]:
    """Return that a row of `table` belongs to the row of `call`, which began `between` these moments."""
    belongs = and_(table.c.call_started_at == call.c.call_started_at, table.c.call_id == call.c.call_id)
    return belongs if between is None else and_(table.c.call_started_at.between(*between), belongs)


def cost_usd(call: FromClause, between: tuple[datetime, datetime] | None = None) -> ColumnElement[Any]:
    """Return what the call cost, as far as there are prices."""
    spent = [
        select(func.coalesce(func.sum(table.c.cost_usd), 0))
        .where(of_the_call(table, call, between))
        .correlate(call)
        .scalar_subquery()
        for table in (usage, transcription_usage)
    ]
    return spent[0] + spent[1]


def cost_conditions(filters: CallFilters, cost: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Return what must hold of the cost."""
    found = []
    if filters.min_cost_usd is not None:
        found.append(cost >= filters.min_cost_usd)
    if filters.max_cost_usd is not None:
        found.append(cost <= filters.max_cost_usd)
    return found


def older_than(call: FromClause, started_at: datetime, call_id: str) -> ColumnElement[bool]:
    """Return that a call comes after this one in a list with the newest first."""
    # The first condition follows from the second; Postgres leaves out whole months by the first alone.
    return and_(
        call.c.call_started_at <= started_at,
        tuple_(call.c.call_started_at, call.c.call_id) < tuple_(literal(started_at), literal(call_id)),
    )
