"""The service as a process between a real nats-server and a real Postgres, with everything around it failing."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import asyncpg
import event_logs
import msgspec
import nats
import pytest
from event_logs import caller_turn, ended, log_of, started
from infra import MS
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from trunkline_common import call_events, subjects
from trunkline_common.call_events import Envelope
from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline

STORED_LIMIT_S = 30_000 * MS
"""Everything here is stored within a second or two, or when a killed process's second of `ack_wait` is over."""


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
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
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
            await self.publish_raw(
                subjects.event(envelope.call_id, envelope.kind),
                call_events.encode(envelope),
                envelope.message_id,
            )
            self.acknowledged.add(envelope.message_id)

    async def publish_raw(self, subject: str, payload: bytes, message_id: str) -> None:
        await self.jetstream.publish(subject, payload, timeout=5, headers={"Nats-Msg-Id": message_id})

    async def all_settled(self) -> None:
        """Wait until every event has been acknowledged or put aside."""

        async def is_settled() -> bool:
            consumer = await self.jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
            return (consumer.num_pending, consumer.num_ack_pending) == (0, 0)

        await _until(is_settled)

    async def stored(self) -> list[str]:
        rows = await self.query("select call_id, attach, assign, n from events order by 1, 2, 3, 4")
        return ["{}-{}.{}-{}".format(*row) for row in rows]

    async def query(self, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


@pytest.fixture
async def world(nats_server: NatsServer, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    client = await nats.connect(nats_server.url)
    yield World(tmp_path, nats_server.url, client, migrated_database_url)
    await client.close()


async def test_a_call_becomes_rows(world: World) -> None:
    async with world.service() as service:
        await service.ready()
        await world.publish(event_logs.call("CA1", turns=2))
        await world.all_settled()

        assert await world.query("select speaker, text from turns order by position") == [
            ("caller", "Question 1?"),
            ("agent", "Answer 1."),
            ("caller", "Question 3?"),
            ("agent", "Answer 3."),
        ]
        assert await world.query("select outcome, events_expected from calls") == [("success", 14)]
        assert await service.metric("events_stored_total") == 14
        assert await service.process.stop() == os.EX_OK


async def test_what_was_written_while_nobody_ran_is_stored_later(world: World) -> None:
    await world.make_stream()
    await world.publish(event_logs.call("CA1"))

    async with world.service():
        await world.all_settled()

    assert await world.stored() == sorted(world.acknowledged, key=_number)


async def test_a_duplicate_that_jetstream_did_not_notice_is_stored_once(world: World) -> None:
    await world.make_stream()
    (envelope,) = log_of([started()])
    for message_id in ("first", "after the window"):
        await world.publish_raw("ev.v1.CA1.call_started", call_events.encode(envelope), message_id)

    async with world.service() as service:
        await world.all_settled()
        assert await service.metric("events_duplicate_total") == 1

    assert await world.stored() == [envelope.message_id]


async def test_killed_processes_lose_nothing_and_double_nothing(world: World) -> None:
    await world.make_stream()

    async with _load(world) as load, world.service("steady"):
        for victim in ("killed-1", "killed-2", "killed-3"):
            async with world.service(victim) as service:
                await service.ready()
                await load.progress()
                await service.process.kill()
        await load.stop()
        await world.all_settled()

    assert await world.stored() == sorted(world.acknowledged, key=_number)
    assert await _calls_without_their_end(world) == []


async def test_a_postgres_that_goes_away_under_load_is_waited_for(
    nats_server: NatsServer, world: World, tmp_path: Path
) -> None:
    async with PostgresServer.start(tmp_path / "postgres") as postgres, _client(nats_server) as client:
        own = World(tmp_path, nats_server.url, client, postgres.url)
        await _migrate(postgres.url, tmp_path)
        await own.make_stream()
        async with _load(own) as load, own.service() as service:
            for take_away in (postgres.kill, postgres.stop):
                await service.ready()
                await load.progress()
                await take_away()
                await _until(lambda: _says(service, "postgres: cannot store at"))
                assert await service.metric("store_up") == 0
                await postgres.restart()
            await service.ready()
            await load.stop()
            await own.all_settled()

        assert await own.stored() == sorted(own.acknowledged, key=_number)
        assert await _calls_without_their_end(own) == []


async def test_an_event_that_cannot_be_stored_is_put_aside_and_stops_nobody(world: World) -> None:
    await world.make_stream()
    good = event_logs.call("CA1")
    other, too_large = log_of([started(), caller_turn(position=2**40, text="my secret words")], call_id="CA2")
    poison = [
        b"no event",
        b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        _altered(other, v=9),
        _altered(other, kind="new", data=msgspec.Raw(b"1e400000")),
        call_events.encode(too_large),
    ]
    await world.publish(good[:7])
    for number, payload in enumerate(poison):
        await world.publish_raw("ev.v1.CA2.new", payload, f"poison-{number}")
    await world.publish(good[7:])

    async with world.service() as service:
        await world.all_settled()
        assert await service.metric('dead_letters_total{reason="unreadable"}') == 3
        assert await service.metric('dead_letters_total{reason="refused"}') == 2

    assert await world.stored() == sorted(world.acknowledged, key=_number)
    letters = await world.jetstream.pull_subscribe(subjects.DEAD_LETTERS, stream="DLQ")
    assert sorted(letter.data for letter in await letters.fetch(10, timeout=1)) == sorted(poison)
    assert "secret words" not in service.process.log_path.read_text()


async def test_before_the_migration_it_is_not_ready_and_says_what_to_do(
    nats_server: NatsServer, database_url: str, tmp_path: Path
) -> None:
    async with _client(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, database_url)
        async with world.service() as service:
            await service.process.wait_for_line("store-waiting")
            assert "has no tables yet, this version needs 0001: run `trunkline migrate`" in (
                await service.not_ready_because()
            )
            await _migrate(database_url, tmp_path)
            await service.ready()


async def test_a_postgres_that_is_not_there_at_start_is_waited_for(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with PostgresServer.start(tmp_path) as postgres, _client(nats_server) as client:
        await _migrate(postgres.url, tmp_path)
        await postgres.stop()
        async with World(tmp_path, nats_server.url, client, postgres.url).service() as service:
            await service.process.wait_for_line("store-waiting")
            why = await service.not_ready_because()
            assert re.search(
                r"postgres: cannot use Postgres at /.*/postgres: .*; trying again every 1 s", why
            )
            await postgres.restart()
            await service.ready()


@pytest.mark.parametrize(
    ("unreachable", "waits_for"),
    [
        ({"NATS_URL": "nats://127.0.0.1:1"}, "nats-control: no link to NATS at nats://127.0.0.1:1"),
        (
            {"DATABASE_URL": "postgresql+asyncpg://nobody@/none?host=/nowhere"},
            "postgres: cannot use Postgres",
        ),
    ],
)
async def test_it_stops_at_once_while_it_waits_at_start(
    world: World, unreachable: dict[str, str], waits_for: str
) -> None:
    async with world.service(environment=unreachable) as service:
        await service.process.wait_for_line('"retry')
        assert waits_for in await service.not_ready_because()
        assert await service.process.stop() == os.EX_OK


async def test_a_stream_that_was_deleted_is_made_again(world: World) -> None:
    async with world.service() as service:
        await service.ready()
        await world.jetstream.delete_stream(subjects.EVENT_STREAM)
        await service.process.wait_for_line("store-consumer-missing")

        await _until(lambda: _has_consumer(world))
        await world.publish(log_of([started(), ended(2)]))
        await world.all_settled()

    assert len(await world.stored()) == 2


class _Load:
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
            await self._world.publish_raw(
                subjects.event(log[0].call_id, log[0].kind), call_events.encode(log[0]), f"again-{number}"
            )

    async def progress(self) -> None:
        """Wait until some hundred more events were stored."""
        goal = len(await self._world.stored()) + 300

        async def is_reached() -> bool:
            return len(await self._world.stored()) >= goal

        await _until(is_reached)

    async def stop(self) -> None:
        self._stop_requested.set()
        await self._task


@contextlib.asynccontextmanager
async def _load(world: World) -> AsyncIterator[_Load]:
    load = _Load(world)
    try:
        yield load
    finally:
        await load.stop()


@contextlib.asynccontextmanager
async def _client(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


async def _migrate(database_url: str, folder: Path) -> None:
    environment = {"DATABASE_URL": database_url}
    async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
        assert await migrate.exited() == os.EX_OK


async def _calls_without_their_end(world: World) -> list[str]:
    """Return the calls whose rows are fewer than they should be, found the way an audit would."""
    rows = await world.query("""
        select call_id
        from calls left join events using (call_started_at, call_id)
        group by call_started_at, call_id, events_expected
        having count(*) is distinct from events_expected
    """)
    return [row["call_id"] for row in rows]


async def _says(service: Service, why: str) -> bool:
    return why in await service.not_ready_because()


async def _has_consumer(world: World) -> bool:
    try:
        await world.jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
    except nats.js.errors.NotFoundError:
        return False
    return True


async def _until(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(STORED_LIMIT_S):
        while not await probe():  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(10 * MS)


def _altered(envelope: Envelope, **changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.asdict(envelope) | changes)


def _number(message_id: str) -> tuple[str, str, int]:
    call_id, fence, n = message_id.rsplit("-", 2)
    return call_id, fence, int(n)
