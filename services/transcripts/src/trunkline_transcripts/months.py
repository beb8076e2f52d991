"""The monthly partitions: made ahead of time, and a look at what fell into the net below them.

Every process does this for itself, once a day and without a leader: `make_month` (migration 0001) takes a lock of
its own, and whoever comes second finds the month made. While the partitions are missing, rows are stored all the
same, in the default partitions; so nothing here makes the service unready.
"""

import asyncio
from typing import Final

from pydantic import SecretStr
from sqlalchemy import func, literal, select, text
from sqlalchemy import table as sql_table
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_common import log
from trunkline_transcripts import database, metrics
from trunkline_transcripts.rows import ROW_TYPES

TABLES: Final = tuple(row_type.table for row_type in ROW_TYPES)
"""Every table that is split by month."""
MONTHS_AHEAD: Final = 3
"""Whoever sees the first warning has a quarter of a year to act on it."""
LOCK_TIMEOUT_S: Final = 3
"""A new month locks the default partition, and who waits for a lock makes all others wait behind."""
STRAY_ROWS_COUNTED_MAX: Final = 100_000
"""Beyond this the exact number is no news."""

INTERVAL_S: Final = 24 * 3600
RETRY_S: Final = 3600
RUN_TIMEOUT_S: Final = 120
"""Making every month of every table takes half a second; waiting for its locks may take `LOCK_TIMEOUT_S` each."""

_log = log.get(__name__)


async def make_ahead(connection: AsyncConnection) -> list[str]:
    """Make the missing partitions of this month (by the database's clock, in UTC) and the next; return their names.

    Each is a transaction of its own, so that no lock is held while another one is awaited.
    """
    made = []
    for ahead in range(MONTHS_AHEAD + 1):
        for table in TABLES:
            await connection.execute(text(f"set local lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            result = await connection.execute(_MAKE_MONTH, {"table": table, "ahead": ahead})
            partition, is_new = result.one()
            await connection.commit()
            if is_new:
                made.append(partition)
    return made


async def stray_rows(connection: AsyncConnection) -> dict[str, int]:
    """Return for each table how many rows lie in its default partition, counted up to a limit."""
    counts = {}
    for table in TABLES:
        some = select(literal(1)).select_from(sql_table(f"{table}_default")).limit(STRAY_ROWS_COUNTED_MAX)
        counts[table] = await connection.scalar(select(func.count()).select_from(some.subquery())) or 0
    await connection.commit()
    return counts


async def keep_ahead(url: SecretStr) -> None:
    """Do both, now and once a day, until cancelled. Failures are told and tried again in an hour."""
    while True:
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                await _run(url)
        except database.ERRORS as error:
            metrics.MONTHS_FAILURES.inc()
            _log.warning("months-not-made", why=database.describe(error), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(INTERVAL_S)


async def _run(url: SecretStr) -> None:
    # A connection of its own: the store's only one must not wait for a lock.
    engine = database.connect(url)
    try:
        async with engine.connect() as connection:
            made = await make_ahead(connection)
            strays = await stray_rows(connection)
    finally:
        await engine.dispose()
    if made:
        _log.info("months-made", partitions=made)
    for table, rows in strays.items():
        metrics.STRAY_ROWS.labels(table).set(rows)
        if rows:
            _log.warning("rows-without-month", table=f"{table}_default", rows=rows)


_MAKE_MONTH: Final = text("""
    select
        cast(:table as text) || to_char(month, '_YYYY_MM'),
        make_month(cast(:table as text), cast(month as date))
    from (select now() at time zone 'UTC' + make_interval(months => cast(:ahead as integer)) as month) as ahead
""")
