"""What `trunkline doctor` looks at for the worker: settings, agents, prices, rights at NATS, the model's side."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from trunkline_common import subjects
from trunkline_common.doctor import Options, Sheet
from trunkline_common.nats_examination import look_at_permissions
from trunkline_common.nats_probe import NOBODY
from trunkline_common.settings import SettingsError
from trunkline_worker import smoke_models
from trunkline_worker.agent import Agent
from trunkline_worker.price_file import price_list
from trunkline_worker.profile_files import ProfilesError, read_folder
from trunkline_worker.settings import GA_ONLY_DOMAIN, WorkerSettings, tool_secrets

_FIX_OF_MODEL: Final = (
    "choose one that `trunkline smoke --models` lists, in OPENAI_REALTIME_MODEL or the profile"
)


async def examine(sheet: Sheet, options: Options) -> None:
    """Look at everything that a call needs of a worker and of the model's side."""
    chosen = sheet.settings(WorkerSettings)
    if chosen is None:
        sheet.not_checked("agents and model", "the settings above are wrong")
        return
    # Reading profiles and HTTP block.
    agents = await asyncio.to_thread(_look_at_agents, sheet, chosen)
    await asyncio.to_thread(_look_at_prices, sheet, chosen, agents)
    await look_at_permissions(
        sheet,
        chosen,
        subscribe=[
            subjects.every_worker_up(NOBODY),
            subjects.worker_ping(NOBODY),
            subjects.worker_assign(NOBODY),
            subjects.owner(NOBODY),
            subjects.caller(NOBODY),
        ],
        publish=[
            subjects.gateway_down(NOBODY, NOBODY),
            subjects.gateway_ping(NOBODY),
        ],
        event=True,
    )
    if options.offline:
        sheet.not_checked("model", "--offline")
    else:
        await asyncio.to_thread(_look_at_models, sheet, chosen, agents)


def _look_at_agents(sheet: Sheet, chosen: WorkerSettings) -> list[Agent]:
    built_in = chosen.built_in_agent()
    if chosen.trunkline_agents is None:
        sheet.ok("agents", "TRUNKLINE_AGENTS is not set: one built-in agent answers every number")
        return [built_in]
    try:
        rules = chosen.tool_rules(tool_secrets())
        loaded = read_folder(chosen.trunkline_agents, built_in, rules=rules).loaded
    except SettingsError as error:
        sheet.wrong_settings(error)
    except ProfilesError as error:
        for problem in error.problems:
            sheet.wrong("agents", problem, "edit it; `trunkline agents check` looks again")
    else:
        sheet.ok("agents", f"{len(loaded)} profiles: {', '.join(each.profile.name for each in loaded[:10])}")
        return [each.agent for each in loaded]
    return [built_in]


def _look_at_prices(sheet: Sheet, chosen: WorkerSettings, agents: Sequence[Agent]) -> None:
    try:
        prices = price_list(chosen.prices)
    except SettingsError as error:
        sheet.wrong_settings(error)
        return
    if unpriced := prices.unknown(_names(agents)):
        consequence = (
            "DAILY_BUDGET_USD does not count them" if chosen.daily_budget_usd else "calls show no cost"
        )
        detail = f"none for {', '.join(unpriced)}: {consequence}"
        sheet.warning("prices", detail, "add them to a copy of prices.yaml, and name that in PRICES")
    else:
        sheet.ok("prices", f"of {prices.date}, for every model in use")


def _look_at_models(sheet: Sheet, chosen: WorkerSettings, agents: Sequence[Agent]) -> None:
    host = urlsplit(chosen.openai_realtime_url).hostname or ""
    try:
        listed, skew_s = smoke_models.listed_models_and_skew(chosen)
    except smoke_models.NoListError as error:
        if error.expected:
            sheet.not_checked("model", f"{error} `trunkline smoke` talks with it")
        else:
            sheet.wrong("model", str(error), "`trunkline smoke` tells more once this is put right")
        return
    sheet.ok("model access", f"{host} accepts the key")
    sheet.clock(host, skew_s)
    known = {model.name for model in listed}
    today = datetime.now(UTC).date()
    for name in _names(agents):
        if ends_on := smoke_models.ends_soon(listed, name, today):
            note = sheet.wrong if ends_on <= today else sheet.warning
            note(f"model {name}", f"ends on {ends_on}", _FIX_OF_MODEL)
        elif name in known:
            sheet.ok(f"model {name}", "this key may use it")
        elif f".{host}".endswith(f".{GA_ONLY_DOMAIN}"):
            sheet.wrong(f"model {name}", "is not in the list of this key", _FIX_OF_MODEL)
        else:
            detail = f"{host} does not list it, which Azure's deployments are not; `trunkline smoke` tries it"
            sheet.not_checked(f"model {name}", detail)


def _names(agents: Sequence[Agent]) -> list[str]:
    return sorted({name for agent in agents for name in (agent.model, agent.transcription_model)})
