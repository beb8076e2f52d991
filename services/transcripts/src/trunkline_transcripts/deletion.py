"""Deletes whole calls from every table."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.rows import ROW_TYPES


class CallKey(NamedTuple):
    """Which call."""

    call_started_at: datetime
    call_id: str


async def delete_calls(connection: AsyncConnection, calls: Iterable[CallKey]) -> Counter[str]:
    """Delete the calls in the transaction that is open; return how many rows of each table there were."""
    rows: Counter[str] = Counter()
    for call_started_at, call_id in calls:
        # One after the other: with the start of one call Postgres opens the partitions of one month.
        for table, delete in _DELETE.items():
            result = await connection.execute(delete, {"began": call_started_at, "call_id": call_id})
            assert isinstance(result, CursorResult), "only a select returns another"
            rows[table] += result.rowcount
        letters = await connection.execute(_DELETE_LETTERS, {"subjects": f"ev.v1.{call_id}."})
        assert isinstance(letters, CursorResult), "only a select returns another"
        rows["dead_letters"] += letters.rowcount
    return rows


_DELETE: Final = {
    row_type.table: text(f"""
        delete from {row_type.table}
        where call_started_at = cast(:began as timestamptz) and call_id = cast(:call_id as text)
    """)  # noqa: S608 - the names in it are ours
    for row_type in ROW_TYPES
}
_DELETE_LETTERS: Final = text("delete from dead_letters where starts_with(subject, cast(:subjects as text))")
"""What Postgres or the reader said of an event may quote it."""
