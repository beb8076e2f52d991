"""The `trunkline transcripts` command: builds the parts in order and runs them until told to stop."""

import asyncio
import contextlib
from functools import partial
from typing import Final

import click

from trunkline_common import service, settings
from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_transcripts import (
    audit,
    caller_key,
    database,
    dead_letters_command,
    erase_command,
    months,
    retention,
    retire_command,
    schema_version,
    vocabulary,
)
from trunkline_transcripts.consumer import Consumer
from trunkline_transcripts.event_log_size import keep_observed
from trunkline_transcripts.settings import TranscriptsSettings
from trunkline_transcripts.store import TRANSACTION_TIMEOUT_S, Store

DRAIN_DEADLINE_S: Final = 2 * TRANSACTION_TIMEOUT_S
"""The batch in hand needs one transaction; with Postgres gone it is handed back at the first failure."""


@click.group(
    name="transcripts",
    invoke_without_command=True,
    epilog=f"""{settings.variables(TranscriptsSettings)}

Example:

  NATS_URL=nats://127.0.0.1:4222 DATABASE_URL_FILE=/run/secrets/database trunkline transcripts
""",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Store every call's event log in Postgres: without a command, this runs the service.

    Run `trunkline migrate` first.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = settings.load(TranscriptsSettings)
    service.run(
        "transcripts",
        partial(_body, chosen),
        host=chosen.host,
        port=chosen.metrics_port,
        log_level=chosen.log_level,
        drain_deadline_s=DRAIN_DEADLINE_S,
    )


command.add_command(dead_letters_command.command)
command.add_command(erase_command.command)
command.add_command(retire_command.command)


async def _body(chosen: TranscriptsSettings, life: Life) -> None:
    async with contextlib.AsyncExitStack() as at_the_end:
        engine = database.connect(chosen.database_url)
        at_the_end.push_async_callback(engine.dispose)
        address = database.address(chosen.database_url)
        bus = await Bus.connect(chosen, life)
        at_the_end.push_async_callback(bus.close)
        consumer = Consumer(bus, address, life, chosen)
        await consumer.subscribe()
        await schema_version.wait(engine, address, life)
        key = await caller_key.wait(engine, chosen.caller_hash_key, life)
        life.started()
        async with asyncio.TaskGroup() as tasks:
            upkeep = [
                tasks.create_task(keep_observed(bus.jetstream)),
                tasks.create_task(months.keep_ahead(chosen.database_url)),
                tasks.create_task(vocabulary.keep_learned(chosen.database_url)),
                tasks.create_task(
                    audit.keep_watch(
                        chosen.database_url, chosen.calls_lost_after_s, lambda: consumer.is_caught_up
                    )
                ),
                tasks.create_task(retention.keep_to(chosen.database_url, key)),
            ]
            await consumer.run(Store(engine, key), key)
            for task in upkeep:
                task.cancel()
