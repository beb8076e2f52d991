"""deploy/compose/start.sh: the settings of .env, or those of the simulators, never a mixture."""

import os
import subprocess
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "deploy/compose/start.sh"


class Container:
    """Runs the script with programs that stand for the network and the service."""

    def __init__(self, folder: Path) -> None:
        self._programs = folder
        self._program("trunkline", 'echo "$@"; env')

    def _program(self, name: str, script: str) -> None:
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, *command: str, simulators: bool, **env: str) -> subprocess.CompletedProcess[str]:
        self._program("getent", f'[ "$*" = "hosts sim-openai" ] && exit {0 if simulators else 2}')
        path = f"{self._programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", START, *command], env={"PATH": path, **env}, capture_output=True, text=True, check=False
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_with_simulators_and_no_key_everything_is_theirs(container: Container) -> None:
    started = container.start("worker", simulators=True, MODEL="", TWILIO_AUTH_TOKEN="real")

    assert "OPENAI_REALTIME_URL=ws://sim-openai:8081/v1/realtime\n" in started.stdout
    assert "TWILIO_AUTH_TOKEN=simulated\n" in started.stdout


def test_with_a_key_nothing_is_the_simulators(container: Container) -> None:
    started = container.start("gateway", simulators=True, MODEL="openai", PUBLIC_URL="https://a.example")

    assert started.stdout.startswith("gateway\n")
    assert "PUBLIC_URL=https://a.example\n" in started.stdout
    assert "sim" not in started.stdout


def test_without_simulators_and_key_the_service_itself_says_what_is_missing(container: Container) -> None:
    started = container.start("worker", simulators=False, MODEL="")

    assert started.stdout.startswith("worker\n")
    assert "OPENAI_API_KEY" not in started.stdout


def test_the_simulated_caller_signs_as_the_gateway_checks(container: Container) -> None:
    started = container.start("sim-twilio", "--calls", "3", simulators=True, MODEL="")

    assert started.stdout.startswith("sim-twilio --calls 3 --webhook https://trunkline.example/voice ")
    assert "TWILIO_AUTH_TOKEN=simulated\n" in started.stdout


def test_nobody_talks_to_a_model_that_costs_by_simulation(container: Container) -> None:
    started = container.start("sim-twilio", simulators=True, MODEL="openai")

    assert started.returncode == 2
    assert "OPENAI_API_KEY is set" in started.stderr
