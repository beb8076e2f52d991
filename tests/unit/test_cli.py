import sys
from importlib.metadata import EntryPoint, version

import click
import pytest
from click.testing import CliRunner

from trunkline_common import cli
from trunkline_common.settings import SettingsError


@click.command()
def greet() -> None:
    """Say hello."""
    click.echo("hello")


@click.command()
def misconfigured() -> None:
    """Miss two settings."""
    raise SettingsError("NATS_URL: is not set\nTWILIO_AUTH_TOKEN: is not set")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installed packages, each with a command of its own."""
    points = [
        EntryPoint("misconfigured", f"{__name__}:misconfigured", "trunkline.commands"),
        EntryPoint("greet", f"{__name__}:greet", "trunkline.commands"),
    ]
    monkeypatch.setattr(
        cli,
        "entry_points",
        lambda group, name=None: [point for point in points if name in (None, point.name)],
    )


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line as the installed script does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["trunkline", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.usefixtures("installed")
class TestCommands:
    def test_of_the_installed_packages_are_listed_with_their_purpose(self) -> None:
        output = CliRunner().invoke(cli.trunkline, ["--help"]).output

        assert "greet" in output
        assert "Say hello." in output
        assert output.index("greet") < output.index("misconfigured")
        assert "Examples:" in output

    def test_are_loaded_and_run(self) -> None:
        result = CliRunner().invoke(cli.trunkline, ["greet"])

        assert (result.exit_code, result.output) == (0, "hello\n")

    def test_one_that_does_not_exist(self) -> None:
        result = CliRunner().invoke(cli.trunkline, ["gret"])

        assert result.exit_code == 2
        assert "gret" in result.output

    def test_each_wrong_setting_is_one_line_and_the_exit_code_is_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "misconfigured") == cli.EXIT_CONFIGURATION == 2

        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err == "trunkline: NATS_URL: is not set\ntrunkline: TWILIO_AUTH_TOKEN: is not set\n"

    def test_success_is_0(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(monkeypatch, "greet") == 0


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    result = CliRunner().invoke(cli.trunkline, [option])

    assert result.exit_code == 0
    assert "Phone calls answered by a speech-to-speech model." in result.output


def test_version() -> None:
    result = CliRunner().invoke(cli.trunkline, ["--version"])

    assert result.output == f"trunkline, version {version('trunkline-common')}\n"
