"""The `gateway` command: builds the parts in order and runs them."""

import asyncio
from typing import Any, Final

import click
from nats.aio.msg import Msg

from trunkline_common import log, service, settings, subjects
from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.media import WEBSOCKET_OPTIONS, MediaStreams, serve
from trunkline_gateway.public_url import HTTP_PATHS
from trunkline_gateway.registry import CLOSING_S_MAX
from trunkline_gateway.settings import GatewaySettings
from trunkline_gateway.webhook import webhooks

LAST_WORDS_S: Final = 5.0
"""After the streams were told to close: close handshakes, and what NATS still holds for us."""

HTTP_OPTIONS: Final[dict[str, Any]] = {
    **WEBSOCKET_OPTIONS,
    "http": "h11",
    "h11_max_incomplete_event_size": 16 * 1024,
    "timeout_keep_alive": 5,
    "server_header": False,
    # Addresses come from PUBLIC_URL alone; and a limit_concurrency would answer 503 to /livez in a flood.
    "proxy_headers": False,
}

_log = log.get(__name__)


@click.command(
    epilog=f"""{settings.variables(GatewaySettings)}

Example:

  PUBLIC_URL=https://calls.example.com TWILIO_AUTH_TOKEN_FILE=/run/secrets/twilio HOST=0.0.0.0 trunkline gateway
""",
)
def command() -> None:
    """Run one gateway: answers Twilio's webhooks and carries the media streams of calls."""
    chosen = settings.load(GatewaySettings)

    async def body(life: Life) -> None:
        await _run(gateway, life)

    # Built here, so that the port is open, and callers hear the fallback, before NATS is reached.
    gateway = Gateway.build(chosen)
    service.run(
        "gateway",
        body,
        host=chosen.host,
        port=chosen.port,
        log_level=chosen.log_level,
        drain_deadline_s=chosen.gateway_drain_s + CLOSING_S_MAX + LAST_WORDS_S,
        app=serve(webhooks(gateway), MediaStreams(gateway)),
        routes=HTTP_PATHS,
        http_options=HTTP_OPTIONS,
    )


async def _run(gateway: Gateway, life: Life) -> None:
    if not gateway.verifier.checks:
        _log.warning(
            "signatures-unchecked",
            why="TWILIO_AUTH_TOKEN is not set: whoever reaches this port can place calls",
        )
    bus = await Bus.connect(gateway.settings, life)
    try:
        async with asyncio.TaskGroup() as tasks:
            link = gateway.new_link(bus)
            gateway.outbound.open(bus)
            serving = [
                tasks.create_task(link.workers.run(), name="watch-workers"),
                tasks.create_task(link.redirects.run(), name="redirects"),
            ]
            await bus.subscribe(subjects.gateway_ping(gateway.gateway_id), _answer_ping)
            await bus.subscribe_audio(
                subjects.every_gateway_down(gateway.gateway_id), gateway.streams.dispatch
            )
            await bus.subscribe(subjects.EVERY_HEARTBEAT, link.assignment.on_heartbeat)
            gateway.link = link
            life.started()
            _log.info("gateway-ready", gateway=gateway.gateway_id, public_url=gateway.public_url.base)
            await life.stop_requested.wait()
            await _drain(gateway)
            for task in serving:
                task.cancel()
    finally:
        await gateway.outbound.close()
        await bus.close()


async def _answer_ping(message: Msg) -> None:
    await message.respond(b"")


async def _drain(gateway: Gateway) -> None:
    """Let the calls go on for a while; those that are left move to another gateway, one by one."""
    try:
        async with asyncio.timeout(gateway.settings.gateway_drain_s):
            await gateway.streams.wait_until_empty()
    except TimeoutError:
        await gateway.streams.close_one_by_one()
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            await gateway.streams.wait_until_empty()
    except TimeoutError:
        _log.warning("streams-left-open")
