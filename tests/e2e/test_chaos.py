"""A small run of `make chaos`: real processes are struck under live calls, and nothing is lost."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FAULTS = "worker-kill,transcripts-kill"


async def test_calls_outlive_what_is_struck_under_them(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos", "--faults", FAULTS, "--callers", "2", "--lines", "2", "--no-gaps"),
        *("--keep", str(tmp_path / "chaos")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()

    # The report has the seed, with which the same faults strike again.
    assert process.returncode == 0, told.decode()
