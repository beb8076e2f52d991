"""Every query of the dashboards and rules, on a real Prometheus that scrapes the real services while calls are live."""

import asyncio
import json
import math
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from e2e.conftest import StartSystem, dial
from infra import MS
from optional_tools import path_of

from deploy.grafana.__main__ import DASHBOARDS, FOLDER, written
from trunkline_local.processes import Process, free_port
from trunkline_local.system import System

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
LIMIT_S = 30_000 * MS
"""For what was counted to be scraped, and for rules to be evaluated from it."""

ABOVE_ZERO = {
    "calls": {"Calls now", "How calls end, per minute", "From the caller's last word to the first sound"},
    "workers": {"Calls by worker", "HTTP requests per minute"},
    "model": {
        "Cost of a minute",
        "Cost per hour by agent",
        "The model's part of an answer",
        "Tokens per minute",
    },
    "transcripts": {"Events per second", "Rows per minute by table", "Size of the event log"},
}
"""Panels of which one call makes more than a line of zeros, which would also be there if nobody counted."""

GRAFANAS_OWN = {"$__rate_interval": "10s", "$instance": ".*"}


class Prometheus:
    """A running server, and since when."""

    def __init__(self, process: Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self._client = client
        self._began = time.time()

    async def ask(self, page: str, **parameters: str) -> Any:
        answer = await self._client.get(f"/api/v1/{page}", params=parameters)
        told = answer.json()
        assert told["status"] == "success", (parameters, told)
        return told["data"]

    async def sees_all(self) -> bool:
        """Tell whether every service was scraped, and so every counter's 0 is known."""
        found = await self.ask("query", query="count(up == 1) == 3")
        return bool(found["result"])

    async def has_drawn(self, expr: str, above: float = -math.inf) -> bool:
        """Tell whether the query has had a value, a number larger than that, at any time so far."""
        for own, value in GRAFANAS_OWN.items():
            expr = expr.replace(own, value)
        asked = {"query": expr, "start": f"{self._began:.0f}", "end": f"{time.time():.3f}", "step": "2"}
        found = await self.ask("query_range", **asked)
        values = [float(value) for series in found["result"] for _, value in series["values"]]
        return any(math.isfinite(value) and value > above for value in values)


@asynccontextmanager
async def prometheus(folder: Path, running: System) -> AsyncIterator[Prometheus]:
    """Start a server that scrapes the three services once a second and evaluates our rules."""
    ports = {
        "gateway": running.line.gateway_port,
        "worker": running.worker_metrics_port,
        "transcripts": running.environments["transcripts"]["METRICS_PORT"],
    }
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yaml"))],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, port in ports.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    port = free_port()
    command = [
        path_of("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with Process.start("prometheus", command, folder / "logs") as process:
        await process.wait_until_ready(f"http://127.0.0.1:{port}/-/ready")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield Prometheus(process, client)


def test_the_dashboards_are_as_their_generator_makes_them() -> None:
    kept = {path.name: path.read_text() for path in FOLDER.glob("*.json")}

    assert kept == written(), "run: make dashboards"


def test_every_panel_explains_itself_and_links_to_an_alert_that_exists() -> None:
    alerts = (RULES / "slo.yaml").read_text() + (RULES / "symptoms.yaml").read_text()
    panels = [panel for board in DASHBOARDS.values() for panel in board.panels]

    assert [panel.title for panel in panels if not panel.about] == []
    assert [p.alert for p in panels if p.alert and f"alert: {p.alert}\n" not in alerts] == []


def test_links_lead_to_the_address_that_the_variable_runbook_holds() -> None:
    for board in DASHBOARDS.values():
        made = board.json()
        variables = {variable["name"]: variable for variable in made["templating"]["list"]}
        links = [link for part in (made, *made["panels"]) for link in part["links"] if link["type"] == "link"]

        assert variables["runbook"]["current"]["value"].endswith("/docs/runbook.md")
        assert {link["url"].partition("#")[0] for link in links} == {"${runbook:raw}"}


def test_panels_that_must_show_more_than_zeros_exist() -> None:
    titles = {name: {panel.title for panel in board.panels} for name, board in DASHBOARDS.items()}

    assert {name: shown - titles[name] for name, shown in ABOVE_ZERO.items() if shown - titles[name]} == {}


async def test_no_panel_is_empty_and_no_rule_fails_while_calls_are_live(
    tmp_path: Path, start_system: StartSystem
) -> None:
    path_of("prometheus", "prometheus")  # before anything is started
    async with start_system() as running, prometheus(tmp_path, running) as server:
        await server.process.wait_until(server.sees_all, lambda: "every service to be scraped", LIMIT_S)
        empty = {
            f"{name}: {panel.title}: {query.expr}": (
                query.expr,
                0.0 if panel.title in ABOVE_ZERO[name] else -math.inf,
            )
            for name, board in DASHBOARDS.items()
            for panel in board.panels
            for query in panel.queries
        }
        await dial(running, "demo")

        async def all_are_drawn() -> bool:
            for title, (expr, above) in list(empty.items()):
                if await server.has_drawn(expr, above):
                    del empty[title]
            return not empty

        await server.process.wait_until(all_are_drawn, lambda: "values for:\n" + "\n".join(empty), LIMIT_S)

        groups = (await server.ask("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
        missing = {rule["name"] for rule in rules if rule["type"] == "recording"}

        async def all_are_recorded() -> bool:
            missing.difference_update([name for name in missing if await server.has_drawn(name)])
            return not missing

        await server.process.wait_until(all_are_recorded, lambda: f"values of {sorted(missing)}", LIMIT_S)
        paging = 'ALERTS{alertstate="firing", severity="page"}'
        assert (await server.ask("query", query=paging))["result"] == []
        await check_pages(server)


async def check_pages(server: Prometheus) -> None:
    """Let promtool read what the services export."""
    promtool = path_of("promtool", "prometheus")
    for target in (await server.ask("targets"))["activeTargets"]:
        async with httpx.AsyncClient(trust_env=False) as client:
            page = (await client.get(target["scrapeUrl"])).text
        checked = await asyncio.to_thread(
            subprocess.run,
            [promtool, "check", "metrics"],
            input=page,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
