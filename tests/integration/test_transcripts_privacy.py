"""Where a caller's number is, who can read it, how long calls are kept, and that they can be erased."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import asyncpg
import console_world
import event_logs
import msgspec
import pytest
from event_logs import CALLER_KEY, agent_turn, caller_turn, log_of, started, went_on
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from transcripts_world import World, client_of, until

from trunkline_common import subjects
from trunkline_common.call_events import Envelope, Redaction
from trunkline_common.frames import Fence
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, trunkline
from trunkline_transcripts import caller_table, retention, roles
from trunkline_transcripts.projection import project
from trunkline_transcripts.rows import ROW_TYPES
from trunkline_transcripts.store import Store

CALLER: Final = "+15550001111"
HASH: Final = CALLER_KEY.hash(CALLER)
DAY_MS: Final = 86_400_000

BY_AN_OLDER_RELEASE: Final = """
    with call as (
        insert into calls (call_started_at, call_id, caller, started_from)
        values ('2026-11-22 13:10:00.123Z', 'CA9', '+15550001111', array[1, 1, 0])
    )
    insert into events (call_started_at, call_id, attach, assign, n, at, kind, data, sequence)
    values ('2026-11-22 13:10:00.123Z', 'CA9', 1, 1, 0, '2026-11-22 13:10Z', 'call_started',
            '{"kind": "call_started", "caller": "+15550001111", "called": "+15550002222", "agent": "a", "worker": "w"}', 1)
