"""The `smoke` command: does this key, this model and this agent work, and how fast? Without a telephone."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import click

from trunkline_common import log, settings
from trunkline_worker import smoke, smoke_models
from trunkline_worker.agent import Agent
from trunkline_worker.price_file import price_list
from trunkline_worker.profile_files import ProfilesError, read_file
from trunkline_worker.settings import ModelSettings, tool_secrets
from trunkline_worker.smoke_report import EXIT_FOUND, EXIT_OK


@click.command(
    epilog=f"""\b
Exit codes: 0 all well · 1 refused, different from what was asked, or missing · 2 a wrong setting
or profile · 3 something did not come in time. It costs a few cents.

{settings.variables(ModelSettings)}

\b
Examples:
  OPENAI_API_KEY_FILE=/run/secrets/openai trunkline smoke --agent agents/front-desk.yaml
  trunkline smoke --models
"""
)
@click.option(
    "--agent",
    "profile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Agent profile to talk as. [default: the built-in agent]",
)
@click.option("--models", is_flag=True, help="Only list the realtime models of the key, and when they end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(profile: Path | None, *, models: bool, as_json: bool) -> None:
    """Check key, model and agent with a short talk, no telephone needed.

    Sends the very session of a call, asks a recorded question, interrupts the answer, and prints what the model
    accepted, changed or refused, how fast it was and what it took.
    """
    variables = settings.load(ModelSettings)
    log.configure("smoke", "warning" if variables.log_level == "info" else variables.log_level)
    agent = _agent(profile, variables)
    if models:
        raise SystemExit(_show_models(variables, agent, as_json=as_json))
    report = asyncio.run(smoke.talk(variables, agent, price_list(variables.prices)))
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        for line in report.lines():
            click.echo(line)
    raise SystemExit(report.exit_code)


def _agent(profile: Path | None, variables: ModelSettings) -> Agent:
    if profile is None:
        return variables.built_in_agent()
    try:
        return read_file(profile, variables.built_in_agent(), variables.tool_rules(tool_secrets())).agent
    except ProfilesError as error:
        raise settings.SettingsError("\n".join(error.problems)) from None


def _show_models(variables: ModelSettings, agent: Agent, *, as_json: bool) -> int:
    try:
        listed = smoke_models.listed_models(variables)
    except smoke_models.NoListError as error:
        click.echo(json.dumps({"models": None, "why": str(error)}) if as_json else str(error))
        return EXIT_OK if error.expected else EXIT_FOUND
    today = datetime.now(UTC).date()
    configured = (agent.model, agent.transcription_model)
    ending = {
        name: day for name in configured if (day := smoke_models.ends_soon(listed, name, today)) is not None
    }
    shown = [model for model in listed if "realtime" in model.name or model.name in configured]
    if as_json:
        rows = [{"model": each.name, "ends_on": _iso(each)} for each in shown]
        click.echo(json.dumps({"models": rows, "ending": {name: str(day) for name, day in ending.items()}}))
    else:
        width = max((len(each.name) for each in shown), default=0)
        for each in shown:
            click.echo(f"{each.name.ljust(width)}  {_iso(each) or 'no end announced'}")
        for name, day in ending.items():
            click.echo(f"warning: {name} ends on {day}, in {(day - today).days} days; choose another one")
        if not any(each.name == agent.model for each in shown):
            click.echo(
                f"note: {agent.model} is not in the list (at Azure, deployments have names of their own)"
            )
    return EXIT_FOUND if ending else EXIT_OK


def _iso(model: smoke_models.ListedModel) -> str | None:
    return None if model.ends_on is None else model.ends_on.isoformat()
