"""Deletes the calls whose agent profile keeps them no longer, and moves numbers that an older release wrote.

Every process does this for itself, without a leader: rows that another one is deleting are left to it.
"""

import asyncio
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_common import log
from trunkline_transcripts import caller_table, database, metrics
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.deletion import CallKey, delete_calls

INTERVAL_S: Final = 600
"""Days are kept to within ten minutes."""
RETRY_S: Final = 60
RUN_TIMEOUT_S: Final = 300
"""A hundred thousand calls, a busy day, in the time of one look; what is left is deleted in the next."""
BATCH_CALLS_MAX: Final = 50
"""Calls in one transaction: a few thousand rows, so that nobody waits for their locks."""

_log = log.get(__name__)


async def delete_expired(connection: AsyncConnection) -> int:
    """Delete the calls whose time is over, by the database's clock, batch after batch; return how many there were; commits."""
    deleted = 0
    while True:
        found = await connection.execute(_EXPIRED, {"limit": BATCH_CALLS_MAX})
        calls = [CallKey(*row) for row in found]
        await delete_calls(connection, calls)
        await connection.commit()
        deleted += len(calls)
        metrics.CALLS_EXPIRED.inc(len(calls))
        if len(calls) < BATCH_CALLS_MAX:
            return deleted


async def keep_to(url: SecretStr, key: CallerKey) -> None:
    """Do both, now and every ten minutes, until cancelled. Failures are told and tried again in a minute."""
    while True:
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                await _look(url, key)
        except database.ERRORS as error:
            metrics.RETENTION_FAILURES.inc()
            _log.warning("retention-failed", why=database.describe(error), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(INTERVAL_S)


async def _look(url: SecretStr, key: CallerKey) -> None:
    # A connection of its own: the store's only one must not wait for this.
    engine = database.connect(url)
    try:
        async with engine.connect() as connection:
            moved = await caller_table.move_numbers(connection, key)
            deleted = await delete_expired(connection)
    finally:
        await engine.dispose()
    metrics.CALLERS_MOVED.inc(moved)
    if moved:
        _log.info("callers-moved", calls=moved)
    if deleted:
        _log.info("calls-expired", calls=deleted)


_EXPIRED: Final = text("""
    select call_started_at, call_id
    from calls
    where keep_until < now()
    order by keep_until
    limit :limit
    for update skip locked
""")
