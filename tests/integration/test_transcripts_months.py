"""The monthly partitions: made ahead, by anybody, and the net below them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import event_logs
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from transcripts_world import World, client_of

from trunkline_common.call_events import Envelope
from trunkline_local.nats_server import NatsServer
from trunkline_transcripts import months
from trunkline_transcripts.projection import project
from trunkline_transcripts.rows import ROW_TYPES
from trunkline_transcripts.store import Store

JANUARY_2001_MS: Final = 980_000_000_000
"""2001-01-20, a month that nobody makes."""
TABLES: Final = sorted(row_type.table for row_type in ROW_TYPES)


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(migrated_database_url)
    yield engine
    await engine.dispose()


async def test_migrating_makes_this_month_and_the_next_three(engine: AsyncEngine) -> None:
    names = await _partitions(engine)

    assert len(names) == len(TABLES) * (1 + 1 + months.MONTHS_AHEAD)
    (this_month,) = await _column(engine, "select to_char(now() at time zone 'UTC', '_YYYY_MM')")
    assert {f"{table}{end}" for table in TABLES for end in (this_month, "_default")} < set(names)


async def test_two_that_make_the_same_months_do_not_disturb_each_other(engine: AsyncEngine) -> None:
    before = await _partitions(engine)
    for name in before:
        if not name.endswith("_default"):
            await _execute(engine, f"drop table {name}")

    made = await asyncio.gather(*(_make_ahead(engine) for _ in range(3)))

    assert await _partitions(engine) == before
    assert sorted(name for names in made for name in names) == [
        name for name in before if not name.endswith("_default")
    ]


async def test_rows_without_a_month_are_kept_and_move_when_it_is_made(engine: AsyncEngine) -> None:
    log = _at(JANUARY_2001_MS, event_logs.call("CA1"))
    await _write(engine, log)
    assert await _stray_rows(engine) == {
        "calls": 1, "callers": 1, "events": len(log), "turns": 8, "usage": 4, "transcription_usage": 4, "tool_calls": 4,
        "model_sessions": 2, "transfers": 2, "limits_reached": 1, "owners": 1, "takeovers": 0,
    }  # fmt: skip

    for table in TABLES:
        assert await _column(engine, f"select make_month('{table}', '2001-01-31')") == [True]

    assert await _stray_rows(engine) == dict.fromkeys(TABLES, 0)
    assert await _column(engine, "select count(*) from turns_2001_01 where words @@ 'answer'") == [4]
    assert not await _write(engine, log)


async def test_a_month_begins_and_ends_in_utc(engine: AsyncEngine) -> None:
    await _execute(engine, "set timezone = 'Pacific/Auckland'; select make_month('calls', '2001-02-03')")

    (bounds,) = await _column(
        engine,
        """
        select pg_get_expr(relpartbound, oid)
        from pg_class, lateral set_config('timezone', 'UTC', true)
        where relname = 'calls_2001_02'
        """,
    )
    assert bounds == "FOR VALUES FROM ('2001-02-01 00:00:00+00') TO ('2001-03-01 00:00:00+00')"


async def test_a_detached_month_stays_apart_and_what_comes_late_is_kept(engine: AsyncEngine) -> None:
    log = _at(JANUARY_2001_MS, event_logs.call("CA1"))
    await _execute(engine, "select make_month('events', '2001-01-01')")
    await _write(engine, log[:-1])

    assert await _column(engine, "select detach_month('events', '2001-01-01')") == [True]
    assert await _column(engine, "select detach_month('events', '2001-01-01')") == [False]
    await _write(engine, log[-1:])

    assert await _column(engine, "select make_month('events', '2001-01-01')") == [False]
    assert await _column(engine, "select count(*) from events_2001_01") == [len(log) - 1]
    assert await _column(engine, "select count(*) from events") == [1]


async def test_the_service_keeps_months_ahead_and_tells_of_stray_rows(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    before = await _partitions(engine)
    await _execute(engine, f"drop table {before[0]}")
    await _write(engine, _at(JANUARY_2001_MS, event_logs.call("CA1")))

    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, migrated_database_url)
        async with world.service() as service:
            await service.process.wait_for_line("months-made")
            await service.process.wait_for_line("usage_default.*rows-without-month")
            await service.ready()
            assert await service.metric('stray_rows{table="calls"}') == 1

    assert await _partitions(engine) == before


async def test_a_service_that_may_not_make_months_says_so_and_stores(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    await _execute(engine, "drop function make_month")

    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, migrated_database_url)
        async with world.service() as service:
            await service.process.wait_for_line("months-not-made")
            await world.publish(event_logs.call("CA1"))
            await world.all_settled()
            assert await service.metric("months_failures_total") == 1

    assert await world.stored() == world.acknowledged


def _at(began_ms: int, log: Sequence[Envelope]) -> list[Envelope]:
    return [
        msgspec.structs.replace(envelope, call_started_at_ms=began_ms, at_ms=began_ms + 1000 * envelope.n)
        for envelope in log
    ]


async def _write(engine: AsyncEngine, log: Sequence[Envelope]) -> int:
    """Return how many rows were new or changed."""
    written = await Store(engine, event_logs.CALLER_KEY).write(project(event_logs.entries(log)))
    return written.total()


async def _make_ahead(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return await months.make_ahead(connection)


async def _stray_rows(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return await months.stray_rows(connection)


async def _partitions(engine: AsyncEngine) -> list[str]:
    return [
        str(name)
        for name in await _column(
            engine, "select relname from pg_class where relispartition and relkind = 'r' order by relname"
        )
    ]


async def _column(engine: AsyncEngine, sql: str) -> list[object]:
    async with engine.begin() as connection:
        return list(await connection.scalars(text(sql)))


async def _execute(engine: AsyncEngine, statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements.split("; "):
            await connection.execute(text(statement))
