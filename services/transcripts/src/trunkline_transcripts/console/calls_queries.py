"""The statements for lists of calls, and for one call with everything about it."""

from datetime import datetime
from statistics import median
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Row,
    Select,
    Table,
    Text,
    column,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.caller_table import callers
from trunkline_transcripts.columns import MOMENT
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

SCANNED_MAX: Final = 1_000
"""Calls whose cost one page may sum up: some 100 ms on a busy machine. A page may end there, with few calls or none, and a cursor to go on."""

NUMBER: Final = (
    select(callers.c.number)
    .where(callers.c.call_started_at == calls.c.call_started_at, callers.c.call_id == calls.c.call_id)
    .correlate(calls)
    .scalar_subquery()
)
"""The caller's number; shown to keys with the scope `callers` only."""

_PLAIN: Final = (
    "call_id", "call_started_at", "called", "agent", "model", "worker", "gateway", "answered_at", "ended_at",
    "duration_ms", "outcome", "reason", "interruptions",
)  # fmt: skip


def columns(with_numbers: bool) -> list[ColumnElement[Any]]:
    """Return what is shown of a row of `calls`."""
    return [
        *(calls.c[name] for name in _PLAIN),
        (NUMBER if with_numbers else null()).label("caller"),
        calls.c.caller_hash,
    ]


async def page(
    connection: AsyncConnection, filters: CallFilters, limit: int, after: Place | None, with_numbers: bool
) -> list[dict[str, Any]]:
    """Return so many calls, newest first, with their figures."""
    statement = newest(filters, SCANNED_MAX if filters.by_cost else limit, after, with_numbers)
    if filters.by_cost:
        looked_at = statement.subquery("looked_at")
        priced = cost_conditions(filters, cost_usd(looked_at))
        statement = select(looked_at).where(*priced).order_by(*_newest_first(looked_at)).limit(limit)
    rows = list(await connection.execute(statement))
    if not rows:
        return []
    figures = {
        (figure.call_started_at, figure.call_id): figure._mapping
        for figure in await connection.execute(_figures([(row.call_started_at, row.call_id) for row in rows]))
    }
    return [{**row._mapping, **figures[row.call_started_at, row.call_id]} for row in rows]


def _figures(keys: list[tuple[datetime, str]]) -> Select[Any]:
    """Return the statement that counts what belongs to these calls.

    It says between which moments they began, so that Postgres plans for their months only: planning for each of a
    year's months takes longer than counting.
    """
    started = [started_at for started_at, _ in keys]
    wanted = func.unnest(
        literal(started, ARRAY(MOMENT)), literal([call_id for _, call_id in keys], ARRAY(Text))
    ).table_valued(column("call_started_at", MOMENT), column("call_id", Text), name="wanted")
    return with_figures(wanted.render_derived(), (min(started), max(started)))


def last_scanned(filters: CallFilters, after: Place | None) -> Select[Any]:
    """Return the statement for the last of the `SCANNED_MAX` calls that `page` looked at; no row: there were fewer."""
    return newest(filters, 1, after, with_numbers=False).offset(SCANNED_MAX - 1)


def newest(filters: CallFilters, limit: int, after: Place | None, with_numbers: bool) -> Select[Any]:
    """Return the statement for so many rows of `calls`, newest first, whatever they cost."""
    statement = select(*columns(with_numbers)).where(*conditions(filters))
    if after is not None:
        statement = statement.where(older_than(calls, after.started_at, after.call_id))
    return statement.order_by(*_newest_first(calls)).limit(limit)


def with_figures(call: FromClause, between: tuple[datetime, datetime] | None = None) -> Select[Any]:
    """Return the statement that adds to each row what was counted of its call, which began `between` these moments."""
    said = (
        select(
            func.count().label("turns"),
            func.percentile_cont(0.5).within_group(turns.c.response_ms).label("median_response_ms"),
        )
        .where(of_the_call(turns, call, between))
        .correlate(call)
        .lateral("said")
    )
    used = (
        select(func.count())
        .select_from(tool_calls)
        .where(of_the_call(tool_calls, call, between))
        .correlate(call)
        .scalar_subquery()
    )
    return select(
        *call.c,
        said.c.turns,
        said.c.median_response_ms,
        used.label("tool_calls"),
        cost_usd(call, between).label("cost_usd"),
    ).join(said, true())


async def one(connection: AsyncConnection, call_id: str, with_numbers: bool) -> dict[str, Any] | None:
    """Return everything about a call as `answers.Call` takes it; None: there is none of this name."""
    # Newest first: Twilio does not use a name twice, but a restored backup of another account might.
    newest_first = select(*columns(with_numbers)).where(calls.c.call_id == call_id)
    found = newest_first.order_by(*_newest_first(calls)).limit(1)
    call = (await connection.execute(found)).mappings().first()
    if call is None:
        return None

    async def rows(table: Table, *order: str) -> list[Row[Any]]:
        belongs = (table.c.call_started_at == call["call_started_at"]) & (table.c.call_id == call_id)
        statement = select(table).where(belongs).order_by(*(table.c[name] for name in order))
        return list(await connection.execute(statement))

    conversation = [_turn(row) for row in await rows(turns, "position", "attach", "assign", "item_id")]
    tools = await rows(tool_calls, "at_ms", "tool_call_id")
    cost = _cost(await rows(usage, "n"), await rows(transcription_usage, "n"))
    waited_ms = [turn["response_ms"] for turn in conversation if turn["response_ms"] is not None]
    limits = await rows(limits_reached, "attach", "assign", "n")
    return dict(call) | {
        "turns": len(conversation),
        "tool_calls": len(tools),
        "median_response_ms": median(waited_ms) if waited_ms else None,
        "cost_usd": cost["cost_usd"],
        "conversation": conversation,
        "interrupted_turns": _interruptions(conversation),
        "tools": tools,
        "owners": _owners(
            await rows(owners, "attach", "assign"), await rows(takeovers, "attach", "assign", "n")
        ),
        "model_sessions": await rows(model_sessions, "attach", "assign", "session"),
        "transfers": await rows(transfers, "at", "attach", "assign", "n"),
        "limits_reached": [row.limit_name for row in limits],
        "limits": limits,
        "cost": cost,
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
