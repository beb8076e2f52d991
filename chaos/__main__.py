"""The command `python -m chaos`, which `make chaos` runs.

    make chaos ARGS="--seed 7 --faults worker-kill,worker-hang --hits 200 --callers 20"

Prints the seed first: with it, and the same options, the same faults strike in the same order. The exit code is 1 when
a check failed.
"""

import asyncio
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from chaos import checker, recorded, report, schedule
from chaos.faults import FAULTS
from chaos.figures import figures
from chaos.rehearsal import Settings, rehearse
from chaos.strike import NoLiveCallsError
from trunkline_local.processes import ProcessError

SEEDS: Final = 2**31
SHORT: Final = ("worker-kill", "worker-hang", "worker-drain", "gateway-kill", "nats-kill", "transcripts-kill")
"""What strikes unless somebody asks for more: a minute and a half."""


def _read_faults(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(FAULTS) if value == "all" else tuple(part.strip() for part in value.split(","))
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise click.BadParameter(f"no fault is called {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return names


@click.command(
    epilog="\b\nFaults:\n"
    + "\n".join(f"  {name:<24} {fault.strikes}: {fault.about}" for name, fault in FAULTS.items())
)
@click.option("--seed", type=int, help="Draws faults, victims and pauses. [default: a new one]")
@click.option(
    "--faults", default=",".join(SHORT), callback=_read_faults, help="Which, comma-separated, or `all`."
)
@click.option("--hits", default=1, show_default=True, help="How often each strikes, always under live calls.")
@click.option("--callers", default=4, show_default=True, help="Calls at the same time.")
@click.option(
    "--lines", default=4, show_default=True, type=click.IntRange(1, 4), help="Lines that are said in a call."
)
@click.option("--workers", default=2, show_default=True)
@click.option("--gateways", default=2, show_default=True)
@click.option(
    "--pause",
    "pause_s",
    nargs=2,
    type=click.FloatRange(0.0, 60.0),
    default=schedule.PAUSE_S,
    show_default=True,
    metavar="MIN MAX",
    help="Seconds between the faults; 0.3 1 for many in a short time.",
)
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep history, logs and sound."
)
@click.option(
    "--gaps/--no-gaps",
    default=True,
    help="Whether a gap over its target fails the run; not on a busy machine.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the report there.")
@click.option(
    "--judge", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Only judge a kept run."
)
def command(
    keep: Path | None, json_file: Path | None, judge: Path | None, gaps: bool, **options: Any
) -> None:
    """Strike real processes under live calls, then check that nothing was lost, repeated or cut off."""
    if options["seed"] is None:
        options["seed"] = secrets.randbelow(SEEDS)
    settings = Settings(**options)
    if judge is not None:
        sys.exit(_judge(judge, json_file, gaps))
    click.echo(f"seed {settings.seed}")
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="trunkline-chaos-") as created:
            code = _run(settings, Path(created), json_file, gaps)
    else:
        if keep.exists() and any(keep.iterdir()):
            raise click.BadParameter(f"{keep} is not empty", param_hint="--keep")
        code = _run(settings, keep, json_file, gaps)
    sys.exit(code)


def _run(settings: Settings, folder: Path, json_file: Path | None, gaps: bool) -> int:
    began_at = time.monotonic()

    def progress(what: str) -> None:
        click.echo(f"{time.monotonic() - began_at:7.1f} s  {what}")

    try:
        asyncio.run(rehearse(settings, folder.absolute(), progress))
    except (ProcessError, NoLiveCallsError) as error:
        raise click.ClickException(str(error)) from error
    progress("listening to what the callers heard")
    return _judge(folder, json_file, gaps)


def _judge(folder: Path, json_file: Path | None, gaps: bool) -> int:
    run = recorded.read(folder)
    violations = checker.check(run)
    of_all, found = report.totals(run), figures(run, violations)
    click.echo("\n" + report.text(of_all, found, violations))
    told = json.dumps(
        report.as_json(recorded.settings(folder), of_all, found, violations, gaps=gaps), indent=1
    )
    for path in (folder / "report.json", json_file):
        if path is not None:
            path.write_text(told)
    return int(report.has_failed(found, violations, gaps=gaps))


if __name__ == "__main__":
    command()
