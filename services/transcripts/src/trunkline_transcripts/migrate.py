"""The `trunkline migrate` command: brings the database's tables, coming months, callers' numbers and roles up to date.

Several may run at once, as pods do in a rollout: an advisory lock of Postgres lets one work and the others find
that nothing is left to do. A migration that cannot lock a table soon gives up instead of queueing every query of
the service behind itself.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
from alembic import command as alembic
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline_common import settings
from trunkline_transcripts import caller_key, caller_table, database, months, roles, schema_version
from trunkline_transcripts.caller_key import CallerKeyError
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.settings import DatabaseSettings

CONNECT_WAIT_S: Final = 60
"""How long a Postgres that is starting may take; after that something is wrong with it or with the address."""
CONNECT_RETRY_S: Final = 1

ADVISORY_LOCK: Final = 7_265_786_511
"""Any number that nobody else locks in this database."""
LOCK_TIMEOUT_S: Final = 3
ADVISORY_LOCK_TRIES_MAX: Final = 100
"""Five minutes for another `trunkline migrate` to finish."""

EXIT_FAILED: Final = 1


@click.command(name="migrate")
def command() -> None:
    """Create or update the tables in Postgres, the coming months' partitions, and the roles.

    Reads DATABASE_URL (postgresql+asyncpg://…) and CALLER_HASH_KEY from the environment, or the files that
    DATABASE_URL_FILE and CALLER_HASH_KEY_FILE name.
    Waits up to a minute for Postgres to answer. Running it twice, or several at once, does no harm.
    """
    chosen = settings.load(DatabaseSettings)
    try:
        asyncio.run(migrate(chosen))
    except MigrationError as error:
        _say(str(error), err=True)
        sys.exit(EXIT_FAILED)


class MigrationError(Exception):
    """The tables are not up to date; the text says what a person should do."""


async def migrate(chosen: DatabaseSettings) -> None:
    """Apply every migration that is missing; raise `MigrationError` when that is not possible."""
    address = database.address(chosen.database_url)
    engine = database.connect(chosen.database_url)
    try:
        await _wait_until_reachable(engine, address)
        async with engine.connect() as connection:
            await _lock(connection)
            await _upgrade(connection, address, chosen.caller_hash_key)
    except CallerKeyError as error:
        raise MigrationError(f"{address}: {error}") from error
    except database.ERRORS as error:
        advice = ""
        if database.trouble(error) is Trouble.CONFLICT:
            advice = f": a table was in use for more than {LOCK_TIMEOUT_S} s; run it again"
        raise MigrationError(f"{address}: {database.describe(error)}{advice}") from error
    finally:
        await engine.dispose()


async def _wait_until_reachable(engine: AsyncEngine, address: str) -> None:
    deadline = time.monotonic() + CONNECT_WAIT_S
    told = ""
    while True:
        try:
            async with engine.connect():
                return
        except database.ERRORS as error:
            why = f"cannot use Postgres at {address}: {database.describe(error)}"
            left_s = deadline - time.monotonic()
            if database.trouble(error) is Trouble.ACCESS or left_s <= 0:
                raise MigrationError(why) from error
            if why != told:
                _say(f"{why}; trying again every {CONNECT_RETRY_S} s for {left_s:.0f} s")
                told = why
        await asyncio.sleep(CONNECT_RETRY_S)


async def _lock(connection: AsyncConnection) -> None:
    """Take the lock that lasts as long as the connection."""
    await connection.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT_S}s'"))
    await connection.commit()
    for _ in range(ADVISORY_LOCK_TRIES_MAX):
        try:
            await connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK})
            await connection.commit()
        except database.ERRORS as error:
            if database.trouble(error) is not Trouble.CONFLICT:
                raise
            await connection.rollback()
            _say("another `trunkline migrate` is at work; waiting for it")
        else:
            return
    raise MigrationError("another `trunkline migrate` does not finish; look for it in pg_stat_activity")


async def _upgrade(connection: AsyncConnection, address: str, key_setting: SecretStr | None) -> None:
    began = time.monotonic()
    scripts = Config()
    scripts.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    newest = int(ScriptDirectory.from_config(scripts).get_current_head() or 0)
    version = await schema_version.read(connection)
    await connection.commit()
    if version > newest:
        _say(f"{address} is at migration {version:04}, newer than this program's {newest:04}: nothing to do")
        return
    if version < newest:
        await connection.run_sync(_run_alembic, scripts)
        await connection.commit()
    made = await months.make_ahead(connection)
    news = [f"made {len(made)} partitions, the last of them {made[-1]}"] if made else []
    key, key_news = await caller_key.ensure(connection, key_setting)
    news += key_news
    if moved := await caller_table.move_numbers(connection, key):
        news.append(f"moved the callers' numbers of {moved} calls to the table callers")
    news += await roles.ensure(connection)
    for line in news:
        _say(line)
    if news or version < newest:
        _say(f"{address} is at migration {newest:04} after {time.monotonic() - began:.1f} s")
    else:
        _say(f"{address} is at migration {version:04}: nothing to do")


def _run_alembic(connection: Connection, scripts: Config) -> None:
    scripts.attributes["connection"] = connection
    scripts.attributes["on_version_apply"] = _say_applied
    alembic.upgrade(scripts, "head")


def _say_applied(*, step: Any, **_: Any) -> None:
    _say(f"applied {step.up_revision_id}: {step.up_revision.doc}")


def _say(line: str, err: bool = False) -> None:
    click.echo(f"trunkline migrate: {line}", err=err)
