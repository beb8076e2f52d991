"""The `agents` commands: check a folder of agent profiles before it is rolled out, and print their schema."""

import json
from pathlib import Path

import click

from trunkline_common import settings
from trunkline_worker import profiles
from trunkline_worker.profile_files import LoadedProfile, ProfilesError, read_folder
from trunkline_worker.settings import AgentSettings

EXIT_INVALID = 1


@click.group(epilog="Examples: trunkline agents check examples/agents · trunkline agents schema")
def command() -> None:
    """Check agent profiles, the YAML files in TRUNKLINE_AGENTS."""


@command.command(epilog="Exit codes: 0 all can be used · 1 at least one cannot · 2 no folder was named")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def check(folder: Path | None) -> None:
    """Check the agent profiles of a folder.

    Prints a line for each profile of FOLDER (default: TRUNKLINE_AGENTS), or one for each problem.
    """
    variables = settings.load(AgentSettings)
    folder = folder or variables.trunkline_agents
    if folder is None:
        raise click.UsageError("name a folder, or set TRUNKLINE_AGENTS")
    try:
        loaded = read_folder(
            folder, variables.built_in_agent(), rules=variables.tool_rules(secrets=None)
        ).loaded
    except ProfilesError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(EXIT_INVALID) from None
    for row in _aligned([_row(each) for each in loaded]):
        click.echo(row)


@command.command()
def schema() -> None:
    """Print the JSON Schema of a profile.

    Editors complete and check profiles by it.
    """
    click.echo(json.dumps(profiles.json_schema(), indent=2, ensure_ascii=False))


def _row(each: LoadedProfile) -> tuple[str, ...]:
    numbers = each.profile.numbers
    return (
        each.file,
        each.profile.name,
        numbers if isinstance(numbers, str) else " ".join(numbers),
        each.agent.model,
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
