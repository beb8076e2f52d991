"""The `trunkline transcripts erase` command: every trace of a caller, or of one call, is deleted, and it says of what."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import click
from nats.js import JetStreamContext

from trunkline_common import log, settings, subjects
from trunkline_transcripts import administration, database, erasure, schema_version
from trunkline_transcripts.administration import EXIT_CODES, EXIT_FAILED, FailedError
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.erasure import Found, Places
from trunkline_transcripts.settings import DatabaseSettings

_TABLE_NAMED_MAX: Final = 20

_log = log.get(__name__)


@click.command(
    name="erase",
    epilog=f"""{EXIT_CODES}

Example:

  DATABASE_URL=postgresql+asyncpg://trunkline_admin@db/calls trunkline transcripts erase --caller +12025550123
""",
)
@click.option("--caller", "number", help="A caller's number (E.164): all of their calls.")
@click.option("--call", "call_id", help="One call: Twilio's CallSid.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--yes-live", is_flag=True, help="Also calls that are not over: what follows is written anew.")
def command(number: str | None, call_id: str | None, yes: bool, yes_live: bool) -> None:
    """Delete every trace of a caller, or of one call: event log, dead letters, tables.

    Needs the role trunkline_admin (or the tables' owner) in DATABASE_URL. What is gone stays gone; running it again does no
    harm. Backups, archived months and what a service logged or a vendor keeps are not touched: see docs/privacy.md.
    """
    if (number is None) == (call_id is None):
        raise click.UsageError("name either --caller or --call")
    if call_id is not None:
        try:
            subjects.token(call_id)
        except subjects.InvalidTokenError:
            raise click.UsageError("--call is no CallSid") from None
    chosen = settings.load(DatabaseSettings)
    log.configure("transcripts-erase", chosen.log_level)

    async def work(jetstream: JetStreamContext) -> int:
        engine = database.connect(chosen.database_url)
        address = database.address(chosen.database_url)
        try:
            if why := await schema_version.why_not(engine, address):
                raise FailedError(why)
            return await _erase(Places(jetstream, engine), number, call_id, yes=yes, yes_live=yes_live)
        except database.ERRORS as error:
            advice = "; use the role trunkline_admin" if database.trouble(error) is Trouble.ACCESS else ""
            raise FailedError(f"{address}: {database.describe(error)}{advice}") from error
        finally:
            await engine.dispose()

    administration.run("erase", chosen, work)


async def _erase(
    places: Places, number: str | None, call_id: str | None, *, yes: bool, yes_live: bool
) -> int:
    found = (
        await erasure.find_caller(places, number)
        if number is not None
        else [await erasure.find_call(places, call_id or "")]
    )
    live = [call.call_id for call in found if call.is_live]
    if live and not yes_live:
        raise FailedError(
            f"not over yet: {', '.join(live[:_TABLE_NAMED_MAX])}; wait, or say --yes-live and run it again afterwards"
        )
    if found and not yes:
        question = f"Erase {len(found)} call{'s' * (len(found) != 1)} for good?"
        if not await asyncio.to_thread(click.confirm, question):
            return EXIT_FAILED
    erased = await erasure.erase(places, found) if found else Counter[str]()
    _report(found, erased, await erasure.retired_months(places.engine))
    _log.warning(
        "calls-erased", calls=len(found), by="caller" if number is not None else "call", **_numbers(erased)
    )
    return 0


def _report(found: Sequence[Found], erased: Counter[str], retired: Sequence[str]) -> None:
    lines = {"calls": len(found), **erased}
    width = max(map(len, lines))
    for name, count in lines.items():
        click.echo(f"{name:<{width}}  {count:>8}")
    if retired:
        click.echo(f"not looked at, because they were retired: {', '.join(retired)}", err=True)


def _numbers(erased: Counter[str]) -> dict[str, int]:
    rows = sum(count for name, count in erased.items() if name.startswith("rows of "))
    return {"rows": rows, "messages": erased.total() - rows}
