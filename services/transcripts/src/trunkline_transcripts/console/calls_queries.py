"""The statements for lists of calls, and for one call with everything about it."""

from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Row, Select, Table, func, null, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.console.cursors import Place
from trunkline_transcripts.console.filters import (
    CallFilters,
    conditions,
    cost_conditions,
    cost_usd,
    of_the_call,
    older_than,
)
from trunkline_transcripts.owner_tables import owners, takeovers
from trunkline_transcripts.tables import (
    calls,
    limits_reached,
    model_sessions,
    tool_calls,
    transcription_usage,
    transfers,
    turns,
    usage,
)

SCANNED_MAX: Final = 2_000
"""Calls whose cost one page may sum up: 60 ms. A page may end there, with few calls or none, and a cursor to go on."""

NUMBER: Final = calls.c.caller
"""Where the caller's number is; shown to keys with the scope `callers` only."""

_PLAIN: Final = (
    "call_id", "call_started_at", "called", "agent", "model", "worker", "gateway", "answered_at", "ended_at",
    "duration_ms", "outcome", "reason", "interruptions",
)  # fmt: skip


def columns(with_numbers: bool) -> list[ColumnElement[Any]]:
    """Return what is shown of a row of `calls`."""
    caller_hash = calls.c.get("caller_hash")
    return [
        *(calls.c[name] for name in _PLAIN),
        (NUMBER if with_numbers else null()).label("caller"),
        (null() if caller_hash is None else caller_hash).label("caller_hash"),
    ]


def page(filters: CallFilters, limit: int, after: Place | None, with_numbers: bool) -> Select[Any]:
    """Return the statement for so many calls, newest first, with their figures."""
    found = newest(filters, SCANNED_MAX if filters.by_cost else limit, after, with_numbers).subquery("found")
    figures = with_figures(found).order_by(*_newest_first(found))
    return figures.where(*cost_conditions(filters, cost_usd(found))).limit(limit)


def last_scanned(filters: CallFilters, after: Place | None) -> Select[Any]:
    """Return the statement for the last of the `SCANNED_MAX` calls that `page` looked at; no row: there were fewer."""
    return newest(filters, 1, after, with_numbers=False).offset(SCANNED_MAX - 1)


def newest(filters: CallFilters, limit: int, after: Place | None, with_numbers: bool) -> Select[Any]:
    """Return the statement for so many rows of `calls`, newest first, whatever they cost."""
    statement = select(*columns(with_numbers)).where(*conditions(filters))
    if after is not None:
        statement = statement.where(older_than(calls, after.started_at, after.call_id))
    return statement.order_by(*_newest_first(calls)).limit(limit)


def with_figures(call: FromClause) -> Select[Any]:
    """Return the statement that adds to each row what was counted of its call."""
    said = (
        select(
            func.count().label("turns"),
            func.percentile_cont(0.5).within_group(turns.c.response_ms).label("median_response_ms"),
        )
        .where(of_the_call(turns, call))
        .correlate(call)
        .lateral("said")
    )
    used = (
        select(func.count())
        .select_from(tool_calls)
        .where(of_the_call(tool_calls, call))
        .correlate(call)
        .scalar_subquery()
    )
    return select(
        *call.c,
        said.c.turns,
        said.c.median_response_ms,
        used.label("tool_calls"),
        cost_usd(call).label("cost_usd"),
    ).join(said, true())


async def one(connection: AsyncConnection, call_id: str, with_numbers: bool) -> dict[str, Any] | None:
    """Return everything about a call as `answers.Call` takes it; None: there is none of this name."""
    # Newest first: Twilio does not use a name twice, but a restored backup of another account might.
    newest_first = select(*columns(with_numbers)).where(calls.c.call_id == call_id)
    found = newest_first.order_by(*_newest_first(calls)).limit(1).subquery("found")
    call = (await connection.execute(with_figures(found))).mappings().first()
    if call is None:
        return None

    async def rows(table: Table, *order: str) -> list[Row[Any]]:
        belongs = (table.c.call_started_at == call["call_started_at"]) & (table.c.call_id == call_id)
        statement = select(table).where(belongs).order_by(*(table.c[name] for name in order))
        return list(await connection.execute(statement))

    conversation = [_turn(row) for row in await rows(turns, "position", "attach", "assign", "item_id")]
    spent = await rows(usage, "n")
    written = await rows(transcription_usage, "n")
    limits = await rows(limits_reached, "attach", "assign", "n")
    return dict(call) | {
        "conversation": conversation,
        "interrupted_turns": _interruptions(conversation),
        "tools": await rows(tool_calls, "at_ms", "tool_call_id"),
        "owners": _owners(
            await rows(owners, "attach", "assign"), await rows(takeovers, "attach", "assign", "n")
        ),
        "model_sessions": await rows(model_sessions, "attach", "assign", "session"),
        "transfers": await rows(transfers, "at", "attach", "assign", "n"),
        "limits_reached": [row.limit_name for row in limits],
        "limits": limits,
        "cost": _cost(spent, written),
    }


def _newest_first(call: FromClause) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return call.c.call_started_at.desc(), call.c.call_id.desc()


def _turn(row: Row[Any]) -> dict[str, Any]:
    turn = dict(row._mapping)
    return turn | {"latency": None if turn["response_ms"] is None else turn}


def _interruptions(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for place, turn in enumerate(conversation):
        if not turn["interrupted"]:
            continue
        later = (other["text"] for other in conversation[place + 1 :] if other["speaker"] == "caller")
        known = turn["generated_ms"] is not None and turn["heard_ms"] is not None
        found.append(
            {
                "item_id": turn["item_id"],
                "at_ms": turn["end_ms"],
                "generated_text": turn["text"],
                "heard_text": turn["heard_text"],
                "unheard_ms": turn["generated_ms"] - turn["heard_ms"] if known else None,
                "caller_text": next(later, None),
            }
        )
    return found


def _owners(held: list[Row[Any]], changes: list[Row[Any]]) -> list[dict[str, Any]]:
    causes = {(change.attach, change.assign): change for change in reversed(changes)}
    return [
        dict(row._mapping)
        | {
            "cause": getattr(causes.get((row.attach, row.assign)), "cause", None),
            "lost_ms": getattr(causes.get((row.attach, row.assign)), "lost_ms", None),
        }
        for row in held
    ]


def _cost(spent: list[Row[Any]], written: list[Row[Any]]) -> dict[str, Any]:
    response_usd, transcription_usd = (
        sum(row.cost_usd for row in rows if row.cost_usd is not None) for rows in (spent, written)
    )
    return {
        "cost_usd": response_usd + transcription_usd,
        "response_usd": response_usd,
        "transcription_usd": transcription_usd,
        "unpriced": sum(row.cost_usd is None for row in (*spent, *written)),
        "input_tokens": sum(row.input_tokens for row in spent),
        "cached_tokens": sum(row.cached_tokens for row in spent),
        "output_tokens": sum(row.output_tokens for row in spent),
    }
