"""A gateway that the tests of its behaviour share, and a worker for each of them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gateway_driver import Gateway
from played_worker import Worker

from trunkline_local.nats_server import NatsServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """The bus of the shared gateway: leave it running."""
    async with NatsServer.start(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    shared_nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One gateway for many tests: bad input and lost workers of one must not harm the next."""
    async with Gateway.start(shared_nats_server.url, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
async def worker(shared_nats_server: NatsServer) -> AsyncIterator[Worker]:
    """The only worker of the shared gateway."""
    async with Worker.start(shared_nats_server.url) as worker:
        yield worker
