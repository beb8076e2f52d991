"""What the administrators' commands have in common: a link to NATS, an error as one line, the exit codes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import click
import nats
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from trunkline_common import subjects
from trunkline_common.settings import CommonSettings

EXIT_FAILED: Final = 1
EXIT_CODES: Final = (
    "Exit codes: 0 done · 1 something is left, or NATS or Postgres does not answer · 2 settings"
)
CONNECT_TIMEOUT_S: Final = 5
RECONNECT_S: Final = 0.1

_NATS_ERRORS: Final = (nats.errors.Error, OSError)


class FailedError(Exception):
    """It cannot be done now; the text says why."""


def run(command: str, chosen: CommonSettings, work: Callable[[JetStreamContext], Awaitable[int]]) -> NoReturn:
    """Do the work with JetStream, and exit with its code, or with a line that says why it cannot be done."""
    try:
        code = asyncio.run(_connected(chosen, work))
    except FailedError as error:
        click.echo(f"trunkline transcripts {command}: {error}", err=True)
        code = EXIT_FAILED
    sys.exit(code)


async def _connected(chosen: CommonSettings, work: Callable[[JetStreamContext], Awaitable[int]]) -> int:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await nats.connect(
                chosen.nats_url.split(","),
                user_credentials=chosen.nats_creds,
                allow_reconnect=False,
                # Each server is asked once more at once; 0 would mean for ever.
                max_reconnect_attempts=1,
                reconnect_time_wait=RECONNECT_S,
                # It signs in as the service does, or as somebody who may do everything.
                inbox_prefix=subjects.inbox("transcripts"),
                error_cb=_say_nothing,
            )
    except _NATS_ERRORS as error:
        raise FailedError(f"no link to NATS at {chosen.nats_address}: {_name(error)}") from error
    try:
        return await work(client.jetstream(timeout=CONNECT_TIMEOUT_S))
    except nats.js.errors.NotFoundError:
        raise FailedError("there is no stream of dead letters: the service makes it when it starts") from None
    except _NATS_ERRORS as error:
        raise FailedError(f"NATS at {chosen.nats_address}: {_name(error)}") from error
    finally:
        await client.close()


async def _say_nothing(_: Exception) -> None:
    """nats-py would print a traceback; whoever waits for an answer is told anyway."""


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
