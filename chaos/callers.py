"""The callers: K processes, each with one call at a time, from the beginning of a run to its end."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from chaos.caller import CALL_LIMIT_S, Config
from chaos.fleet import Fleet
from trunkline_local.processes import Process

SPREAD_S: Final = 3.0
"""For each line of a call: within so long all callers have called. It is about a third of a call."""

_ROOT: Final = Path(__file__).parent.parent


@contextlib.asynccontextmanager
async def calling(fleet: Fleet, callers: int, lines: int, seed: int) -> AsyncIterator[None]:
    """Let `callers` call until the end of the block, which waits for the calls that are under way.

    Those of a block that failed are not waited for.
    """
    processes = await asyncio.gather(
        *(_start(fleet, number, callers, lines, seed) for number in range(callers))
    )
    try:
        yield
    except BaseException:
        await asyncio.gather(*(process.kill() for process in processes))
        raise
    await asyncio.gather(*(process.stop(CALL_LIMIT_S) for process in processes))


async def _start(fleet: Fleet, number: int, callers: int, lines: int, seed: int) -> Process:
    folder = fleet.folder / "callers"
    name = f"caller-{number + 1}"
    config = Config(
        name=name,
        webhook=fleet.line.webhook,
        auth_token=fleet.line.auth_token,
        account_sid=fleet.line.account_sid,
        public_host=urlsplit(fleet.line.public_url).hostname or "",
        port=fleet.front.port,
        record=str(fleet.folder / "recordings"),
        seed=seed,
        lines=lines,
        starts_after_s=SPREAD_S * lines * number / callers,
    )
    path = folder / f"{name}.json"
    await asyncio.to_thread(_write, path, msgspec.json.encode(config))
    command = [sys.executable, "-m", "chaos.caller", str(path)]
    return await Process.launch(name, command, folder, working_folder=_ROOT)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return what all callers printed, in the order of time."""
    lines = [
        json.loads(line)
        for path in (folder / "callers").glob("*.log")
        for line in path.read_bytes().splitlines()
        if line.startswith(b"{")
    ]
    return sorted(lines, key=lambda line: int(line["at_ns"]))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
