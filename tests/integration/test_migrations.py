import asyncio
import contextlib
import importlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, trunkline
from trunkline_transcripts import schema_version
from trunkline_transcripts.tables import metadata

VERSIONS = "trunkline_transcripts.migrations.versions"
FIRST_TABLES = importlib.import_module(f"{VERSIONS}.0001_first_tables")
FIRST_VIEWS = importlib.import_module(f"{VERSIONS}.0002_views_for_analysts")

BEFORE_COSTS = """
    with call as (
        insert into calls (call_started_at, call_id, agent) values ('2026-11-22 13:10Z', 'CA1', 'desk')
    )
    insert into usage (
        call_started_at, call_id, attach, assign, n, at, response_id, input_tokens, input_text_tokens,
        input_audio_tokens, cached_tokens, output_tokens, output_text_tokens, output_audio_tokens
    )
    values ('2026-11-22 13:10Z', 'CA1', 1, 1, 7, '2026-11-22 13:11Z', 'resp_1', 41, 14, 27, 0, 164, 28, 136)
"""
"""What a service of the release before writes."""

PRIVACY = Path(__file__).parents[2] / "docs" / "privacy.md"


async def test_they_make_the_tables_that_the_code_declares(database_url: str, tmp_path: Path) -> None:
    code, said = await _migrate(database_url, tmp_path)

    assert code == os.EX_OK
    assert "trunkline migrate: applied 0001: First tables: events, calls, turns, usage" in said
    async with _connection(database_url) as connection:
        assert await connection.run_sync(_differences) == []
        assert await schema_version.read(connection) >= schema_version.NEEDED


async def test_every_table_view_and_column_is_explained(migrated_database_url: str) -> None:
    async with _connection(migrated_database_url) as connection:
        unexplained = await connection.scalars(
            text("""
                select relname || '.' || attname
                from pg_class
                join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
                where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
                  and relname <> 'alembic_version'
                  and not relispartition
                  and (col_description(pg_class.oid, attnum) is null
                       or obj_description(pg_class.oid, 'pg_class') is null)
            """)
        )
        assert unexplained.all() == []


async def test_costs_and_tools_are_added_to_a_database_that_is_in_use(
    database_url: str, tmp_path: Path
) -> None:
    async with _connection(database_url) as connection:
        await connection.run_sync(_begin_with, FIRST_TABLES, FIRST_VIEWS)
        await connection.execute(text(BEFORE_COSTS))
        await connection.commit()

    code, _ = await _migrate(database_url, tmp_path)

    assert code == os.EX_OK
    async with _connection(database_url) as connection:
        # What the release before writes is taken meanwhile, too.
        await connection.execute(text(BEFORE_COSTS.replace("CA1", "CA2")))
        rows = await connection.execute(
            text("select call_id, responses, input_tokens, cost_usd, unpriced, tool_calls from call_summary")
        )
        assert sorted(tuple(row) for row in rows) == [("CA1", 1, 41, 0, 1, 0), ("CA2", 1, 41, 0, 1, 0)]


async def test_a_second_run_has_nothing_to_do(migrated_database_url: str, tmp_path: Path) -> None:
    code, said = await _migrate(migrated_database_url, tmp_path)

    assert code == os.EX_OK
    assert said.endswith("is at migration 0008: nothing to do\n")


async def test_of_two_at_once_one_works_and_the_other_finds_it_done(
    database_url: str, tmp_path: Path
) -> None:
    results = await asyncio.gather(*(_migrate(database_url, tmp_path / name) for name in ("a", "b")))

    assert [code for code, _ in results] == [os.EX_OK, os.EX_OK]
    assert sorted("applied 0001" in said for _, said in results) == [False, True]
    assert sorted("nothing to do" in said for _, said in results) == [False, True]


