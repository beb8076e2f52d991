"""What JetStream and Postgres hold at the end of a run, as a file beside the history."""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError, ServiceUnavailableError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chaos.evidence import EventKey
from trunkline_common import call_events, subjects
from trunkline_local.nats_server import NatsCluster
from trunkline_local.postgres_server import PostgresServer

FILE_NAME: Final = "stored.json"

CATCH_UP_S: Final = 60.0
"""For what no service has stored yet. Whatever is missing then is reported as missing."""
LOOK_AGAIN_S: Final = 0.1
FETCH_LIMIT_S: Final = 5.0

_EVENTS_SQL: Final = "select call_id, attach, assign, n from events order by call_id, attach, assign, n"
_CALLS_SQL: Final = "select call_id, outcome from calls where ended_at is not null"
_TURNS_SQL: Final = """\
select call_id, text from turns where speaker = 'caller' and text is not null
 order by call_id, position"""
_SESSIONS_SQL: Final = """\
select call_id, data ->> 'session_id' from events where kind = 'model_connected'
 order by call_id, attach, assign, n"""


class Stored(msgspec.Struct, frozen=True):
    """Rows as lists of their columns."""

    events: list[EventKey]
    """Of JetStream, in the order of its log."""
    rows: list[EventKey]
    outcomes: list[tuple[str, str | None]]
    caller_texts: list[tuple[str, str]]
    sessions: list[tuple[str, str]]
    """Every session of the model that was connected for a call, the first one first."""


async def collect(cluster: NatsCluster, postgres: PostgresServer, folder: Path) -> None:
    """Wait until everything acknowledged is stored, at most a minute, and write down what is where."""
    client = await nats.connect(cluster.url.split(","))
    try:
        await _await_caught_up(client)
        events = await _events(client)
    finally:
        await client.close()
    engine = create_async_engine(postgres.url)
    try:
        async with engine.connect() as connection:
            rows, outcomes, texts, sessions = [
                [tuple(row) for row in (await connection.execute(text(sql))).all()]
                for sql in (_EVENTS_SQL, _CALLS_SQL, _TURNS_SQL, _SESSIONS_SQL)
            ]
    finally:
        await engine.dispose()
    keys = [EventKey(*row) for row in rows]
    content = msgspec.json.encode(Stored(events, keys, outcomes, texts, sessions))
    await asyncio.to_thread((folder / FILE_NAME).write_bytes, content)


def read(folder: Path) -> Stored:
    """Return what was collected."""
    return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Stored)


async def _await_caught_up(client: Client) -> None:
    jetstream = client.jetstream()
    deadline = asyncio.get_running_loop().time() + CATCH_UP_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            consumer = await jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
        except NotFoundError:
            return
        except (nats.errors.TimeoutError, ServiceUnavailableError):
            # The cluster elects a new leader, which takes up to nine seconds.
            continue
        if not consumer.num_pending and not consumer.num_ack_pending:
            return
        await asyncio.sleep(LOOK_AGAIN_S)


async def _events(client: Client) -> list[EventKey]:
    jetstream = client.jetstream()
    left = (await jetstream.stream_info(subjects.EVENT_STREAM)).state.messages
    subscription = await jetstream.subscribe(subjects.EVERY_EVENT, ordered_consumer=True)
    keys = []
    for _ in range(left):
        message = await subscription.next_msg(FETCH_LIMIT_S)
        envelope = call_events.decode(message.data)
        keys.append(EventKey(envelope.call_id, envelope.fence.attach, envelope.fence.assign, envelope.n))
    await subscription.unsubscribe()
    return keys
