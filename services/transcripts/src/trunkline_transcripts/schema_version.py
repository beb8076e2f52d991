"""Whether the database has the tables that this version needs.

Migrations are numbered 0001, 0002, …; they expand in one release and contract in a later one, so a newer database
serves an older service, never the other way round. Until the database is there and new enough, the service runs,
is not ready, and says why.
"""

import asyncio
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline_common import log
from trunkline_common.service import Life
from trunkline_transcripts import database

NEEDED: Final = 8
"""The first migration that this version can work with."""

CHECK_INTERVAL_S: Final = 1
CHECK_TIMEOUT_S: Final = 10

_log = log.get(__name__)


async def read(connection: AsyncConnection) -> int:
    """Return the number of the last migration that was applied; 0 when there was none."""
    table = await connection.scalar(text("select to_regclass('alembic_version')"))
    if table is None:
        return 0
    version = await connection.scalar(text("select max(version_num) from alembic_version"))
    return int(version or 0)


async def wait(engine: AsyncEngine, address: str, life: Life) -> None:
    """Return once the database is new enough; meanwhile `life` tells why the service is not ready."""
    told = ""
    while why := await why_not(engine, address):
        life.waiting("postgres", why)
        if why != told:
            _log.warning("store-waiting", why=why, retry_s=CHECK_INTERVAL_S)
            told = why
        await asyncio.sleep(CHECK_INTERVAL_S)
    life.resolved("postgres")


async def why_not(engine: AsyncEngine, address: str) -> str | None:
    """Return why this version cannot work with the database now, and what a person should do; None: it can."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S), engine.connect() as connection:
            version = await read(connection)
    except database.ERRORS as error:
        await engine.dispose()
        return (
            f"cannot use Postgres at {address}: {database.describe(error)}; "
            f"trying again every {CHECK_INTERVAL_S} s"
        )
    if version < NEEDED:
        have = f"is at migration {version:04}" if version else "has no tables yet"
        return f"the database {address} {have}, this version needs {NEEDED:04}: run `trunkline migrate`"
    return None
