"""The `trunkline console` command: builds the parts in order and serves them until told to stop."""

import contextlib
from functools import partial
from typing import Any, Final

import click

from trunkline_common import log, service, settings
from trunkline_common.service import Life
from trunkline_transcripts import database, schema_version
from trunkline_transcripts.console import app
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
    application = app.build(chosen, reading)
    service.run(
        "console",
        partial(_body, chosen, reading),
        host=chosen.host,
        port=chosen.port,
        log_level=chosen.log_level,
        drain_deadline_s=DRAIN_DEADLINE_S,
        app=app.guarded(application),
        http_options=HTTP_OPTIONS,
    )


async def _body(chosen: ConsoleSettings, reading: Reading, life: Life) -> None:
    if not chosen.api_keys:
        _log.warning(
            "keys-unchecked",
            why="CONSOLE_API_KEYS is not set: whoever reaches this port can read what callers said",
        )
    async with contextlib.AsyncExitStack() as at_the_end:
        at_the_end.push_async_callback(reading.close)
        await schema_version.wait(reading.pages, database.address(chosen.database_url), life)
        life.started()
        await life.stop_requested.wait()