async def test_it_waits_for_another_one_and_says_so(database_url: str, tmp_path: Path) -> None:
    other = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await other.execute("select pg_advisory_lock(7265786511)")

    async with Process.start(
        "migrate", trunkline("migrate"), tmp_path, {"DATABASE_URL": database_url}
    ) as migrate:
        await migrate.wait_for_line("another `trunkline migrate` is at work")
        await other.close()
        assert await migrate.exited() == os.EX_OK


async def test_a_newer_database_is_left_alone(migrated_database_url: str, tmp_path: Path) -> None:
    async with _connection(migrated_database_url) as connection:
        await connection.execute(text("update alembic_version set version_num = '0900'"))
        await connection.commit()

    code, said = await _migrate(migrated_database_url, tmp_path)

    assert code == os.EX_OK
    assert said.endswith("is at migration 0900, newer than this program's 0008: nothing to do\n")


async def test_who_may_not_create_roles_is_told_how_it_is_done_by_hand(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        by_hand = re.search(r"^```\n(create role .*?)^```", PRIVACY.read_text(), re.MULTILINE | re.DOTALL)
        assert by_hand
        administrator = await asyncpg.connect(server.url.replace("+asyncpg", ""))
        await administrator.execute("create role owner login")
        await administrator.execute("create database calls owner owner")
        owner_url = server.url_of("calls").replace("postgres@", "owner@")

        code, said = await _migrate(owner_url, tmp_path)
        assert code == os.EX_OK
        assert "the role trunkline_analyst does not exist and owner may not create roles" in said

        await administrator.execute(by_hand[1])
        await administrator.close()
        code, said = await _migrate(owner_url, tmp_path)
        assert code == os.EX_OK
        assert "trunkline_analyst has its rights in call_owners, call_summary, conversation, " in said


async def test_it_waits_for_a_postgres_that_is_starting(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        await server.stop()
        environment = {"DATABASE_URL": server.url}
        async with Process.start("migrate", trunkline("migrate"), tmp_path, environment) as migrate:
            await migrate.wait_for_line(r"cannot use Postgres at .*; trying again every 1 s for 60 s")
            await server.restart()
            assert await migrate.exited() == os.EX_OK


async def test_a_database_that_does_not_exist_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    code, said = await _migrate(database_url.replace("/test_", "/none_"), tmp_path)

    assert code == 1
    assert said.startswith("trunkline migrate: cannot use Postgres at ")
    assert said.endswith(" does not exist\n")


@pytest.mark.parametrize("url", ["", "postgresql+asyncpg://user:secret@127.0.0.1:port/calls"])
async def test_a_missing_or_malformed_address_is_one_line(url: str, tmp_path: Path) -> None:
    async with Process.start("migrate", trunkline("migrate"), tmp_path, {"DATABASE_URL": url}) as migrate:
        assert await migrate.exited() == 2
        said = migrate.log_path.read_text()

    assert said.startswith("trunkline: DATABASE_URL: ")
    assert len(said.splitlines()) == 1
    assert "secret" not in said


async def _migrate(database_url: str, folder: Path) -> tuple[int, str]:
    """Return the exit code, and what was said."""
    environment = {"DATABASE_URL": database_url}
    async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
        return await migrate.exited(), migrate.log_path.read_text()


@contextlib.asynccontextmanager
async def _connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def _begin_with(connection: Connection, *migrations: ModuleType) -> None:
    """Apply the first migrations, as `trunkline migrate` of an earlier release did."""
    with Operations.context(MigrationContext.configure(connection)):
        for migration in migrations:
            migration.upgrade()
    connection.execute(text("create table alembic_version (version_num varchar(32) primary key)"))
    connection.execute(
        text("insert into alembic_version values (:revision)"), {"revision": migrations[-1].revision}
    )


def _differences(connection: Connection) -> list[object]:
    partitions = set(connection.scalars(text("select relname from pg_class where relispartition")))
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name not in partitions,
        },
    )
    differences: list[object] = compare_metadata(context, metadata)
    return differences
