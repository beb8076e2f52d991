"""The transcripts service as a process, with a bus to write to and a database to read from."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import asyncpg
import event_logs
import nats.errors
from infra import MS
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from trunkline_common import call_events, subjects
from trunkline_common.call_events import Envelope
from trunkline_common.link import MendedClient
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline

STORED_LIMIT_S: Final = 30_000 * MS
"""Everything here is stored within a second or two, or when a killed process's second of `ack_wait` is over."""

PUBLISH_LIMIT_S: Final = 2_000 * MS
"""Then the answer was lost with the server."""


class Service:
    """One `trunkline transcripts`, with a port of its own for its health and metrics."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._port = port

    async def ready(self) -> None:
        await self.process.wait_until_ready(f"http://127.0.0.1:{self._port}/readyz")

    async def not_ready_because(self) -> str:
        status, text = await self._get("/readyz")
        return "" if status == HTTPStatus.OK else text

    async def metric(self, name: str) -> float:
        _, text = await self._get("/metrics")
        (value,) = re.findall(rf"^trunkline_transcripts_{name} (\S+)$", text, re.MULTILINE)
        return float(value)

    async def _get(self, path: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
        return int(head.split()[1]), body


class World:
    """A bus to write to, and a database to read from."""

    def __init__(self, folder: Path, nats_url: str, client: Client, database_url: str) -> None:
        self._folder = folder
        self._environment = {"NATS_URL": nats_url, "DATABASE_URL": database_url}
        self.jetstream: JetStreamContext = client.jetstream()
        self.database_url = database_url
        self.acknowledged: set[str] = set()

    @contextlib.asynccontextmanager
    async def service(
        self, name: str = "transcripts", environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[Service]:
        port = free_port()
        variables = self._environment | {"METRICS_PORT": str(port)} | dict(environment or {})
        async with Process.start(name, trunkline("transcripts"), self._folder, variables) as process:
            yield Service(process, port)

    async def make_stream(self) -> None:
        """Create the stream and the consumer as an operator would, with one second of `ack_wait` instead of 30."""
        await self.jetstream.add_stream(
            StreamConfig(name=subjects.EVENT_STREAM, subjects=[subjects.EVERY_EVENT])
        )
        await self.jetstream.add_consumer(
            subjects.EVENT_STREAM,
            ConsumerConfig(
                durable_name=subjects.STORE_CONSUMER,
                filter_subject=subjects.EVERY_EVENT,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=1,
                max_deliver=-1,
            ),
        )

    async def publish(self, log: Sequence[Envelope]) -> None:
        """Write to the event log as a worker does: again until JetStream says that it has it."""
        for envelope in log:
            await self._publish_until_acknowledged(envelope)
            self.acknowledged.add(envelope.message_id)

    async def _publish_until_acknowledged(self, envelope: Envelope) -> None:
        subject, payload = subjects.event(envelope.call_id, envelope.kind), call_events.encode(envelope)

        async def is_acknowledged() -> bool:
            try:
                await self.publish_raw(subject, payload, envelope.message_id)
            except (nats.errors.Error, OSError):
                return False
            return True

        await until(is_acknowledged)

    async def publish_raw(self, subject: str, payload: bytes, message_id: str) -> None:
        await self.jetstream.publish(
            subject, payload, timeout=PUBLISH_LIMIT_S, headers={"Nats-Msg-Id": message_id}
        )

    async def all_settled(self) -> None:
        """Wait until every event has been acknowledged or put aside."""

        async def is_settled() -> bool:
            consumer = await self.jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
            return (consumer.num_pending, consumer.num_ack_pending) == (0, 0)

        await until(is_settled)

    async def stored(self) -> set[str]:
        """Return the ids of the events that have a row; the key keeps them from having two."""
        rows = await self.query("select call_id, attach, assign, n from events")
        return {"{}-{}.{}-{}".format(*row) for row in rows}

    async def calls_with_missing_events(self) -> list[str]:
        """Return the calls whose rows are fewer than they should be, found the way an audit would."""
        rows = await self.query("""
            select call_id
            from calls left join events using (call_started_at, call_id)
            group by call_started_at, call_id, events_expected
            having count(*) is distinct from events_expected
        """)
        return [row["call_id"] for row in rows]

    async def query(self, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


class Load:
    """Calls that are published, one after the other and each twice, until it is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop_requested = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while not self._stop_requested.is_set():
            number += 1
            log = event_logs.call(f"CA{number}")
            await self._world.publish(log)
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._world.publish_raw(
                    subjects.event(log[0].call_id, log[0].kind), call_events.encode(log[0]), f"again-{number}"
                )

    async def progress(self) -> None:
        """Wait until some hundred more events were stored."""
        goal = len(await self._world.stored()) + 300

        async def is_reached() -> bool:
            return len(await self._world.stored()) >= goal

        await until(is_reached)

    async def stop(self) -> None:
        self._stop_requested.set()
        await self._task


@contextlib.asynccontextmanager
async def load_on(world: World) -> AsyncIterator[Load]:
    load = Load(world)
    try:
        yield load
    finally:
        await load.stop()


@contextlib.asynccontextmanager
async def client_of(server: NatsServer) -> AsyncIterator[Client]:
    # The server may be killed while this is connected; nats-py's own client would leave sockets open.
    client = MendedClient()
    await client.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


async def migrate(database_url: str, folder: Path) -> None:
    environment = {"DATABASE_URL": database_url}
    async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
        assert await migrate.exited() == os.EX_OK


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(STORED_LIMIT_S):
        while not await probe():  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(10 * MS)
