"""The command `trunkline sim-twilio-rest`: Twilio's REST API, which places the calls that it is asked for."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from trunkline_simulators import twilio_conversations
from trunkline_simulators import twilio_options as options
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_report import LiveReport
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_rest_numbers import PhoneNumber
from trunkline_simulators.twilio_trace import Event
from trunkline_simulators.twilio_webhooks import ConnectTo

EXAMPLES = """\b
Examples:
  trunkline sim-twilio-rest --port 8082 --public-url https://voice.example.com --connect-to 127.0.0.1:8080
  TWILIO_API_URL=http://127.0.0.1:8082 trunkline gateway"""


@click.command("sim-twilio-rest", epilog=EXAMPLES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free one."
)
@click.option("--public-url", callback=options.url, help="The PUBLIC_URL of the system under test.")
@click.option(
    "--connect-to", callback=options.address, metavar="HOST:PORT", help="Plaintext server behind that URL."
)
@options.account
@click.option("--number", "numbers", multiple=True, help="A number of the account; without any, all are.")
@options.callee
@click.option(
    "--answered-by",
    type=click.Choice(["human", "machine_start", "fax", "unknown"]),
    default="human",
    show_default=True,
    help="What the detection of machines says.",
)
@options.conversation_option
@click.option("--record", type=click.Path(file_okay=False, path_type=Path), help="Folder for WAV and trace.")
@click.option("--events", is_flag=True, help="Print each event as a line of JSON instead of a report.")
def command(
    host: str,
    port: int,
    public_url: str | None,
    connect_to: tuple[str, int] | None,
    account_sid: str,
    auth_token: str,
    auth_token_file: Path | None,
    numbers: tuple[str, ...],
    answered_by: Any,
    conversation: twilio_conversations.Conversation,
    record: Path | None,
    events: bool,
    **more: Any,
) -> None:
    """Serve Twilio's REST API until Ctrl-C: POST Calls.json places a call, POST Calls/{sid}.json changes it.

    GET tells the account, and the numbers given here as leading to --public-url.
    """
    if (public_url is None) != (connect_to is None):
        raise click.UsageError("--public-url and --connect-to go together")
    token = options.first_token(auth_token, auth_token_file)
    if not token:
        raise click.UsageError("--auth-token: nobody could sign in without one")
    public_host = urlsplit(public_url or "").hostname or ""
    call = CallSettings(
        webhook="",  # each request brings its own
        auth_token=token,
        account_sid=account_sid,
        conversation=conversation,
        connect_to=ConnectTo(public_host, *connect_to) if connect_to else None,
        callee=options.chosen_callee(more, answered_by=answered_by),
        record=record,
    )
    report = LiveReport(name_calls=True)

    def on_event(event: Event) -> None:
        line = json.dumps(event, ensure_ascii=False) if events else report.line(event)
        if line is not None:
            click.echo(line)

    base = (public_url or "").rstrip("/")
    leading_there = tuple(
        PhoneNumber(number, voice_url=f"{base}/voice", status_callback=f"{base}/voice/status")
        for number in numbers
    )
    settings = RestSettings(
        Account(account_sid, token, {}),
        call,
        numbers,
        leading_there if public_url else (),
        host=host,
        port=port,
    )
    asyncio.run(_serve(RestServer(settings, on_event)))


async def _serve(server: RestServer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server.running():
        click.echo(f"listening on http://{server.settings.host}:{server.port}")
        await stop.wait()
