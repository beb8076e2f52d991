"""A worker process and its folder of profiles: what it starts with, and how it follows edits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from infra import MS

from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline

NUMBER = "+12025550147"
DESK = f'name: desk\nnumbers: ["{NUMBER}"]\ninstructions: Be brief.\n'
NIGHT = "name: night\nnumbers: any\ninstructions: Say that nobody is there.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ConfigMap with one profile, as Kubernetes mounts it."""
    folder = tmp_path / "agents"
    folder.mkdir()
    swap_in(folder, "..1", {"desk.yaml": DESK})
    (folder / "desk.yaml").symlink_to("..data/desk.yaml")
    return folder


async def test_an_edit_is_used_without_a_restart(
    nats_server: NatsServer, tmp_path: Path, folder: Path
) -> None:
    async with worker(nats_server, tmp_path, folder) as (process, port):
        assert await sample(port, "trunkline_worker_agents") == 1

        (folder / "night.yaml").write_text(NIGHT)

        await process.wait_for_line("agents-loaded")
        assert await sample(port, "trunkline_worker_agents") == 2
        assert await sample(port, 'trunkline_worker_agent_reloads_total{result="loaded"}') == 1


async def test_a_swapped_configmap_is_noticed_and_a_broken_one_keeps_the_agents(
    nats_server: NatsServer, tmp_path: Path, folder: Path
) -> None:
    async with worker(nats_server, tmp_path, folder) as (process, port):
        swap_in(folder, "..2", {"desk.yaml": DESK + "voice: maria\n"})

        await process.wait_for_line("agents-refused")
        assert await sample(port, "trunkline_worker_agents") == 1
        assert await sample(port, "trunkline_worker_agents_outdated") == 1
        assert await sample(port, 'trunkline_worker_agent_reloads_total{result="refused"}') == 1
        log = process.log_path.read_text()
        assert "desk.yaml:4: voice: must be" in log
        assert NUMBER not in log

        swap_in(folder, "..3", {"desk.yaml": DESK + "voice: cedar\n"})

        await process.wait_for_line("agents-loaded")
        assert await sample(port, "trunkline_worker_agents_outdated") == 0


async def test_a_profile_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(DESK + "voice: maria\nspeed: 9\n")
    environment = {"OPENAI_API_KEY": "none", "TRUNKLINE_AGENTS": str(tmp_path), "METRICS_PORT": "0"}

    async with Process.start("worker", trunkline("worker"), tmp_path / "logs", environment) as process:
        assert await process.exited() == 2

    lines = process.log_path.read_text().splitlines()
    assert [line.partition(" must be")[0] for line in lines] == [
        "trunkline: TRUNKLINE_AGENTS: desk.yaml:4: voice:",
        "trunkline: TRUNKLINE_AGENTS: desk.yaml:5: speed:",
    ]


def swap_in(folder: Path, version: str, files: dict[str, str]) -> None:
    """Replace all files at once, the way a kubelet does: a new version, and then one link to it."""
    (folder / version).mkdir()
    for name, text in files.items():
        (folder / version / name).write_text(text)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")


@asynccontextmanager
async def worker(nats_server: NatsServer, tmp_path: Path, folder: Path) -> AsyncIterator[tuple[Process, int]]:
    port = free_port()
    environment = {
        "NATS_URL": nats_server.url,
        "OPENAI_API_KEY": "none",
        "TRUNKLINE_AGENTS": str(folder),
        "METRICS_PORT": str(port),
    }
    async with Process.start("worker", trunkline("worker"), tmp_path / "logs", environment) as process:
        await process.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield process, port


async def sample(port: int, name: str) -> float:
    async with httpx.AsyncClient() as client, asyncio.timeout(5_000 * MS):
        page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    (value,) = [line.rpartition(" ")[2] for line in page.splitlines() if line.rpartition(" ")[0] == name]
    return float(value)
