"""The `trunkline transcripts dead-letters` commands: look at what could not be stored, and store it after a fix.

A replay writes to Postgres itself, as this version of the program would have, and under the event's old place in the
log. Published once more, the event would come behind a later owner's first and count as superseded; workers and the budget would
read it twice; and within two minutes JetStream would drop it as a duplicate.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import click
from nats.js import JetStreamContext

from trunkline_common import settings
from trunkline_common.call_events import EventError
from trunkline_common.settings import CommonSettings
from trunkline_transcripts import administration, caller_key, database, dead_letters, schema_version
from trunkline_transcripts.administration import EXIT_CODES, EXIT_FAILED, FailedError
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.caller_key import CallerKeyError
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.dead_letters import Letter
from trunkline_transcripts.entry import read
from trunkline_transcripts.projection import project
from trunkline_transcripts.settings import DatabaseSettings
from trunkline_transcripts.store import Store, StoreError

LIST_MAX: Final = 100
SHOW_BYTES_MAX: Final = 4096
"""A screenful or two; events are 256 KiB at most."""


@click.group(name="dead-letters", epilog=EXIT_CODES)
def command() -> None:
    """Events that could not be stored: look at them, store them after a fix, or drop them.

    They hold what people said, and are kept for 90 days.
    """


@command.command(name="list", epilog=EXIT_CODES)
@click.option("--limit", default=LIST_MAX, show_default=True, type=click.IntRange(1), help="Lines at most.")
def list_command(limit: int) -> None:
    """List them, the oldest first: number, when set aside, reason, bytes, subject."""
    chosen = settings.load(CommonSettings)

    async def work(jetstream: JetStreamContext) -> int:
        shown = 0
        async for letter in dead_letters.each(jetstream):
            if shown == limit:
                click.echo(f"there are more than {limit}: see --limit", err=True)
                break
            shown += 1
            when = letter.set_aside_at.isoformat(" ", "seconds")
            size = f"{len(letter.payload)} B"
            click.echo(
                f"{letter.number:>6}  {when}  {letter.reason.word:<10}  {size:>8}  {printable(letter.subject)}"
            )
        if not shown:
            click.echo("there are none", err=True)
        return 0

    administration.run("dead-letters", chosen, work)


@command.command(epilog=EXIT_CODES)
@click.argument("number", type=click.IntRange(1))
@click.option(
    "--bytes",
    "bytes_max",
    default=SHOW_BYTES_MAX,
    show_default=True,
    type=click.IntRange(1),
    help="How much of the event is shown at most.",
)
def show(number: int, bytes_max: int) -> None:
    r"""Show one as it came; what is no printable text is escaped, as \x1b."""
    chosen = settings.load(CommonSettings)

    async def work(jetstream: JetStreamContext) -> int:
        letter = await dead_letters.find(jetstream, number)
        if letter is None:
            raise FailedError(f"there is no dead letter {number}")
        click.echo(f"set aside  {letter.set_aside_at.isoformat(' ', 'seconds')}")
        click.echo(f"reason     {printable(letter.reason.word)}: {printable(letter.reason.why)}")
        click.echo(f"subject    {printable(letter.subject)}")
        click.echo(f"log        {letter.event_sequence}")
        click.echo(f"bytes      {len(letter.payload)}")
        click.echo()
        click.echo(printable(letter.payload[:bytes_max].decode(errors="backslashreplace")))
        if len(letter.payload) > bytes_max:
            click.echo(f"… and {len(letter.payload) - bytes_max} bytes more: see --bytes", err=True)
        return 0

    administration.run("dead-letters", chosen, work)


@command.command(epilog=EXIT_CODES)
@click.argument("numbers", nargs=-1, type=click.IntRange(1))
@click.option("--all", "every", is_flag=True, help="All there are.")
def replay(numbers: tuple[int, ...], every: bool) -> None:
    """Store them, and take those that were stored out of the dead letters.

    Run it with the version that has the fix. One that is there already does no harm.
    """
    _one_of(numbers, every)
    chosen = settings.load(DatabaseSettings)

    async def work(jetstream: JetStreamContext) -> int:
        async with _store(chosen) as (store, key):
            stored = refused = 0
            async for letter in _chosen(jetstream, numbers):
                if why := await _replay(store, key, letter):
                    refused += 1
                    click.echo(f"{letter.number}: refused again: {printable(why)}")
                    continue
                await store.settle_dead_letter(letter.event_sequence, "stored")
                await dead_letters.delete(jetstream, letter.number)
                stored += 1
        click.echo(f"stored {stored}, refused again {refused}")
        return EXIT_FAILED if refused else 0

    administration.run("dead-letters", chosen, work)


@command.command(epilog=EXIT_CODES)
@click.argument("numbers", nargs=-1, type=click.IntRange(1))
@click.option("--all", "every", is_flag=True, help="All there are.")
@click.option("--yes", is_flag=True, help="Do not ask whether --all is meant.")
def drop(numbers: tuple[int, ...], every: bool, yes: bool) -> None:
    """Delete them for good; that they were there stays in the table dead_letters."""
    _one_of(numbers, every)
    chosen = settings.load(DatabaseSettings)
    if every and not yes:
        click.confirm("Delete all dead letters for good?", abort=True)

    async def work(jetstream: JetStreamContext) -> int:
        dropped = 0
        async with _store(chosen) as (store, _):
            async for letter in _chosen(jetstream, numbers):
                await store.settle_dead_letter(letter.event_sequence, "dropped")
                await dead_letters.delete(jetstream, letter.number)
                dropped += 1
        click.echo(f"dropped {dropped}")
        return 0

    administration.run("dead-letters", chosen, work)


def printable(text: str) -> str:
    r"""Return the text on one line, free of what a terminal would obey: ESC becomes \x1b, a line's end \n."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


async def _replay(store: Store, key: CallerKey, letter: Letter) -> str | None:
    """Return why it cannot be stored now either, or None when it is."""
    if not letter.event_sequence:
        return "the letter does not tell its place in the log"
    try:
        entry = read(letter.payload, letter.event_sequence, key)
    except EventError as error:
        return str(error)
    try:
        await store.write(project([entry]))
    except StoreError as error:
        if error.trouble is Trouble.BAD_DATA:
            return str(error)
        raise
    return None


async def _chosen(jetstream: JetStreamContext, numbers: tuple[int, ...]) -> AsyncIterator[Letter]:
    """Yield the letters with these numbers; without one, all that there are now."""
    if not numbers:
        async for letter in dead_letters.each(jetstream):
            yield letter
    for number in numbers:
        letter_or_none = await dead_letters.find(jetstream, number)
        if letter_or_none is None:
            raise FailedError(f"there is no dead letter {number}")
        yield letter_or_none


@contextlib.asynccontextmanager
async def _store(chosen: DatabaseSettings) -> AsyncIterator[tuple[Store, CallerKey]]:
    engine = database.connect(chosen.database_url)
    address = database.address(chosen.database_url)
    try:
        if why := await schema_version.why_not(engine, address):
            raise FailedError(why)
        async with engine.connect() as connection:
            key = await caller_key.load(connection, chosen.caller_hash_key)
        yield Store(engine, key), key
    except CallerKeyError as error:
        raise FailedError(f"{address}: {error}") from error
    except StoreError as error:
        raise FailedError(f"{address}: {error}") from error
    finally:
        await engine.dispose()


def _one_of(numbers: tuple[int, ...], every: bool) -> None:
    if bool(numbers) == every:
        raise click.UsageError("name the numbers, or --all")
