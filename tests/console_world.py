"""The console's application on a real Postgres, asked over HTTP without a socket."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final

import event_logs
import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trunkline_common.call_events import Envelope
from trunkline_transcripts.console import app
from trunkline_transcripts.console.live import LiveCalls
from trunkline_transcripts.console.reading import Reading
from trunkline_transcripts.console.settings import ConsoleSettings
from trunkline_transcripts.projection import project
from trunkline_transcripts.store import Store

READER: Final = "reader-key-of-the-tests"
TAKER: Final = "taker-key-of-the-tests"
OFFICER: Final = "officer-key-of-the-tests"
KEYS: Final = f"reader:calls:{READER},taker:export+live:{TAKER}\nofficer:calls+export+live+callers:{OFFICER}"


def settings(database_url: str, **variables: str | int) -> ConsoleSettings:
    """Return the settings of a console on this database, with the three keys."""
    values: dict[str, object] = {"database_url": database_url, "console_api_keys": KEYS}
    values |= {"console_requests_per_minute": 100_000, **variables}
    return ConsoleSettings.model_validate(values)


def application(chosen: ConsoleSettings, live: LiveCalls | None = None) -> tuple[FastAPI, Reading]:
    """Return the console's routes, and the connections that have to be closed."""
    reading = Reading(SecretStr(chosen.database_url.get_secret_value()))
    return app.build(chosen, reading, live or LiveCalls(10)), reading


@contextlib.asynccontextmanager
async def console(
    database_url: str, key: str | None = READER, **variables: str | int
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that asks with this key."""
    routes, reading = application(settings(database_url, **variables))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app.guarded(routes), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers) as client:
        yield client
    await reading.close()


async def store(database_url: str, logs: Iterable[Envelope]) -> None:
    """Store these events, and learn the words in them."""
    engine = create_async_engine(database_url)
    await Store(engine, event_logs.CALLER_KEY).write(project(event_logs.entries(logs)))
    async with engine.begin() as connection:
        await connection.execute(text("select learn_turn_words('-infinity', 1)"))
    await engine.dispose()
