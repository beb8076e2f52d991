"""Calls that had several owners: marks what a superseded owner wrote, and makes the call's rows anew without it.

An owner is superseded from the place in the event log on at which a later owner (a higher attach, or assign) began. Which
of them arrives here first is chance, so rows are written first as any others, and this comes after their commit: of two
processes that write events of the same call, the one that commits last sees everything. When a process dies in
between, its events are delivered again, and with them comes this.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts import caller_table
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.entry import Stored, reread
from trunkline_transcripts.projection import Rows, project_anew
from trunkline_transcripts.rows import ROW_TYPES, EventRow


class Events(NamedTuple):
    """Events of one call that were just written."""

    call_started_at: datetime
    call_id: str
    numbers: Sequence[tuple[int, int, int]]
    """attach, assign, n of each."""


class Found(NamedTuple):
    """What was to be set right."""

    marked: int
    """Events that were not known to be superseded before."""
    rows: Rows | None
    """The call's rows as they should be, in place of those that were deleted; None: they are right as they are."""


async def calls_with_successors(connection: AsyncConnection, written: Sequence[EventRow]) -> list[Events]:
    """Return those of the calls in a batch that another owner went on with: hardly ever any."""
    calls: dict[tuple[datetime, str], list[tuple[int, int, int]]] = {}
    for row in written:
        calls.setdefault((row.call_started_at, row.call_id), []).append((row.attach, row.assign, row.n))
    began, call_ids = zip(*calls, strict=True)
    found = await connection.execute(_WITH_SUCCESSORS, {"began": list(began), "call_ids": list(call_ids)})
    return [Events(began_at, call_id, calls[began_at, call_id]) for began_at, call_id in found]


async def settle(connection: AsyncConnection, events: Events, caller_key: CallerKey) -> Found:
    """Mark what is superseded, and delete the call's rows where they are to be made anew: in one transaction."""
    call = {"began": events.call_started_at, "call_id": events.call_id}
    await connection.execute(_LOCK, {"call_id": events.call_id})
    # A call that began with a service of the release before is made anew from its events, which may not tell a number.
    await caller_table.move_number_of(connection, caller_key, events.call_started_at, events.call_id)
    marking = await connection.execute(_MARK, call)
    assert isinstance(marking, CursorResult), "only a select returns another"
    attaches, assigns, numbers = map(list, zip(*events.numbers, strict=True))
    wrong = await connection.scalar(
        _IS_WRONG, {**call, "attaches": attaches, "assigns": assigns, "numbers": numbers}
    )
    if not marking.rowcount and not wrong:
        return Found(0, None)
    for delete in _DELETE:
        await connection.execute(delete, call)
    # Only now: whoever wrote one of the deleted rows has committed the event that it came from.
    stored = await connection.execute(_EVENTS, call)
    return Found(marking.rowcount, project_anew(reread(Stored(*row)) for row in stored))


_OF_CALL: Final = "call_started_at = cast(:began as timestamptz) and call_id = cast(:call_id as text)"

_WITH_SUCCESSORS: Final = text("""
    select batch.call_started_at, batch.call_id
    from unnest(cast(:began as timestamptz[]), cast(:call_ids as text[])) as batch (call_started_at, call_id)
    cross join lateral (
        select from owners
        where owners.call_started_at = batch.call_started_at and owners.call_id = batch.call_id
          and (attach, assign) > (1, 1)
        limit 1
    ) as successor
    order by batch.call_started_at, batch.call_id
""")

_LOCK: Final = text("select pg_advisory_xact_lock(hashtextextended(cast(:call_id as text), 0))")

_MARK: Final = text(f"""
    update events
    set superseded = true
    where {_OF_CALL} and not superseded
      and exists (
          select from owners
          where (owners.call_started_at, owners.call_id) = (events.call_started_at, events.call_id)
            and (owners.attach, owners.assign) > (events.attach, events.assign)
            and owners.first_sequence < events.sequence
      )
""")  # noqa: S608 - the text in it is ours

_IS_WRONG: Final = text(f"""
    select
        exists (
            select from events
            join unnest(
                cast(:attaches as integer[]), cast(:assigns as integer[]), cast(:numbers as integer[])
            ) as written (attach, assign, n) using (attach, assign, n)
            where {_OF_CALL} and superseded
        )
        or exists (select from turns where {_OF_CALL} group by item_id having count(*) > 1)
""")  # noqa: S608 - the text in it is ours
"""Events that were delivered again after they were marked told their rows again; so did a turn of two owners."""

_DELETE: Final = [
    text(f"delete from {row_type.table} where {_OF_CALL}")  # noqa: S608 - the texts in it are ours
    for row_type in ROW_TYPES
    if row_type.of_owner_only
]

_EVENTS: Final = text(f"""
    select call_started_at, call_id, attach, assign, n, at, kind, cast(data as text), sequence
    from events
    where {_OF_CALL} and not superseded
""")  # noqa: S608 - the text in it is ours
