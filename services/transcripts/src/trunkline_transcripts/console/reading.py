"""Reading from Postgres: few connections, read-only, and no statement for longer than a request should take."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import sqlalchemy.exc
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from trunkline_common import log
from trunkline_transcripts import database
from trunkline_transcripts.console import metrics
from trunkline_transcripts.console.problems import RETRY_BUSY_S, RETRY_DATABASE_S, Kind, ProblemError
from trunkline_transcripts.database import Trouble

STATEMENT_TIMEOUT_S: Final = 5
"""Who waits at a page has gone by then."""
EXPORT_STATEMENT_TIMEOUT_S: Final = 60
"""For each stretch of rows, not for the whole export."""
IDLE_TIMEOUT_S: Final = 60
"""A client that takes no more rows of its export lets its connection go after this long."""
CONNECTIONS_MAX: Final = 8
"""Each keeps a core of Postgres busy at the worst."""
EXPORTS_MAX: Final = 2
CONNECTION_WAIT_S: Final = 2

_log = log.get(__name__)


class Reading:
    """The connections of one process: some for pages, few for exports, so that neither waits for the other."""

    def __init__(self, url: SecretStr) -> None:
        self.pages: AsyncEngine = _engine(url, CONNECTIONS_MAX, STATEMENT_TIMEOUT_S)
        self.exports: AsyncEngine = _engine(url, EXPORTS_MAX, EXPORT_STATEMENT_TIMEOUT_S)

    async def close(self) -> None:
        """Close every connection."""
        await self.pages.dispose()
        await self.exports.dispose()


@contextlib.asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Lend a connection in a read-only transaction; raise `ProblemError` for what Postgres cannot do."""
    try:
        async with engine.connect() as connection:
            yield connection
    except sqlalchemy.exc.TimeoutError as error:
        raise ProblemError(Kind.BUSY, "All connections to Postgres are in use.", RETRY_BUSY_S) from error
    except database.ERRORS as error:
        raise problem(error) from error


def problem(error: Exception) -> ProblemError:
    """Count one of `database.ERRORS`, and return what to say of it."""
    kind = database.trouble(error)
    metrics.DATABASE_FAILURES.labels(kind).inc()
    if kind is Trouble.TIMEOUT:
        return ProblemError(Kind.TOO_SLOW, "Narrow it down: by from and to, or by agent.", RETRY_BUSY_S)
    if kind is Trouble.BAD_DATA:
        return ProblemError(Kind.INVALID, "Postgres cannot compare with one of these values.")
    _log.warning("console-database-failed", trouble=kind, why=database.describe(error))
    return ProblemError(Kind.DATABASE_AWAY, "Try again in a moment.", RETRY_DATABASE_S)


def _engine(url: SecretStr, connections_max: int, statement_timeout_s: int) -> AsyncEngine:
    return create_async_engine(
        url.get_secret_value(),
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=CONNECTION_WAIT_S,
        # A connection that Postgres closed meanwhile is noticed before a request is spent on it.
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": database.CONNECT_TIMEOUT_S,
            "server_settings": {
                "application_name": "trunkline-console",
                "default_transaction_read_only": "on",
                "statement_timeout": f"{statement_timeout_s}s",
                "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
                # Compiling takes longer than these queries run.
                "jit": "off",
                # How common a word is decides how to look for it: a plan for any word serves none.
                "plan_cache_mode": "force_custom_plan",
            },
        },
    )
