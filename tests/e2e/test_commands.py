"""What the README promises of `make demo`, `make up` and `make call`, tried as a newcomer would."""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline_local.processes import Process, trunkline

MARK = "RUN_MARK"
"""A variable that every process of one run inherits, so that what is left of it can be found."""

COMMAND_LIMIT_S = 110.0


@pytest.fixture
def run_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for one run; afterwards no process of it may be alive."""
    mark = secrets.token_hex(8)
    yield {MARK: mark, "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "100"}
    assert processes_with(f"{MARK}={mark}") == []


def processes_with(variable: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if variable.encode() in variables and command:
            found.append(command)
    return found


async def run_to_the_end(name: str, folder: Path, environment: dict[str, str]) -> str:
    async with Process.start(name, trunkline(name), folder, environment) as process:
        code = await process.wait_until(
            lambda: _exit_code(process), lambda: "the end of the command", COMMAND_LIMIT_S
        )
    output = process.log_path.read_text()
    assert code == "exited with 0", output
    return output


async def _exit_code(process: Process) -> str | None:
    await process.exited()
    return f"exited with {process.exit_code}"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for leftover processes in /proc")
async def test_the_demo_answers_a_call_and_shows_what_happened(
    tmp_path: Path, run_environment: dict[str, str]
) -> None:
    output = await run_to_the_end("demo", tmp_path, run_environment)

    assert "The model is simulated" in output
    assert "“Hi. When are you open on Saturday?”" in output
    assert "(interrupts)" in output
    assert "unheard speech dropped" in output
    assert "Twilio warns" not in output
    assert re.search(r"caller → model +│ +10 ms │ +[\d.]+ ms │ +[\d.]+ ms", output)
    assert re.search(r"gateway → Twilio +│ +50 ms │ +[\d.]+ ms", output)
    assert "where call_id = :call_id" in output
    assert re.search(r"outcome +│ success", output)
    wav = re.search(r"(\S+\.wav)", output)
    assert wav is not None
    assert (tmp_path / wav[1]).read_bytes().startswith(b"RIFF")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for leftover processes in /proc")
async def test_up_runs_until_interrupted_and_call_calls_it(
    tmp_path: Path, run_environment: dict[str, str]
) -> None:
    up = await Process.launch(
        "up", trunkline("up", "--port", "0"), tmp_path, run_environment, stop_signal=signal.SIGINT
    )
    try:
        await up.wait_for_line("Ctrl-C stops everything", limit_s=60)

        output = await run_to_the_end("call", tmp_path, run_environment)
    finally:
        code = await up.stop(limit_s=30)

    assert "call over: caller-hung-up" in output
    assert re.search(r"outcome +│ success", output)
    assert code == 0
    assert "Every process has stopped" in up.log_path.read_text()


def test_call_without_a_running_system_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "100"}

    done = subprocess.run(
        trunkline("call"), env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert "start it with: trunkline up" in done.stdout
