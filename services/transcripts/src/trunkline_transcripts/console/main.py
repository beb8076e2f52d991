"""The `trunkline console` command: builds the parts in order and serves them until told to stop."""

import asyncio
import contextlib
from functools import partial
from typing import Any, Final

import click

from trunkline_common import log, service, settings
from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_transcripts import database, schema_version
from trunkline_transcripts.console import app
from trunkline_transcripts.console.live import LiveCalls
from trunkline_transcripts.console.reading import Reading
from trunkline_transcripts.console.settings import ConsoleSettings

DRAIN_DEADLINE_S: Final = 5
"""Listeners are sent away at once; pages are quick, and an export begins again where it was cut."""

HTTP_OPTIONS: Final[dict[str, Any]] = {
    "http": "h11",
    "h11_max_incomplete_event_size": 16 * 1024,
    "timeout_keep_alive": 30,
    "server_header": False,
    "proxy_headers": False,
}

_log = log.get(__name__)


@click.command(
    name="console",
    epilog=f"""{settings.variables(ConsoleSettings)}

Example:

  DATABASE_URL_FILE=/run/secrets/database CONSOLE_API_KEYS_FILE=/run/secrets/console-keys HOST=0.0.0.0 trunkline console
""",
)
def command() -> None:
    """Serve the transcripts for reading, under /v1: list, search, one call, export, live."""
    chosen = settings.load(ConsoleSettings)
    # Built here, so that the port is open, and says why it cannot answer, before Postgres is reached.
    reading = Reading(chosen.database_url)
    live = LiveCalls(chosen.console_listeners_max)
    application = app.build(chosen, reading, live)
    service.run(
        "console",
        partial(_body, chosen, reading, live),
        host=chosen.host,
        port=chosen.port,
        log_level=chosen.log_level,
        drain_deadline_s=DRAIN_DEADLINE_S,
        app=app.guarded(application),
        http_options=HTTP_OPTIONS,
    )


async def _body(chosen: ConsoleSettings, reading: Reading, live: LiveCalls, life: Life) -> None:
    if not chosen.api_keys:
        _log.warning(
            "keys-unchecked",
            why="CONSOLE_API_KEYS is not set: whoever reaches this port can read what callers said",
        )
    async with contextlib.AsyncExitStack() as at_the_end:
        at_the_end.push_async_callback(reading.close)
        tasks = await at_the_end.enter_async_context(asyncio.TaskGroup())
        following = tasks.create_task(_serve_live(chosen, live), name="live")
        await schema_version.wait(reading.pages, database.address(chosen.database_url), life)
        life.started()
        await life.stop_requested.wait()
        following.cancel()


async def _serve_live(chosen: ConsoleSettings, live: LiveCalls) -> None:
    # A life of its own: without NATS there are no live calls, and everything else is as ready as ever.
    bus_life = Life("console-live", DRAIN_DEADLINE_S)
    bus = await Bus.connect(chosen, bus_life)
    try:
        live.open(bus)
        await bus_life.failed()
    finally:
        live.close()
        await bus.close()
