"""Fixtures of real servers, and the unit of time of all tests.

Each test that asks for one has a nats-server of its own: it starts in 20 ms and stops in 2 ms, and so no stream,
consumer or subscription of one test is seen by another, and a test may kill it. Postgres takes half a second to
make, so each xdist worker keeps one, and each test has a database of its own there (30 ms on an idle disk).
"""

import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from trunkline_local.nats_server import NatsCluster, NatsServer
from trunkline_local.postgres_server import PostgresServer

MS: Final = 0.001 * float(os.environ.get("TRUNKLINE_TESTS_TIME_FACTOR", "1"))
"""The unit of every time limit in tests, e.g. `asyncio.timeout(500 * MS)`; a slow machine raises the factor."""

_database_numbers = itertools.count(1)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running nats-server with an empty JetStream, this test's alone: it may be killed and restarted."""
    async with NatsServer.start(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def nats_cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    """Three nats-servers in one cluster with an empty JetStream, this test's alone."""
    async with NatsCluster.start(tmp_path / "cluster") as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """The Postgres of this xdist worker, shared by its tests: use `database_url`, and do not stop it."""
    async with PostgresServer.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The address, in SQLAlchemy's form, of an empty database that is dropped after the test."""
    name = f"test_{next(_database_numbers)}"
    yield await postgres_server.create_database(name)
    await postgres_server.drop_database(name)
