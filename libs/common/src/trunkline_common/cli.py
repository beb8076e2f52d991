"""The one command, `trunkline`: each installed package adds its own through entry points."""

import sys
from importlib.metadata import entry_points, version

import click

from trunkline_common.settings import SettingsError

EXIT_CONFIGURATION = 2
"""A setting is missing or wrong, or a port is taken: starting again will not help."""


class _Commands(click.Group):
    """Commands of the installed packages, loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(point.name for point in entry_points(group="trunkline.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for point in entry_points(group="trunkline.commands", name=cmd_name):
            command = point.load()
            assert isinstance(command, click.Command), f"{point.value} is no command"
            return command
        return None


@click.group(
    cls=_Commands,
    epilog="Examples: trunkline demo · trunkline up · trunkline gateway --help",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(version("trunkline-common"), prog_name="trunkline")
def trunkline() -> None:
    """Phone calls answered by a speech-to-speech model.

    Services read their settings from the environment; each command's --help lists them.
    """


def main() -> None:
    """Run the command line; each wrong setting is one line on standard error, the exit code is 2."""
    try:
        trunkline()
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"trunkline: {line}", err=True)
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
