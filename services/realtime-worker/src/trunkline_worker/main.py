"""The `worker` command: builds the parts in order and runs them."""

import click

from trunkline_common import service, settings
from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_worker.agent import Agent
from trunkline_worker.host import GOODBYE_S, Host
from trunkline_worker.settings import WorkerSettings


@click.command(
    epilog=f"""{settings.variables(WorkerSettings)}

Example:

  NATS_URL=nats://127.0.0.1:4222 OPENAI_API_KEY_FILE=/run/secrets/openai trunkline worker
"""
)
def command() -> None:
    """Run one realtime worker: takes calls from NATS and keeps their model sessions."""
    variables = settings.load(WorkerSettings)
    agent = Agent(model=variables.openai_realtime_model, audio_path=variables.audio_path)

    async def body(life: Life) -> None:
        bus = await Bus.connect(variables, life)
        try:
            await bus.ensure_event_stream()
            await Host(variables, bus, agent).run(life)
        finally:
            await bus.close()

    service.run(
        "worker",
        body,
        host=variables.host,
        port=variables.metrics_port,
        log_level=variables.log_level,
        drain_deadline_s=variables.worker_drain_s + 2 * GOODBYE_S,
    )
