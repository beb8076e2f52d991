"""`trunkline console` as a process between a real nats-server and a real Postgres."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import analysts_calls
import console_world
import event_logs
import httpx
import pytest
from console_world import KEYS, OFFICER, READER
from infra import MS
from optional_tools import path_of
from transcripts_world import World, client_of

from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline

GUIDE: Final = Path(__file__).parents[2] / "docs" / "api.md"
EVENT_LIMIT_S: Final = 30_000 * MS


@pytest.fixture
async def world(nats_server: NatsServer, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with client_of(nats_server) as client:
        yield World(tmp_path, nats_server.url, client, migrated_database_url)


@contextlib.asynccontextmanager
async def running(
    folder: Path, nats_server: NatsServer, database_url: str, **variables: str
) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    port = free_port()
    environment = {"NATS_URL": nats_server.url, "DATABASE_URL": database_url, "PORT": str(port)}
    environment |= {"CONSOLE_API_KEYS": KEYS} | variables
    headers = {"Authorization": f"Bearer {OFFICER}"}
    base_url = f"http://127.0.0.1:{port}"
    async with Process.start("console", trunkline("console"), folder, environment) as process:
        await process.wait_until_ready(f"{base_url}/readyz")
        async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=EVENT_LIMIT_S) as client:
            yield process, client


class Listener:
    """Reads server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events."""
        found: list[dict[str, Any]] = []
        fields: dict[str, str] = {}
        async with asyncio.timeout(EVENT_LIMIT_S):
            while len(found) < count:
                line = await anext(self._lines)
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    data = json.loads(fields["data"])
                    found.append({"id": fields["id"], "event": fields["event"], **data})
                    fields = {}
        return found


@contextlib.asynccontextmanager
async def listening(client: httpx.AsyncClient, **options: Any) -> AsyncIterator[Listener]:
    async with client.stream("GET", "/v1/live", **options) as response:
        assert response.status_code == 200, await response.aread()
        yield Listener(response)


async def test_a_listener_is_told_of_calls_and_goes_on_where_it_stopped(
    world: World, nats_server: NatsServer, tmp_path: Path
) -> None:
    await world.make_stream()
    log = event_logs.call("CA1", turns=1)
    async with running(tmp_path, nats_server, world.database_url) as (_, client):
        async with listening(client) as listener:
            await world.publish(event_logs.call("CA0", turns=1))
            await world.publish(log)
            told = await listener.events(6)
        last = told[-1]["id"]
        async with listening(client, headers={"Last-Event-ID": last}, params={"call_id": "CA1"}) as listener:
            rest = await listener.events(3)

    assert [(event["call_id"], event["event"]) for event in told] == [
        ("CA0", "call_started"),
        ("CA0", "turn"),
        ("CA0", "turn"),
        ("CA0", "turn"),
        ("CA0", "call_ended"),
        ("CA1", "call_started"),
    ]
    assert told[0]["caller"] == "+15550001111"
    assert [event.get("text") for event in rest] == [None, "Answer 1.", "Question 1?"]
    assert int(rest[0]["id"]) > int(last)


async def test_a_listener_outlives_a_restart_of_nats(
    world: World, nats_server: NatsServer, tmp_path: Path, error_logs: Any
) -> None:
    error_logs.expect("nats: encountered error")  # of this test's own client
    await world.make_stream()
    async with (
        running(tmp_path, nats_server, world.database_url) as (_, client),
        listening(client) as listener,
    ):
        await world.publish(event_logs.call("CA1", turns=1))
        await listener.events(5)
        await nats_server.kill()
        await nats_server.restart()
        async with client_of(nats_server) as other:
            again = World(tmp_path, nats_server.url, other, world.database_url)
            await again.publish(event_logs.call("CA2", turns=1))
        after = await listener.events(5)

    assert {event["call_id"] for event in after} == {"CA2"}


async def test_there_is_a_limit_of_listeners_and_numbers_take_a_scope(
    world: World, nats_server: NatsServer, tmp_path: Path
) -> None:
    await world.make_stream()
    variables = {"CONSOLE_LISTENERS_MAX": "1", "CONSOLE_API_KEYS": f"a:live:{OFFICER},b:calls:{READER}"}
    async with running(tmp_path, nats_server, world.database_url, **variables) as (process, client):
        forbidden = await client.get("/v1/live", headers={"Authorization": f"Bearer {READER}"})
        async with listening(client) as listener:
            refused = await client.get("/v1/live")
            await world.publish(event_logs.call("CA1", turns=1))
            (started,) = await listener.events(1)
            # It sends the listener away, and does not wait for it.
            assert await process.stop() == os.EX_OK

    assert forbidden.status_code == 403
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert started["caller"] is None


async def test_without_nats_everything_but_the_live_calls_is_there(
    nats_server: NatsServer, migrated_database_url: str, tmp_path: Path
) -> None:
    await nats_server.stop()
    async with running(tmp_path, nats_server, migrated_database_url) as (_, client):
        listed = await client.get("/v1/calls")
        live = await client.get("/v1/live")

    assert listed.json() == {"calls": [], "next_cursor": None}
    assert (live.status_code, live.json()["type"]) == (503, "urn:trunkline:problem:event-log-away")


async def test_without_keys_it_listens_to_this_machine_only(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": "postgresql+asyncpg://nobody@/nothing", "HOST": "0.0.0.0"}
    async with Process.start("console", trunkline("console"), tmp_path, environment) as process:
        assert await process.exited() == 2
        assert "CONSOLE_API_KEYS: is not set, and HOST 0.0.0.0 can be reached" in process.log_path.read_text()


async def until_live(client: httpx.AsyncClient) -> None:
    """Wait until the console has found NATS, which its readiness does not ask for."""
    async with asyncio.timeout(EVENT_LIMIT_S):
        while True:
            async with client.stream("GET", "/v1/live") as answer:
                if answer.status_code == 200:
                    return


async def test_the_commands_of_the_guide_work(world: World, nats_server: NatsServer, tmp_path: Path) -> None:
    path_of("curl", "curl")
    commands = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    await world.make_stream()
    await console_world.store(world.database_url, analysts_calls.logs())
    async with running(tmp_path, nats_server, world.database_url) as (_, client):
        environment = {**os.environ, "KEY": OFFICER, "CONSOLE": str(client.base_url).rstrip("/")}
        await until_live(client)
        said = []
        for command in commands:
            shell = await asyncio.create_subprocess_exec(
                "bash", "-ec", command, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE
            )
            said.append((await shell.communicate())[0].decode())
            assert shell.returncode == 0, command

    listed, call, found, live, _ = said
    assert [item["call_id"] for item in json.loads(listed)["calls"]] == ["CA02", "CA01"]
    assert len(json.loads(call)["conversation"]) == 4
    assert [hit["call_id"] for hit in json.loads(found)["hits"]] == ["CA02"]
    assert live.startswith("retry: 1000\n: listening\n")
    assert "CA05" in (tmp_path / "turns.csv").read_text()
