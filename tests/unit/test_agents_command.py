"""`trunkline agents`: what it prints and how it exits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trunkline_worker import agents_command, profiles

VALID = 'name: desk\nnumbers: ["+12025550147", "+12025550148"]\ninstructions: Be brief.\n'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(agents_command.command, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two valid profiles, and an environment that says nothing."""
    for variable in ("TRUNKLINE_AGENTS", "OPENAI_REALTIME_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "desk.yaml").write_text(VALID)
    (tmp_path / "other.yaml").write_text(
        "name: everybody else\nnumbers: any\ninstructions: Be brief.\nmodel: gpt-realtime-2\n"
    )
    return tmp_path


def test_check_prints_a_line_for_each_profile(folder: Path) -> None:
    result = run("check", str(folder))

    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "desk.yaml   desk            +12025550147 +12025550148  gpt-realtime-2.1",
            "other.yaml  everybody else  any                        gpt-realtime-2",
        ],
    )


def test_check_takes_folder_and_model_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_AGENTS", str(folder))
    monkeypatch.setenv("OPENAI_REALTIME_MODEL", "gpt-realtime-2.1-mini")

    result = run("check")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("gpt-realtime-2.1-mini")


def test_check_prints_every_problem_and_exits_with_1(folder: Path) -> None:
    (folder / "broken.yaml").write_text("name: broken\n")

    result = run("check", str(folder))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "broken.yaml:1: instructions: is missing",
        "broken.yaml:1: numbers: is missing",
    ]


@pytest.mark.usefixtures("folder")
def test_check_without_a_folder_says_what_to_name() -> None:
    result = run("check")

    assert result.exit_code == 2
    assert "name a folder, or set TRUNKLINE_AGENTS" in result.stderr


def test_schema_is_json() -> None:
    assert json.loads(run("schema").stdout) == profiles.json_schema()
