"""Writes the manifests that are copies: of Prometheus' rules, of Grafana's dashboards, and of the users of NATS.

kustomize reads nothing outside of its own folders, so the copies are committed. Run by `make manifests`; a test
compares what is committed with what `written` returns.
"""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parent / "prometheus/rules"
DASHBOARDS: Final = HERE.parent / "grafana/dashboards"
NATS_VALUES: Final = HERE / "nats/values.yaml"

MADE_FROM: Final = "# Made by `make manifests` from {}; change that instead.\n"


def written() -> dict[Path, str]:
    """Return each made file's path and what it must hold."""
    return {
        HERE / "components/monitoring/rules.yaml": _rules(),
        HERE / "components/monitoring/dashboards.yaml": _dashboards(),
        HERE / "components/dev-backends/nats.conf": _nats_configuration(),
    }


def _rules() -> str:
    objects = [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"trunkline-{path.stem}"},
            "spec": {"groups": _yaml().load(path)["groups"]},
        }
        for path in sorted(RULES.glob("*.yaml"))
    ]
    return MADE_FROM.format("deploy/prometheus/rules") + _documents(objects)


def _dashboards() -> str:
    objects = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            # The label is what the sidecar of Grafana's chart looks for.
            "metadata": {"name": f"dashboard-{path.stem}", "labels": {"grafana_dashboard": "1"}},
            "data": {path.name: LiteralScalarString(path.read_text())},
        }
        for path in sorted(DASHBOARDS.glob("*.json"))
    ]
    return MADE_FROM.format("deploy/grafana/dashboards") + _documents(objects)


def _nats_configuration() -> str:
    """Return the configuration of a single server with the cluster's users; JSON is valid in it."""
    own = {
        "server_name": "dev",
        "port": 4222,
        "http_port": 8222,
        "jetstream": {"store_dir": "/data", "max_file_store": 3 * 2**30, "max_memory_store": 64 * 2**20},
    }
    merged: dict[str, Any] = _yaml().load(NATS_VALUES)["config"]["merge"]
    lines = [f"{key}: {json.dumps(value, indent=2)}" for key, value in (own | merged).items()]
    # The chart's word for a variable that nats-server reads from its environment.
    text = re.sub(r'"<< (\$[A-Z_]+) >>"', r"\1", "\n".join(lines))
    return MADE_FROM.format("deploy/k8s/nats/values.yaml") + text + "\n"


def _documents(objects: list[dict[str, Any]]) -> str:
    stream = StringIO()
    _yaml().dump_all(objects, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    yaml = YAML(pure=True)
    yaml.width = 1_000_000
    return yaml


if __name__ == "__main__":
    for made, content in written().items():
        made.write_text(content)
