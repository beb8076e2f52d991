"""The transcripts service between a real nats-server and a real Postgres, with everything around it failing."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import event_logs
import msgspec
import nats.js.errors
import pytest
from event_logs import caller_turn, ended, log_of, started
from transcripts_world import Service, World, client_of, load_on, migrate, until

from trunkline_common import call_events, subjects
from trunkline_common.call_events import Envelope
from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer


@pytest.fixture
async def world(nats_server: NatsServer, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with client_of(nats_server) as client:
        yield World(tmp_path, nats_server.url, client, migrated_database_url)


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
        assert await world.query("select outcome, events_expected from calls") == [("success", 25)]
        assert await service.metric("events_stored_total") == 25
        assert await service.process.stop() == os.EX_OK


async def test_what_was_written_while_nobody_ran_is_stored_later(world: World) -> None:
    await world.make_stream()
    await world.publish(event_logs.call("CA1"))

    async with world.service():
        await world.all_settled()

    assert await world.stored() == world.acknowledged


async def test_it_tells_how_full_the_event_log_is(world: World) -> None:
    await world.jetstream.add_stream(
        name=subjects.EVENT_STREAM, subjects=[subjects.EVERY_EVENT], max_bytes=1_000_000
    )
    await world.publish(event_logs.call("CA1"))
    stream = await world.jetstream.stream_info(subjects.EVENT_STREAM)

    async with world.service() as service:
        await service.ready()
        await until(lambda: _has_read_the_size(service))

        assert await service.metric("event_log_bytes") == stream.state.bytes
        assert await service.metric("event_log_bytes_max") == 1_000_000


async def test_a_duplicate_that_jetstream_did_not_notice_is_stored_once(world: World) -> None:
    await world.make_stream()
    (envelope,) = log_of([started()])
    for message_id in ("first", "after the window"):
        await world.publish_raw("ev.v1.CA1.call_started", call_events.encode(envelope), message_id)

    async with world.service() as service:
        await world.all_settled()
        assert await service.metric("events_duplicate_total") == 1

    assert await world.stored() == {envelope.message_id}


async def test_killed_processes_lose_nothing_and_double_nothing(world: World) -> None:
    await world.make_stream()

    async with load_on(world) as load, world.service("steady"):
        for victim in ("killed-1", "killed-2", "killed-3"):
            async with world.service(victim) as service:
                await service.ready()
                await load.progress()
                await service.process.kill()
        await load.stop()
        await world.all_settled()

    assert await world.stored() == world.acknowledged
    assert await world.calls_with_missing_events() == []


async def test_a_postgres_that_goes_away_under_load_is_waited_for(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with PostgresServer.start(tmp_path / "postgres") as postgres, client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, postgres.url)
        await migrate(postgres.url, tmp_path)
        await world.make_stream()
        async with load_on(world) as load, world.service() as service:
            for take_away in (postgres.kill, postgres.stop):
                await service.ready()
                await load.progress()
                await take_away()
                await until(lambda: _says(service, "postgres: cannot store at"))
                assert await service.metric("store_up") == 0
                await postgres.restart()
            await service.ready()
            await load.stop()
            await world.all_settled()

        assert await world.stored() == world.acknowledged
        assert await world.calls_with_missing_events() == []


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

    assert await world.stored() == world.acknowledged
    letters = await world.jetstream.pull_subscribe(subjects.DEAD_LETTERS, stream="DLQ")
    assert sorted(letter.data for letter in await letters.fetch(10, timeout=1)) == sorted(poison)
    assert "secret words" not in service.process.log_path.read_text()


async def test_asked_to_stop_while_postgres_is_away_it_hands_its_events_back(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with PostgresServer.start(tmp_path / "postgres") as postgres, client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, postgres.url)
        await migrate(postgres.url, tmp_path)
        async with world.service() as service:
            await service.ready()
            await postgres.stop()
            await world.publish(event_logs.call("CA1"))
            await until(lambda: _says(service, "postgres: cannot store at"))
            assert await service.process.stop() == os.EX_OK

        await postgres.restart()
        async with world.service("another") as another:
            await world.all_settled()
            assert await another.metric("events_redelivered_total") > 0
        assert await world.stored() == world.acknowledged


async def test_before_the_migration_it_is_not_ready_and_says_what_to_do(
    nats_server: NatsServer, database_url: str, tmp_path: Path
) -> None:
    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, database_url)
        async with world.service() as service:
            await service.process.wait_for_line("store-waiting")
            assert "has no tables yet, this version needs 0008: run `trunkline migrate`" in (
                await service.not_ready_because()
            )
            await migrate(database_url, tmp_path)
            await service.ready()


async def test_a_postgres_that_is_not_there_at_start_is_waited_for(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with PostgresServer.start(tmp_path) as postgres, client_of(nats_server) as client:
        await migrate(postgres.url, tmp_path)
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

        await until(lambda: _has_consumer(world))
        await world.publish(log_of([started(), ended(2)]))
        await world.all_settled()

    assert len(await world.stored()) == 2


def _altered(envelope: Envelope, **changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.asdict(envelope) | changes)


async def _has_read_the_size(service: Service) -> bool:
    return await service.metric("event_log_bytes_max") > 0


async def _says(service: Service, why: str) -> bool:
    return why in await service.not_ready_because()


async def _has_consumer(world: World) -> bool:
    try:
        await world.jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
    except nats.js.errors.NotFoundError:
        return False
    return True
