"""What an analyst sees: docs/analysts.md read as a test, and what the role may not do."""

import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import analysts_calls
import asyncpg
import event_logs
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from trunkline_local.postgres_server import PostgresServer
from trunkline_transcripts import audit, roles
from trunkline_transcripts.projection import project
from trunkline_transcripts.store import Store

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "analysts.md"


class Question(NamedTuple):
    title: str
    sql: str
    answer: str


def questions() -> list[Question]:
    """Return every question of the document with the SQL and the answer below it."""
    found = re.findall(
        r"^### \d+\. (.+?)\n.*?^```sql\n(.*?)^```\n+```text\n(.*?)^```",
        DOCUMENT.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return [Question(*parts) for parts in found]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def six_calls_url(postgres_server: PostgresServer, migrated_template: str) -> AsyncIterator[str]:
    """The address of a database with the six calls."""
    name = "analysts"
    url = await postgres_server.create_database(name, migrated_template)
    engine = create_async_engine(url)
    await Store(engine, event_logs.CALLER_KEY).write(project(event_logs.entries(analysts_calls.logs())))
    async with engine.connect() as connection:
        await audit.close_lost_calls(connection, lost_after_s=7200)
    await engine.dispose()
    yield url
    await postgres_server.drop_database(name)


@pytest.fixture
async def session(six_calls_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with _session_of(roles.ANALYST, six_calls_url) as connection:
        yield connection


def test_every_question_of_the_document_is_one_of_these() -> None:
    titles = re.findall(r"^### (\d+)\. ", DOCUMENT.read_text(), re.MULTILINE)

    assert [int(number) for number in titles] == list(range(1, len(questions()) + 1))


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.title)
async def test_a_question_of_the_document_has_its_answer(
    session: asyncpg.Connection, question: Question
) -> None:
    await session.execute("set timezone = 'UTC'")

    statement = await session.prepare(question.sql)
    rows = await statement.fetch()

    names = [attribute.name for attribute in statement.get_attributes()]
    assert _table(names, [tuple(row) for row in rows]) == question.answer


async def test_an_analyst_reads_every_view_and_nothing_else(session: asyncpg.Connection) -> None:
    readable = await session.fetch("""
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')
          and has_table_privilege(oid, 'select')
    """)

    assert {row["relname"] for row in readable} == set(roles.VIEWS)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.fetch("select caller_hash from calls")


async def test_no_view_shows_who_called(session: asyncpg.Connection) -> None:
    for view in roles.VIEWS:
        rows = await session.fetch(f"select cast({view} as text) as everything from {view}")
        assert rows
        assert not any(analysts_calls.CALLER in row["everything"] for row in rows)


async def test_an_analyst_cannot_write_even_where_the_settings_are_lifted(
    session: asyncpg.Connection,
) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await session.execute("create table mine (id integer)")

    await session.execute("set default_transaction_read_only = off")
    for statement in (
        "create table mine (id integer)",
        "delete from turns",
        "select make_month('turns', '2001-01-01')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(statement)


async def test_an_analyst_has_time_limits(session: asyncpg.Connection) -> None:
    limits = [
        await session.fetchval(f"show {setting}")
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout")
    ]

    assert limits == ["30s", "1min"]


async def test_search_uses_its_index(six_calls_url: str) -> None:
    async with _session_of("postgres", six_calls_url) as connection:
        await connection.execute("set enable_seqscan = off")
        plan = await connection.fetch("""
            explain select * from conversation where words @@ websearch_to_tsquery('simple', 'price')
        """)

    assert "Bitmap Index Scan on turns_" in "\n".join(row[0] for row in plan)


@contextlib.asynccontextmanager
async def _session_of(role: str, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        database_url.replace("+asyncpg", "").replace("postgres@", f"{role}@"), password=""
    )
    try:
        yield connection
    finally:
        await connection.close()


def _table(names: list[str], rows: list[tuple[object, ...]]) -> str:
    """Return the rows as psql would show them, more or less."""
    cells = [names, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    rule = "-+-".join("-" * width for width in widths)
    return "\n".join(itertools.chain(lines[:1], [rule], lines[1:])) + "\n"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float() | Decimal():
            return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    return str(value)
