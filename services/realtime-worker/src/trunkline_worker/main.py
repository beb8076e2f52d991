"""The `worker` command: builds the parts in order and runs them."""

import asyncio

import click

from trunkline_common import service, settings
from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_common.settings import SettingsError
from trunkline_worker.host import GOODBYE_S, Host
from trunkline_worker.price_file import price_list
from trunkline_worker.profile_files import ProfilesError
from trunkline_worker.profile_watch import WatchedProfiles
from trunkline_worker.settings import WorkerSettings, tool_secrets
from trunkline_worker.tracing import Traces


@click.command(
    epilog=f"""{settings.variables(WorkerSettings)}

Example:

  NATS_URL=nats://127.0.0.1:4222 OPENAI_API_KEY_FILE=/run/secrets/openai trunkline worker
"""
)
def command() -> None:
    """Run one realtime worker: takes calls from NATS and keeps their model sessions."""
    variables = settings.load(WorkerSettings)
    try:
        rules = variables.tool_rules(tool_secrets())
        profiles = WatchedProfiles(variables.trunkline_agents, variables.built_in_agent(), rules)
    except ProfilesError as error:
        raise SettingsError("\n".join(f"TRUNKLINE_AGENTS: {problem}" for problem in error.problems)) from None
    prices = price_list(variables.prices)

    endpoint = variables.otel_exporter_otlp_endpoint
    resource = {"service.name": "trunkline-worker", "trunkline.region": variables.trunkline_region}
    traces = Traces(endpoint, resource) if endpoint else None

    async def body(life: Life) -> None:
        bus = await Bus.connect(variables, life)
        try:
            await bus.ensure_event_stream(variables.event_replicas, variables.event_log_gib)
            await Host(variables, bus, profiles, prices, traces.offer if traces else None).run(life)
        finally:
            await bus.close()
            if traces:
                await asyncio.to_thread(traces.close)

    service.run(
        "worker",
        body,
        host=variables.host,
        port=variables.metrics_port,
        log_level=variables.log_level,
        drain_deadline_s=variables.worker_drain_s + 2 * GOODBYE_S,
    )
