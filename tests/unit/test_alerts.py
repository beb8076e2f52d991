"""The rules of Prometheus: each alert explains itself, has its section in the runbook, and is tried by promtool."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from optional_tools import path_of
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
TRIALS = sorted((ROOT / "deploy" / "prometheus" / "tests").glob("*.yaml"))


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in YAML(typ="safe").load(path)["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_tells_who_it_wakes_and_why(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["labels"]["service"] in {"gateway", "worker", "transcripts", "system"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_every_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert sections == [alert["alert"] for path in ("slo", "symptoms") for alert in alerts_of(path)]


def test_links_inside_the_runbook_lead_to_a_section() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    targets = set(re.findall(r"\]\(#([\w-]+)\)", text))

    assert targets <= {section.lower() for section in re.findall(r"^### (\w+)$", text, re.MULTILINE)}


def test_every_alert_is_tried() -> None:
    tried = {name for path in TRIALS for name in re.findall(r"alertname=\"(\w+)\"", path.read_text())}

    assert tried == {alert["alert"] for alert in alerts()}


def test_the_rules_are_well_formed() -> None:
    checked = promtool("check", "rules", "--lint-fatal", *map(str, RULES))

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", TRIALS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_are_quiet_in_a_healthy_system(path: Path) -> None:
    tried = promtool("test", "rules", str(path))

    assert tried.returncode == 0, tried.stdout + tried.stderr


def alerts_of(stem: str) -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load(RULES[0].parent / f"{stem}.yaml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [path_of("promtool", "prometheus"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