"""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(migrated_database_url)
    yield engine
    await engine.dispose()


async def test_the_number_is_in_callers_and_nowhere_else(engine: AsyncEngine) -> None:
    await _write(engine, event_logs.taken_over("CA1"))

    assert await _tables_with(engine, CALLER) == {"callers"}
    assert await _rows(engine, "select caller_hash from call_summary") == [(HASH,)]
    assert await _rows(engine, "select data ->> 'caller' from events where kind = 'call_started'") == [
        (HASH,)
    ]


async def test_a_withheld_number_has_neither_row_nor_hash(engine: AsyncEngine) -> None:
    await _write(engine, log_of([msgspec.structs.replace(started(), caller="+266696687")]))

    assert await _rows(engine, "select number from callers") == []
    assert await _rows(engine, "select caller_hash from calls") == [(None,)]


async def test_numbers_that_an_older_release_wrote_are_moved(engine: AsyncEngine) -> None:
    await _execute(engine, BY_AN_OLDER_RELEASE)

    async with engine.connect() as connection:
        assert await caller_table.move_numbers(connection, CALLER_KEY) == 1
        assert await caller_table.move_numbers(connection, CALLER_KEY) == 0

    assert await _tables_with(engine, CALLER) == {"callers"}
    assert await _rows(engine, "select caller, caller_hash from calls") == [(None, HASH)]


async def test_a_call_that_an_older_release_began_is_made_anew_with_its_hash(engine: AsyncEngine) -> None:
    await _execute(engine, BY_AN_OLDER_RELEASE)
    owner = log_of([went_on()], call_id="CA9", fence=Fence(1, 2))
    (zombie,) = log_of([agent_turn()], call_id="CA9", fence=Fence(1, 1), first_n=1)

    entries = event_logs.entries([*owner, zombie], [*owner, zombie])
    await Store(engine, CALLER_KEY).write(
        project([entry._replace(sequence=entry.sequence + 1) for entry in entries])
    )

    assert await _rows(engine, "select caller, caller_hash, agent from calls") == [(None, HASH, "a")]
    assert await _tables_with(engine, CALLER) == {"callers"}


async def test_texts_are_redacted_in_every_table(engine: AsyncEngine) -> None:
    card, mail = "4111 1111 1111 1111", "jane@example.com"
    log = log_of(
        [
            started(),
            caller_turn("a", 1, f"It is {card}."),
            agent_turn("b", 2, f"{card}? And {mail}?"),
            event_logs.tool_called(arguments=f'{{"mail": "{mail}"}}'),
            msgspec.structs.replace(event_logs.tool_returned(), output=f"sent to {mail}"),
        ]
    )

    await _write(engine, [redacting(envelope, Redaction.CARD_NUMBERS, Redaction.EMAILS) for envelope in log])

    for said in (card, card[:7], mail):
        assert await _tables_with(engine, said) == set()
    assert await _rows(engine, "select text, heard_text from turns where speaker = 'agent'") == [
        ("[card-number]? And [email]?", "[card-number]")
    ]
    assert await _rows(engine, "select arguments, output from tool_calls") == [
        ({"mail": "[email]"}, "sent to [email]")
    ]


async def test_expired_calls_are_deleted_from_every_table_and_others_are_kept(engine: AsyncEngine) -> None:
    kept = event_logs.call("CA1")
    expired = [days_ago(3, each, retention_days=2) for each in event_logs.taken_over("CA2")]
    not_yet = [days_ago(3, each, retention_days=5) for each in event_logs.call("CA3")]
    await _write(engine, [*kept, *expired, *not_yet])

    async with engine.connect() as connection:
        assert await retention.delete_expired(connection) == 1

    assert await _tables_with(engine, "CA2") == set()
    assert await _rows(engine, "select call_id from calls order by call_id") == [("CA1",), ("CA3",)]


async def test_several_that_delete_at_once_count_each_call_once(engine: AsyncEngine) -> None:
    await _write(
        engine,
        [
            days_ago(3, each, retention_days=1)
            for n in range(120)
            for each in log_of([started()], call_id=f"CA{n}")
        ],
    )

    async def delete() -> int:
        async with engine.connect() as connection:
            return await retention.delete_expired(connection)

    assert sum(await asyncio.gather(*(delete() for _ in range(3)))) == 120


async def test_a_writer_stores_and_cannot_drop_or_read_numbers(
    engine: AsyncEngine, migrated_database_url: str
) -> None:
    writing = create_async_engine(_as(roles.WRITER, migrated_database_url))
    log = [days_ago(3, each, retention_days=1) for each in event_logs.taken_over("CA1")]
    await Store(writing, CALLER_KEY).write(project(event_logs.entries(log)))
    async with writing.connect() as connection:
        assert await caller_table.move_numbers(connection, CALLER_KEY) == 0
        assert await connection.scalar(text("select make_month('calls', '2001-01-01')"))
        assert await connection.scalar(text("select learn_turn_words('-infinity', 1)"))
        assert await retention.delete_expired(connection) == 1
    await writing.dispose()

    async with _session_of(roles.WRITER, migrated_database_url) as session:
        for statement in (
            "select number from callers",
            "truncate calls",
            "drop table calls",
            "select detach_month('calls', '2001-01-01')",
            "alter table calls drop column agent",
            "create table mine (id integer)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)
        assert await session.fetchval("show statement_timeout") == "5min"


async def test_the_console_reads_what_it_shows_and_changes_nothing(migrated_database_url: str) -> None:
    await console_world.store(migrated_database_url, event_logs.call("CA1", turns=1))
    asking = console_world.console(_as(roles.CONSOLE, migrated_database_url), console_world.OFFICER)

    async with asking as client:
        listed = await client.get("/v1/calls")
        for path in ("calls/CA1", "search?q=qestion", "export?format=csv", "export?format=csv&what=turns"):
            answer = await client.get(f"/v1/{path}")
            assert answer.status_code == 200, answer.text

    assert [call["caller"] for call in listed.json()["calls"]] == [CALLER]
    async with _session_of(roles.CONSOLE, migrated_database_url) as session:
        assert await session.fetchval("select count(*) from alembic_version") == 1
        assert await session.fetchval("show default_transaction_read_only") == "on"
        for statement in ("select data from events", "select key from caller_hash_key"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)
        await session.execute("set default_transaction_read_only = off")
        for statement in ("update calls set agent = ''", "delete from turns", "drop table calls"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)


async def test_an_analyst_reads_the_hash_and_neither_number_nor_key(
    engine: AsyncEngine, migrated_database_url: str
) -> None:
    await _write(engine, event_logs.call("CA1"))

    async with _session_of(roles.ANALYST, migrated_database_url) as session:
        assert await session.fetchval("select caller_hash from call_summary") == HASH
        for table in ("callers", "caller_hash_key", "calls", "events"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.fetch(f"select * from {table}")


async def test_an_administrator_reads_numbers_and_cannot_drop_or_read_the_key(
    engine: AsyncEngine, migrated_database_url: str
) -> None:
    await _write(engine, event_logs.call("CA1"))

    async with _session_of(roles.ADMIN, migrated_database_url) as session:
        assert await session.fetchval("select number from callers") == CALLER
        for statement in (
            "select key from caller_hash_key",
            "drop table calls",
            "update calls set agent = ''",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)


async def test_a_caller_is_erased_from_postgres_and_jetstream(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, migrated_database_url)
        async with world.service() as service:
            await service.ready()
            await world.publish([*event_logs.call("CA1"), *event_logs.call("CA2")])
            other = event_logs.call("CA3")
            await world.publish([msgspec.structs.replace(each, data=_of_another(each)) for each in other])
            await world.publish_raw(subjects.event("CA2", "turn_caller"), b"no event of +15550001111", "bad")
            await world.all_settled()

            environment = {
                "NATS_URL": nats_server.url,
                "DATABASE_URL": _as(roles.ADMIN, migrated_database_url),
            }
            code, said = await _run(tmp_path, environment, "erase", "--caller", CALLER, "--yes")
            again, said_again = await _run(tmp_path, environment, "erase", "--caller", CALLER, "--yes")

        left = await world.jetstream.stream_info(subjects.EVENT_STREAM, subjects_filter=">")
        letters = await world.jetstream.stream_info("DLQ")

    assert code == again == os.EX_OK, said + said_again
    assert {subject.split(".")[2] for subject in left.state.subjects or {}} == {"CA3"}
    assert letters.state.messages == 0
    for trace in (CALLER, "CA1", "CA2"):
        assert await _tables_with(engine, trace) == set()
    assert await _rows(engine, "select call_id from calls") == [("CA3",)]
    assert "dead letters" in said
    assert CALLER not in said
    assert said_again.splitlines()[0].split() == ["calls", "0"]


async def test_a_live_call_is_not_erased_unless_that_is_meant(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    await _write(engine, event_logs.call("CA1")[:-1])
    environment = {"NATS_URL": nats_server.url, "DATABASE_URL": migrated_database_url}

    refused = await _run(tmp_path, environment, "erase", "--call", "CA1", "--yes")
    erased = await _run(tmp_path, environment, "erase", "--call", "CA1", "--yes", "--yes-live")

    assert (refused[0], erased[0]) == (1, os.EX_OK), refused[1] + erased[1]
    assert "not over yet: CA1" in refused[1]
    assert await _tables_with(engine, "CA1") == set()


async def test_a_writer_cannot_erase(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    environment = {"NATS_URL": nats_server.url, "DATABASE_URL": _as(roles.WRITER, migrated_database_url)}

    code, said = await _run(tmp_path, environment, "erase", "--caller", CALLER, "--yes")

    assert code == 1
    assert "use the role trunkline_admin" in said


async def test_months_are_retired_when_nothing_in_them_is_kept(
    engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    for table in (row_type.table for row_type in ROW_TYPES):
        for month in ("2001-01-01", "2001-02-01"):
            await _execute(engine, f"select make_month('{table}', '{month}')")
    (kept,) = log_of([started()])
    await _write(engine, [msgspec.structs.replace(kept, call_started_at_ms=982_000_000_000)])
    environment = {"DATABASE_URL": _as(roles.ADMIN, migrated_database_url)}

    code, said = await _run(tmp_path, environment, "retire", "--before", "2026-01")

    assert code == 1
    assert "2001-01: detached events_2001_01" in said
    assert "2001-02: left alone, 1 calls" in said
    code, said = await _run(tmp_path, environment, "retire", "--before", "2026-01", "--kept")
    assert code == os.EX_OK, said
    assert await _rows(engine, "select count(*) from calls") == [(0,)]
    assert await _rows(engine, "select count(*) from calls_2001_02") == [(1,)]


async def test_the_service_waits_for_the_key_of_the_database(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, migrated_database_url)
        async with world.service(
            environment={"CALLER_HASH_KEY": "another key, which is long enough"}
        ) as service:
            await service.process.wait_for_line("CALLER_HASH_KEY is not the key")

            async def says_why() -> bool:
                return "CALLER_HASH_KEY is not the key" in await service.not_ready_because()

            await until(says_why)


def redacting(envelope: Envelope, *redact: Redaction) -> Envelope:
    return msgspec.structs.replace(envelope, redact=redact)


def days_ago(days: int, envelope: Envelope, retention_days: int) -> Envelope:
    data = msgspec.json.decode(envelope.data)
    if envelope.kind == "call_started":
        data["retention_days"] = retention_days
    return msgspec.structs.replace(
        envelope,
        call_started_at_ms=int(time.time() * 1000) // DAY_MS * DAY_MS - days * DAY_MS,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )


def _of_another(envelope: Envelope) -> msgspec.Raw:
    return msgspec.Raw(bytes(envelope.data).replace(CALLER.encode(), b"+15550009999"))


async def _write(engine: AsyncEngine, log: Iterable[Envelope]) -> None:
    await Store(engine, CALLER_KEY).write(project(event_logs.entries(log)))


async def _tables_with(engine: AsyncEngine, said: str) -> set[str]:
    """Return the tables that hold this text anywhere."""
    found = set()
    for table in (*(row_type.table for row_type in ROW_TYPES), "dead_letters"):
        rows = await _rows(engine, f"select cast({table} as text) from {table}")
        if any(said in row[0] for row in rows):
            found.add(table)
    return found


async def _rows(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def _execute(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(sql)


async def _run(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Return the exit code, and what was said."""
    name = "-".join(argument.strip("-") for argument in arguments).replace("+", "")
    command = [*trunkline("transcripts"), *arguments]
    async with Process.start(name + str(time.monotonic_ns()), command, folder, environment) as process:
        return await process.exited(), process.log_path.read_text()


def _as(role: str, database_url: str) -> str:
    return database_url.replace("postgres@", f"{role}@")


@contextlib.asynccontextmanager
async def _session_of(role: str, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(_as(role, database_url).replace("+asyncpg", ""), password="")
    try:
        yield connection
    finally:
        await connection.close()
