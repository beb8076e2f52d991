"""Writes a batch: one transaction, the same rows however often and in whatever order the events come."""

import asyncio
from collections import Counter
from typing import Final

import msgspec
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncEngine

from trunkline_transcripts import database, statements
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.projection import Rows
from trunkline_transcripts.rows import ROW_TYPES, Row

TRANSACTION_TIMEOUT_S: Final = 10
"""A full batch takes 20 ms; beyond this the server hangs or the link is dead."""

STATEMENTS: Final = {row_type: text(statements.write(row_type)) for row_type in ROW_TYPES}

Written = Counter[type[Row]]
"""Rows that were inserted or changed, by table. The others were there already, or newer."""


class StoreError(Exception):
    """Nothing of the batch was written, or nobody knows; the text may be logged."""

    def __init__(self, trouble: Trouble, description: str) -> None:
        super().__init__(description)
        self.trouble = trouble


class Store:
    """The writing side of the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, rows: Rows) -> Written:
        """Write the rows in one transaction; on return it is committed. Raises `StoreError`."""
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                return await self._transaction(rows)
        except database.ERRORS as error:
            trouble = database.trouble(error)
            if trouble is not Trouble.BAD_DATA:
                # The next attempt connects anew: behind a failover the same address is another server.
                await self._engine.dispose()
            raise StoreError(trouble, database.describe(error)) from error

    async def _transaction(self, rows: Rows) -> Written:
        written: Written = Counter()
        async with self._engine.begin() as connection:
            for row_type in ROW_TYPES:
                if of_table := rows.get(row_type):
                    array = msgspec.json.encode(of_table).decode()
                    result = await connection.execute(STATEMENTS[row_type], {"rows": array})
                    assert isinstance(result, CursorResult), "only a select returns another"
                    written[row_type] = result.rowcount
        return written
