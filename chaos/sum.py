"""The command `python -m chaos.sum A.json B.json`: adds the reports of several runs up to one.

Each report is a `report.json` of a kept run, or what `--json` wrote. The exit code is 1 when a check failed in any of
them.
"""

import json
import sys
from pathlib import Path

import click

from chaos import figures, report
from chaos.checker import Violation


@click.command()
@click.argument(
    "reports", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--gaps/--no-gaps", default=True, help="Whether a gap over its target is a failure.")
def command(reports: tuple[Path, ...], gaps: bool) -> None:
    """Add the reports of several runs up: one table, percentiles over all of their gaps."""
    told = [json.loads(path.read_bytes()) for path in reports]
    seeds = [one["seed"] for one in told]
    if len(set(seeds)) < len(seeds):
        raise click.ClickException(f"seeds {seeds}: one run would count twice")
    try:
        of_all = report.added([report.totals_from_json(one) for one in told])
        found = figures.together(figures.from_json(fault) for one in told for fault in one["faults"])
    except KeyError as error:
        raise click.ClickException(f"a report lacks {error}: judge its run again with --judge") from error
    violations = [Violation(**each) for one in told for each in one["violations"]]
    click.echo(f"seeds {', '.join(map(str, seeds))}\n\n" + report.text(of_all, found, violations))
    sys.exit(report.has_failed(found, violations, gaps=gaps))


if __name__ == "__main__":
    command()
