"""The statements for a day's figures: calls by how they ended, minutes, latency, costs.

A day is asked for by itself: what one statement reads stays small however many calls there are, and days that are over
can be remembered (`days`).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Double, Select, Table, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.console.day import UNDECIDED, Day
from trunkline_transcripts.console.filters import of_the_call
from trunkline_transcripts.tables import calls, transcription_usage, turns, usage


async def day(connection: AsyncConnection, which: date, agent: str | None) -> Day:
    """Return the figures of a day, of all agents or one."""
    ended = await connection.execute(_by_outcome(which, agent))
    outcomes: dict[str, int] = {}
    talked_ms = interruptions = 0
    for row in ended:
        outcomes[row.outcome] = row.calls
        talked_ms += int(row.talked_ms)
        interruptions += int(row.interruptions)
    if not outcomes:
        return Day(which, {}, 0, 0, None, None, 0, 0, 0)
    response = (await connection.execute(_latency(which, agent))).one()
    spent = (await connection.execute(_spent(usage, which, agent))).one()
    written = (await connection.execute(_spent(transcription_usage, which, agent))).one()
    p50_ms, p95_ms = response.percentiles or (None, None)
    return Day(
        which,
        outcomes,
        talked_ms,
        interruptions,
        p50_ms,
        p95_ms,
        float(spent.usd + written.usd),
        int(spent.tokens + written.tokens),
        spent.unpriced + written.unpriced,
    )


def _by_outcome(which: date, agent: str | None) -> Select[Any]:
    outcome = func.coalesce(calls.c.outcome, UNDECIDED).label("outcome")
    return (
        select(
            outcome,
            func.count().label("calls"),
            func.coalesce(func.sum(calls.c.duration_ms), 0).label("talked_ms"),
            func.coalesce(func.sum(calls.c.interruptions), 0).label("interruptions"),
        )
        .where(*_within(calls, which), *_by(agent))
        .group_by(outcome)
    )


def _latency(which: date, agent: str | None) -> Select[Any]:
    both = func.percentile_cont(literal([0.5, 0.95], ARRAY(Double))).within_group(turns.c.response_ms)
    return _of_agent(select(both.label("percentiles")), turns, agent).where(
        *_within(turns, which), turns.c.response_ms.is_not(None)
    )


def _spent(table: Table, which: date, agent: str | None) -> Select[Any]:
    tokens = func.coalesce(table.c.input_tokens, 0) + func.coalesce(table.c.output_tokens, 0)
    statement = select(
        func.coalesce(func.sum(table.c.cost_usd), 0).label("usd"),
        func.coalesce(func.sum(tokens), 0).label("tokens"),
        func.count().filter(table.c.cost_usd.is_(None)).label("unpriced"),
    )
    return _of_agent(statement, table, agent).where(*_within(table, which))


def _of_agent(statement: Select[Any], table: Table, agent: str | None) -> Select[Any]:
    if agent is None:
        return statement.select_from(table)
    return statement.select_from(table.join(calls, of_the_call(table, calls))).where(*_by(agent))


def _by(agent: str | None) -> list[ColumnElement[bool]]:
    return [] if agent is None else [calls.c.agent == agent]


def _within(table: Table, which: date) -> list[ColumnElement[bool]]:
    begins = datetime(which.year, which.month, which.day, tzinfo=UTC)
    column = table.c.call_started_at
    return [column >= begins, column < begins + timedelta(days=1)]
