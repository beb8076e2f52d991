"""The statements of exports: calls or turns, oldest first, from behind a place on."""

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Select, literal, select, tuple_

from trunkline_transcripts.console import calls_queries
from trunkline_transcripts.console.cursors import Place
from trunkline_transcripts.console.filters import (
    CallFilters,
    conditions,
    cost_conditions,
    cost_usd,
    of_the_call,
)
from trunkline_transcripts.tables import calls, turns


class What(StrEnum):
    """What an export has a row for."""

    CALLS = "calls"
    TURNS = "turns"


_OF_TURN: Final = (
    "call_started_at", "call_id", "attach", "assign", "position", "item_id", "speaker", "start_ms", "end_ms", "text",
    "heard_text", "generated_ms", "heard_ms", "interrupted", "transcription", "response_ms", "model_ms",
)  # fmt: skip


def rows(
    what: What, filters: CallFilters, after: Place | None, limit: int, with_numbers: bool
) -> Select[Any]:
    """Return the statement for at most so many rows, from the oldest on."""
    if what is What.CALLS:
        return _calls(filters, after, limit, with_numbers)
    return _turns(filters, after, limit)


def _calls(filters: CallFilters, after: Place | None, limit: int, with_numbers: bool) -> Select[Any]:
    key = (calls.c.call_started_at, calls.c.call_id)
    found = select(*calls_queries.columns(with_numbers)).where(*conditions(filters))
    if filters.by_cost:
        found = found.where(*cost_conditions(filters, cost_usd(calls)))
    if after is not None:
        place = tuple_(literal(after.started_at), literal(after.call_id))
        found = found.where(calls.c.call_started_at >= after.started_at, tuple_(*key) > place)
    oldest = found.order_by(*key).limit(limit).subquery("found")
    return calls_queries.with_figures(oldest).order_by(oldest.c.call_started_at, oldest.c.call_id)


def _turns(filters: CallFilters, after: Place | None, limit: int) -> Select[Any]:
    # The beginning of this order is that of the primary key: rows come at once, and are sorted call by call.
    key = (turns.c.call_started_at, turns.c.call_id, turns.c.position, turns.c.item_id)
    found = (
        select(*(turns.c[name] for name in _OF_TURN), calls.c.agent)
        .select_from(turns.join(calls, of_the_call(turns, calls)))
        .where(*conditions(filters))
    )
    if filters.by_cost:
        found = found.where(*cost_conditions(filters, cost_usd(calls)))
    if after is not None:
        place = (
            literal(after.started_at),
            literal(after.call_id),
            literal(after.position),
            literal(after.item_id),
        )
        found = found.where(turns.c.call_started_at >= after.started_at, tuple_(*key) > tuple_(*place))
    return found.order_by(*key).limit(limit)
