"""House rules that no linter knows: sizes, names, and that everything named in one place exists in the other."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from trunkline_gateway.settings import GatewaySettings
from trunkline_transcripts.console.settings import ConsoleSettings
from trunkline_transcripts.settings import TranscriptsSettings
from trunkline_worker import metrics as worker_metrics
from trunkline_worker.commands import Measure
from trunkline_worker.settings import WorkerSettings

ROOT = Path(__file__).parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "misc", "core", "types"}


@cache
def tracked_files() -> tuple[Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


def python_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py"]


def source_files() -> list[Path]:
    return [path for path in python_files() if "src" in path.relative_to(ROOT).parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    long_functions = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert lines <= FILE_LINES_MAX, f"{lines} lines: which room wants to be two?"
    assert not long_functions


@pytest.mark.parametrize("path", source_files(), ids=name_of)
def test_modules_are_named_for_what_they_hold(path: Path) -> None:
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}

    assert not parts & BANNED_NAMES


@pytest.mark.parametrize("path", source_files(), ids=name_of)
def test_modules_begin_with_what_they_are(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", source_files(), ids=name_of)
def test_no_type_or_lint_exception_without_its_code(path: Path) -> None:
    bare = [
        line for line in path.read_text().splitlines() if re.search(r"# (type: ignore|noqa)(?![:\[])", line)
    ]

    assert not bare


def test_metrics_carry_our_prefix() -> None:
    made = re.compile(r"\b(?:Counter|Gauge|Histogram|Summary)\(\s*f?\"([^\"]+)\"")
    names = {name for path in source_files() for name in made.findall(path.read_text())}

    assert names, "no metric found: the pattern is out of date"
    assert {name for name in names if not name.startswith("trunkline_")} == set()


def test_every_metric_is_made_in_a_metrics_file_or_in_common() -> None:
    elsewhere = [
        name_of(path)
        for path in source_files()
        if "prometheus_client" in path.read_text()
        and path.name not in {"metrics.py", "metrics_page.py"}
        and "trunkline_common" not in path.parts
    ]

    assert not elsewhere


def test_every_dependency_has_its_reason() -> None:
    silent = []
    for path in tracked_files():
        if path.name != "pyproject.toml":
            continue
        for line in path.read_text().splitlines():
            if re.match(r'\s+"[a-z]', line) and re.search(r"[><=]=", line) and "#" not in line:
                silent.append(f"{name_of(path)}: {line.strip()}")

    assert not silent


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = []
    for path in tracked_files():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{name_of(path)} → {target}")

    assert not broken


def test_every_make_target_is_in_the_readme_or_the_contributors_page() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()

    assert [target for target in targets if f"make {target}" not in told] == []


def test_every_setting_is_in_the_readme() -> None:
    told = (ROOT / "README.md").read_text()
    fields = {
        name.upper()
        for settings_type in (GatewaySettings, WorkerSettings, TranscriptsSettings, ConsoleSettings)
        for name in settings_type.model_fields
    }

    assert [field for field in sorted(fields) if f"`{field}`" not in told] == []


@pytest.mark.parametrize(
    "page", [path for path in tracked_files() if path.suffix == ".md"], ids=lambda path: path.name
)
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    sources = "".join(path.read_text() for path in source_files())
    named = set(
        re.findall(r"`(trunkline_[a-z_]+?)(?:_total|_bucket|_count|_sum)?(?:\{[^`]*)?`", page.read_text())
    )
    packages = {"trunkline_common", "trunkline_gateway", "trunkline_worker", "trunkline_transcripts"}
    packages |= {"trunkline_local", "trunkline_simulators", "trunkline_analyst", "trunkline_model"}

    counted = {worker_metrics.name_of(measure) for measure in Measure}

    missing = {name for name in named - packages - counted if f'"{name}"' not in sources}

    assert not missing
