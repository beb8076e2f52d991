import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nats
import nats.errors
import pytest
from infra import MS
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from trunkline_local.nats_server import NatsCluster, NatsServer
from trunkline_local.processes import ProcessError


async def test_clients_are_accepted_from_the_start(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    with pytest.raises(NoRespondersError):
        await client.request("nobody.listens", timeout=5000 * MS)
    await client.close()


async def test_two_servers_side_by_side_share_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    async with NatsServer.start(tmp_path / "second") as second:
        assert second.url != nats_server.url
        for server in (nats_server, second):
            client = await nats.connect(server.url)
            await client.jetstream().add_stream(name="EV", subjects=["ev.>"])
            await client.close()


async def test_a_stream_survives_a_killed_server(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    await client.jetstream().add_stream(name="EV", subjects=["ev.>"])
    await client.jetstream().publish("ev.one", b"kept")
    await client.close()
    address = urlsplit(nats_server.url)

    await nats_server.kill()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.hostname, address.port)
    await nats_server.restart()

    assert urlsplit(nats_server.url) == address
    client = await nats.connect(nats_server.url)
    assert (await client.jetstream().get_msg("EV", 1)).data == b"kept"
    await client.close()


async def test_each_test_begins_with_an_empty_jetstream(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    assert await client.jetstream().streams_info() == []
    await client.close()


async def test_it_drops_dead_clients_within_seconds_not_minutes(nats_server: NatsServer) -> None:
    async with httpx.AsyncClient(base_url=nats_server.monitoring_url) as client:
        settings = (await client.get("/varz")).json()

    assert settings["ping_interval"] == 1_000_000_000  # in ns
    assert settings["ping_max"] == 2
    assert settings["write_deadline"] == 2_000_000_000


async def test_settings_can_be_added(tmp_path: Path) -> None:
    async with NatsServer.start(tmp_path, extra_settings='authorization: { token: "let me in" }') as server:
        client = await nats.connect(server.url, token="let me in")
        assert client.is_connected
        await client.close()


async def test_a_frozen_server_is_stopped_all_the_same(tmp_path: Path) -> None:
    async with NatsServer.start(tmp_path) as server:
        server.send_signal(signal.SIGSTOP)

    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


async def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"(?s)exited with code 1.*nats-server\.log.*unknown field"):
        async with NatsServer.start(tmp_path, extra_settings="nonsense: true"):
            pass


async def test_a_cluster_keeps_a_stream_on_each_server_from_the_start(nats_cluster: NatsCluster) -> None:
    client = await nats.connect(nats_cluster.servers[1].url)
    made = await client.jetstream().add_stream(name="EV", subjects=["ev.>"], num_replicas=3)
    await client.close()

    assert made.cluster is not None
    kept_by = [made.cluster.leader, *(replica.name for replica in made.cluster.replicas or ())]
    assert sorted(nats_cluster.number_of(name or "") for name in kept_by) == [0, 1, 2]


async def test_a_server_of_a_cluster_comes_back_with_its_store(nats_cluster: NatsCluster) -> None:
    client = await nats.connect(nats_cluster.servers[1].url)
    await client.jetstream().add_stream(name="EV", subjects=["ev.>"], num_replicas=3)
    await client.jetstream().publish("ev.one", b"kept")
    await client.close()

    await nats_cluster.kill(0)
    await nats_cluster.restart(0)

    client = await nats.connect(nats_cluster.servers[0].url)
    try:
        async with asyncio.timeout(30_000 * MS):
            assert await read_first(client) == b"kept"
    finally:
        await client.close()


async def read_first(client: Client) -> bytes | None:
    """Read as soon as the stream has a leader; an election takes some seconds."""
    while True:
        try:
            return (await client.jetstream(timeout=1_000 * MS).get_msg("EV", 1)).data
        except (nats.errors.TimeoutError, APIError):
            continue
