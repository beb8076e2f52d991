"""The `doctor` command: runs the examinations of the installed packages beside each other and prints the report."""

import asyncio
import json
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from trunkline_common import doctor
from trunkline_common.doctor import Examination, Finding, Options, Sheet

GROUP: Final = "trunkline.examinations"

EXAMINATION_S_MAX: Final = 60.0
"""Each question has a limit of its own, 10 s at most; this one is for what none of them covers."""


@click.command(
    name="doctor",
    epilog="""\b
Exit codes: 0 all well · 1 warnings · 2 something is wrong

\b
Examples:
  trunkline doctor
  trunkline doctor --offline --json transcripts
  trunkline doctor --number +12025550147 gateway
""",
)
@click.argument("parts", nargs=-1)
@click.option("--offline", is_flag=True, help="Ask nobody outside: not OpenAI, not Twilio, not PUBLIC_URL.")
@click.option(
    "--number",
    "numbers",
    multiple=True,
    metavar="E164",
    help="A number that must lead here; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(parts: tuple[str, ...], numbers: tuple[str, ...], *, offline: bool, as_json: bool) -> None:
    """Check an installation, and say how to put right what is wrong.

    Looks at settings, NATS, Postgres, the model, Twilio, the public address, clocks and agents with the very
    environment of the services, as far as they are installed here, or only at PARTS (nats, gateway, worker,
    transcripts). It changes nothing and takes no call.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if unknown := sorted(set(parts) - points.keys()):
        raise click.UsageError(
            f"{', '.join(unknown)}: not installed here; there are {', '.join(sorted(points))}"
        )
    # What libraries log about failed attempts stands in the report, in better words.
    logging.disable(logging.CRITICAL)
    chosen = [points[name] for name in sorted(points) if not parts or name in parts]
    findings = asyncio.run(_examine(_examinations(chosen), Options(offline, numbers)))
    if as_json:
        click.echo(json.dumps(doctor.as_json(findings), ensure_ascii=False))
    else:
        for line in doctor.lines(findings):
            click.echo(line)
    raise SystemExit(doctor.exit_code(findings))


def _examinations(points: list[EntryPoint]) -> list[tuple[Sheet, Examination]]:
    # Before the event loop runs: an import takes a second, and would eat the time limits of the other parts.
    return [(Sheet(point.name), point.load()) for point in points]


async def _examine(examinations: list[tuple[Sheet, Examination]], options: Options) -> list[Finding]:
    await asyncio.gather(*(_examine_one(sheet, examine, options) for sheet, examine in examinations))
    return [finding for sheet, _ in examinations for finding in sheet.findings]


async def _examine_one(sheet: Sheet, examine: Examination, options: Options) -> None:
    try:
        async with asyncio.timeout(EXAMINATION_S_MAX):
            await examine(sheet, options)
    except TimeoutError:
        detail = f"not over after {EXAMINATION_S_MAX:.0f} s"
        sheet.wrong("examination", detail, "see the last line of this part; report it")
    except Exception as error:  # noqa: BLE001  # one part's fault must not hide what the others found
        sheet.wrong("examination", f"failed: {type(error).__name__}: {error}", "report this: it is a bug")
