"""The `trunkline transcripts retire` command: takes months out of the tables whose calls nobody has to keep."""

import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import date
from typing import Final

import click
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_common import settings
from trunkline_transcripts import database, months, schema_version
from trunkline_transcripts.administration import EXIT_FAILED, FailedError
from trunkline_transcripts.settings import DatabaseSettings


@click.command(
    name="retire",
    epilog="Exit codes: 0 done · 1 a month is kept, or Postgres does not answer · 2 settings",
)
@click.option("--before", required=True, metavar="YYYY-MM", help="Months before this one.")
@click.option("--kept", is_flag=True, help="Also months with calls that are to be kept longer, or for good.")
def command(before: str, kept: bool) -> None:
    """Detach the months before one from all tables: they become tables of their own, to be archived or dropped.

    A month with a call whose keeping is not over is left alone. Needs the role trunkline_admin (or the tables' owner) in
    DATABASE_URL; dropping the detached tables needs their owner.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", before):
        raise click.UsageError("--before must be YYYY-MM")
    chosen = settings.load(DatabaseSettings)
    try:
        code = asyncio.run(_work(chosen, date.fromisoformat(f"{before}-01"), kept=kept))
    except FailedError as error:
        click.echo(f"trunkline transcripts retire: {error}", err=True)
        code = EXIT_FAILED
    sys.exit(code)


async def _work(chosen: DatabaseSettings, before: date, *, kept: bool) -> int:
    engine, address = database.connect(chosen.database_url), database.address(chosen.database_url)
    try:
        if why := await schema_version.why_not(engine, address):
            raise FailedError(why)
        async with engine.connect() as connection:
            return await _retire(connection, before, kept=kept)
    except database.ERRORS as error:
        raise FailedError(f"{address}: {database.describe(error)}") from error
    finally:
        await engine.dispose()


async def _retire(connection: AsyncConnection, before: date, *, kept: bool) -> int:
    left = 0
    found = await connection.scalars(_MONTHS, {"before": before})
    for month in found.all():
        keeping = await connection.scalar(_KEEPING, {"month": month})
        if keeping and not kept:
            left += 1
            click.echo(f"{month:%Y-%m}: left alone, {keeping} calls in it are to be kept: see --kept")
            continue
        detached = await _detach(connection, month)
        click.echo(f"{month:%Y-%m}: detached {', '.join(detached)}")
    return EXIT_FAILED if left else 0


async def _detach(connection: AsyncConnection, month: date) -> Sequence[str]:
    """Detach a month from all tables, in the order in which everybody locks them."""
    detached = []
    await connection.execute(text(f"set local lock_timeout = '{months.LOCK_TIMEOUT_S}s'"))
    for table in months.TABLES:
        if await connection.scalar(_DETACH, {"table": table, "month": month}):
            detached.append(f"{table}_{month:%Y_%m}")
    await connection.commit()
    return detached


_MONTHS: Final = text("""
    select month
    from (
        select distinct to_date(right(part.relname, 7), 'YYYY_MM') as month
        from pg_inherits
        join pg_class as part on part.oid = inhrelid
        join pg_class as parent on parent.oid = inhparent
        where parent.relname in ('calls', 'events') and part.relname ~ '_[0-9]{4}_[0-9]{2}$'
          and parent.relnamespace = current_schema()::regnamespace
    ) as months
    where month < cast(:before as date) and month < date_trunc('month', now() at time zone 'UTC')
    order by month
""")
"""Never the present one."""
_KEEPING: Final = text("""
    select count(*)
    from calls
    where call_started_at >= cast(cast(:month as date) as timestamp) at time zone 'UTC'
      and call_started_at < (cast(:month as date) + interval '1 month') at time zone 'UTC'
      and (keep_until is null or keep_until > now())
""")
_DETACH: Final = text("select detach_month(cast(:table as text), cast(:month as date))")
