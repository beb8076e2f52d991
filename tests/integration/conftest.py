"""A database with our tables, made once and copied for each test that asks for it."""

import itertools
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, trunkline

_database_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The name of a database that `trunkline migrate` has brought up to date and that nobody uses."""
    name = "migrated_template"
    environment = {"DATABASE_URL": await postgres_server.create_database(name)}
    folder = tmp_path_factory.mktemp("migrate")
    async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
        assert await migrate.exited() == os.EX_OK, migrate.log_path.read_text()
    yield name
    await postgres_server.drop_database(name)


@pytest.fixture
async def migrated_database_url(
    postgres_server: PostgresServer, migrated_template: str
) -> AsyncIterator[str]:
    """The address, in SQLAlchemy's form, of a database with our tables that is dropped after the test."""
    name = f"migrated_{next(_database_numbers)}"
    yield await postgres_server.create_database(name, migrated_template)
    await postgres_server.drop_database(name)
