"""Writes a batch: one transaction, the same rows however often and in whatever order the events come."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline_common import log
from trunkline_transcripts import database, dead_letter_table, metrics, statements, superseded
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.dead_letters import Reason
from trunkline_transcripts.projection import Rows
from trunkline_transcripts.rows import ROW_TYPES, EventRow, Row

TRANSACTION_TIMEOUT_S: Final = 10
"""A full batch takes 20 ms; beyond this the server hangs or the link is dead."""

STATEMENTS: Final = {row_type: text(statements.write(row_type)) for row_type in ROW_TYPES}

Written = Counter[type[Row]]
"""Rows that were inserted or changed, by table. The others were there already, or newer."""

_log = log.get(__name__)


class StoreError(Exception):
    """Nothing of the batch was written, or nobody knows; the text may be logged."""

    def __init__(self, trouble: Trouble, description: str) -> None:
        super().__init__(description)
        self.trouble = trouble


class Store:
    """The writing side of the database."""

    def __init__(self, engine: AsyncEngine, caller_key: CallerKey) -> None:
        self._engine = engine
        self._caller_key = caller_key

    async def write(self, rows: Rows) -> Written:
        """Write the rows in one transaction; on return it is committed. Raises `StoreError`.

        Calls that another owner went on with are set right in transactions of their own, see `superseded`.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                async with self._engine.begin() as connection:
                    written = await _write(connection, rows)
                succeeded = await self._calls_with_successors(rows)
            for events in succeeded:
                async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                    await self._settle(events)
        except database.ERRORS as error:
            raise await self._trouble(error) from error
        return written

    async def note_dead_letter(
        self, event_sequence: int, subject: str, reason: Reason, size_bytes: int
    ) -> None:
        """Keep a row of an event that cannot be stored, the same however often. Raises `StoreError`."""
        await self._execute(
            dead_letter_table.NOTE,
            {
                "event_sequence": event_sequence,
                "subject": subject,
                "reason": reason.word,
                "why": reason.why,
                "size_bytes": size_bytes,
            },
        )

    async def settle_dead_letter(self, event_sequence: int, settled: str) -> None:
        """Note what became of it: `stored` or `dropped`. Raises `StoreError`."""
        await self._execute(dead_letter_table.SETTLE, {"event_sequence": event_sequence, "settled": settled})

    async def _execute(self, statement: TextClause, parameters: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S), self._engine.begin() as connection:
                await connection.execute(statement, parameters)
        except database.ERRORS as error:
            raise await self._trouble(error) from error

    async def _trouble(self, error: Exception) -> StoreError:
        trouble = database.trouble(error)
        if trouble is not Trouble.BAD_DATA:
            # The next attempt connects anew: behind a failover the same address is another server.
            await self._engine.dispose()
        return StoreError(trouble, database.describe(error))

    async def _calls_with_successors(self, rows: Rows) -> list[superseded.Events]:
        written = cast(Sequence[EventRow], rows.get(EventRow, ()))
        if not written:
            return []
        async with self._engine.connect() as connection:
            # One round trip instead of three: what was committed is there for any statement.
            at_once = await connection.execution_options(isolation_level="AUTOCOMMIT")
            return await superseded.calls_with_successors(at_once, written)

    async def _settle(self, events: superseded.Events) -> None:
        async with self._engine.begin() as connection:
            found = await superseded.settle(connection, events, self._caller_key)
            if found.rows is not None:
                await _write(connection, found.rows)
        if found.rows is not None:
            metrics.CALLS_REBUILT.inc()
        if found.marked:
            metrics.EVENTS_SUPERSEDED.inc(found.marked)
            _log.warning("events-superseded", call_id=events.call_id, events=found.marked)


async def _write(connection: AsyncConnection, rows: Rows) -> Written:
    written: Written = Counter()
    for row_type in ROW_TYPES:
        if of_table := rows.get(row_type):
            array = msgspec.json.encode(of_table).decode()
            result = await connection.execute(STATEMENTS[row_type], {"rows": array})
            assert isinstance(result, CursorResult), "only a select returns another"
            written[row_type] = result.rowcount
    return written
