"""How a `trunkline transcripts` process catches up when Postgres was away for a while.

    python bench/catch_up.py --away 30 --rate 500

Writes events at a steady rate all the time, stops Postgres, starts it again, and asks the service's own log how many
events it then stored, how long that took and how fast that was. At the end every event has its row.
"""

import asyncio
import contextlib
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg
import click
import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from bench.store_rate import PUBLISH_WINDOW_EVENTS, call_log, publish, wait_until_left
from trunkline_common import subjects
from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline

STEADY_S: Final = 3
"""Before the outage: events are stored as they come."""
CATCH_UP_LIMIT_S: Final = 300


@click.command()
@click.option("--away", "away_s", default=30.0, show_default=True, help="Seconds without Postgres.")
@click.option("--rate", "events_per_s", default=500, show_default=True, help="Events written a second.")
def command(away_s: float, events_per_s: int) -> None:
    """Measure how fast the store catches up after an outage of Postgres."""
    asyncio.run(_measure(away_s, events_per_s))


async def _measure(away_s: float, events_per_s: int) -> None:
    async with contextlib.AsyncExitStack() as at_the_end:
        folder = Path(at_the_end.enter_context(tempfile.TemporaryDirectory()))
        nats_server = await at_the_end.enter_async_context(NatsServer.start(folder / "nats"))
        postgres = await at_the_end.enter_async_context(PostgresServer.start(folder / "postgres"))
        client = await nats.connect(nats_server.url)
        at_the_end.push_async_callback(client.close)
        port = free_port()
        environment = {
            "NATS_URL": nats_server.url,
            "DATABASE_URL": postgres.url,
            "METRICS_PORT": str(port),
        }
        async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
            await migrate.exited()
        jetstream = client.jetstream(publish_async_max_pending=PUBLISH_WINDOW_EVENTS)
        await jetstream.add_stream(StreamConfig(name=subjects.EVENT_STREAM, subjects=[subjects.EVERY_EVENT]))

        async with Process.start("transcripts", trunkline("transcripts"), folder, environment) as service:
            await service.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
            enough = asyncio.Event()
            writer = asyncio.create_task(_write(jetstream, events_per_s, enough))
            await asyncio.sleep(STEADY_S)
            await postgres.stop()
            await asyncio.sleep(away_s)
            await postgres.restart()
            await service.wait_for_line('"store-caught-up"', CATCH_UP_LIMIT_S)
            enough.set()
            await writer
            await jetstream.publish_async_completed()
            await wait_until_left(jetstream, 0)
        told = json.loads(_lines_with(service.log_path.read_text(), "store-caught-up")[0])
        click.echo(
            f"away {told['away_s']:.1f} s, then {told['events']:,} events in {told['took_s']:.1f} s: "
            f"{told['events_per_s']:,} events/s while {events_per_s} a second came in"
        )
        written = (await jetstream.stream_info(subjects.EVENT_STREAM)).state.messages
        click.echo(f"{written:,} events written, {await _rows(postgres.url):,} rows of events")


async def _write(jetstream: JetStreamContext, events_per_s: int, enough: asyncio.Event) -> None:
    began_at, written = time.monotonic(), 0
    for number in itertools.count():
        for envelope in call_log(number):
            await publish(jetstream, envelope)
            written += 1
        if enough.is_set():
            return
        await asyncio.sleep(max(began_at + written / events_per_s - time.monotonic(), 0))


async def _rows(database_url: str) -> int:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        return int(await connection.fetchval("select count(*) from events"))
    finally:
        await connection.close()


def _lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


if __name__ == "__main__":
    command()
