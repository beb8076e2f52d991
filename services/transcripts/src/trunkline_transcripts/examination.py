"""What `trunkline doctor` looks at for the transcripts service: settings, Postgres, the consumer of the event log."""

import asyncio
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_common import subjects
from trunkline_common.doctor import Options, Sheet
from trunkline_common.nats_probe import NatsProbe, RefusedError, UnreachedError
from trunkline_transcripts import database, months, roles, schema_version
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.settings import TranscriptsSettings

POSTGRES_S_MAX: Final = 20.0

OLDEST_POSTGRES: Final = 14
"""The oldest one that its makers still mend."""

BACKLOG_WARNING: Final = 10_000
"""Events that wait to be stored: half a second's work for a healthy service, so it is none."""

RIGHTS: Final = ("select", "insert", "update")


async def examine(sheet: Sheet, options: Options) -> None:
    """Look at the database and at what waits to be stored."""
    del options  # both are inside
    chosen = sheet.settings(TranscriptsSettings)
    if chosen is None:
        sheet.not_checked("Postgres", "the settings above are wrong")
        return
    engine = database.connect(chosen.database_url)
    address = database.address(chosen.database_url)
    try:
        async with asyncio.timeout(POSTGRES_S_MAX), engine.connect() as connection:
            await _look_at_server(sheet, connection, address)
            if await _look_at_tables(sheet, connection, address):
                await _look_at_rights(sheet, connection)
                await _look_at_months(sheet, connection)
                await _look_at_analyst(sheet, connection)
    except database.ERRORS as error:
        is_access = database.trouble(error) is Trouble.ACCESS
        fix = (
            "check user, password and database in DATABASE_URL"
            if is_access
            else "check DATABASE_URL and the way"
        )
        sheet.wrong("Postgres", f"{address}: {database.describe(error)}", fix)
    finally:
        await engine.dispose()
    await _look_at_consumer(sheet, chosen)


async def _look_at_server(sheet: Sheet, connection: AsyncConnection, address: str) -> None:
    asked_at = time.time()
    row = (await connection.execute(_SERVER)).one()
    version, is_replica, is_superuser, at, isolation = row
    answered_at = time.time()
    major = int(version) // 10_000
    if major < OLDEST_POSTGRES:
        sheet.wrong("Postgres", f"{address}: version {major}", f"upgrade it to {OLDEST_POSTGRES} or newer")
    elif is_replica:
        sheet.wrong(
            "Postgres", f"{address}: a replica, which cannot be written", "point DATABASE_URL at the primary"
        )
    elif isolation == "on":
        detail = f"{address}: this user's transactions are read-only"
        sheet.wrong("Postgres", detail, "set DATABASE_URL of the user that writes")
    else:
        sheet.ok("Postgres", f"{address}: version {major}")
    if is_superuser:
        detail = "DATABASE_URL signs in as a superuser"
        sheet.warning("role", detail, "give the service a role that may select, insert and update, no more")
    sheet.clock("Postgres", float(at) - (asked_at + answered_at) / 2)


async def _look_at_tables(sheet: Sheet, connection: AsyncConnection, address: str) -> bool:
    version = await schema_version.read(connection)
    if version >= schema_version.NEEDED:
        sheet.ok("tables", f"at migration {version:04}, {schema_version.NEEDED:04} is needed")
        return True
    have = f"is at migration {version:04}" if version else "has no tables yet"
    detail = f"the database {address} {have}, this version needs {schema_version.NEEDED:04}"
    sheet.wrong("tables", detail, "run `trunkline migrate`")
    return False


async def _look_at_rights(sheet: Sheet, connection: AsyncConnection) -> None:
    missing = (
        await connection.execute(_MISSING_RIGHTS, {"tables": list(roles.TABLES), "rights": list(RIGHTS)})
    ).all()
    if missing:
        detail = "may not " + "; ".join(f"{right} {table}" for table, right in missing)
        sheet.wrong("role", detail, "as the owner: grant select, insert, update on all tables to this role")
    else:
        sheet.ok("role", f"may {', '.join(RIGHTS)} in {len(roles.TABLES)} tables")


async def _look_at_months(sheet: Sheet, connection: AsyncConnection) -> None:
    missing = (await connection.scalars(_MISSING_MONTHS, {"tables": list(months.TABLES)})).all()
    if missing:
        detail = f"no partition for {', '.join(missing)}: rows go into the default ones"
        sheet.warning("months", detail, "run `trunkline migrate` as the owner of the tables")
    else:
        sheet.ok("months", "this one and the next have their partitions")


async def _look_at_analyst(sheet: Sheet, connection: AsyncConnection) -> None:
    if await connection.scalar(_ROLE_EXISTS, {"role": roles.ANALYST}):
        sheet.ok("analysts", f"the role {roles.ANALYST} exists")
    else:
        detail = f"the role {roles.ANALYST} does not exist"
        sheet.warning("analysts", detail, "docs/analysts.md says how to make it by hand")


async def _look_at_consumer(sheet: Sheet, chosen: TranscriptsSettings) -> None:
    name = f"{subjects.EVENT_STREAM}.{subjects.STORE_CONSUMER}"
    for server in chosen.nats_url.split(","):
        try:
            async with NatsProbe.connected(chosen, server) as probe:
                told = await probe.jetstream(f"CONSUMER.INFO.{name}")
        except UnreachedError:
            continue
        except RefusedError as error:
            if "not found" in str(error):
                sheet.warning(
                    "consumer", "does not exist yet", "nothing to do before transcripts' first start"
                )
            else:
                sheet.wrong("consumer", str(error), f"let this NATS user ask $JS.API.CONSUMER.INFO.{name}")
            return
        waiting = int(told.get("num_pending", 0)) + int(told.get("num_ack_pending", 0))
        if waiting > BACKLOG_WARNING:
            fix = "see whether `trunkline transcripts` is ready, and why not (/readyz)"
            sheet.warning("consumer", f"{waiting} events wait to be stored", fix)
        else:
            sheet.ok("consumer", f"{waiting} events wait to be stored")
        return
    sheet.not_checked("consumer", "no NATS server was reached")


_SERVER: Final = text("""
    select current_setting('server_version_num'), pg_is_in_recovery(),
           (select rolsuper from pg_roles where rolname = current_user),
           extract(epoch from clock_timestamp()), current_setting('default_transaction_read_only')
""")
_MISSING_RIGHTS: Final = text("""
    select name, wanted
    from unnest(cast(:tables as text[])) as name, unnest(cast(:rights as text[])) as wanted
    where not has_table_privilege(current_user, name, wanted)
    order by name, wanted
""")
_MISSING_MONTHS: Final = text("""
    select partition
    from unnest(cast(:tables as text[])) as name,
         generate_series(0, 1) as ahead,
         lateral (
             select name || to_char(now() at time zone 'UTC' + make_interval(months => ahead), '_YYYY_MM')
         ) as of_month(partition)
    where to_regclass(partition) is null
    order by partition
""")
_ROLE_EXISTS: Final = text("select exists (select from pg_roles where rolname = :role)")
