"""The command `trunkline sim-twilio`: places calls at a running system as Twilio would."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from trunkline_simulators import twilio_conversations
from trunkline_simulators import twilio_options as options
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_faults import Faults
from trunkline_simulators.twilio_report import LiveReport, summary
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_trace import Event
from trunkline_simulators.twilio_webhooks import ConnectTo

EXAMPLES = """\b
Examples:
  trunkline sim-twilio --webhook https://voice.example.com/voice --connect-to 127.0.0.1:8080
  trunkline sim-twilio --webhook https://voice.example.com/voice --conversation digits --record calls
  trunkline sim-twilio --webhook https://voice.example.com/voice --calls 20 --every 0.5
  trunkline sim-twilio --webhook https://voice.example.com/voice --reset-at 6000 --stall 3000:1500
  trunkline sim-twilio --webhook https://voice.example.com/voice --events | jq .event

Exit status: 0 when every call ended by its script without a Twilio warning, 1 when one did not,
2 for bad arguments."""


def _payload_bytes(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    sizes = value.split(",")
    if not all(size.isdecimal() and 0 < int(size) <= 8000 for size in sizes):
        raise click.BadParameter(f"{value!r} is not a list of sizes from 1 to 8000 bytes")
    return tuple(int(size) for size in sizes)


def _stall(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    at_ms, _, for_ms = value.partition(":")
    if not at_ms.isdecimal() or not for_ms.isdecimal():
        raise click.BadParameter(f"{value!r} is not AT_MS:FOR_MS")
    return int(at_ms), int(for_ms)


def _seconds_or_never(_context: click.Context, _option: click.Parameter, value: str) -> float | None:
    if value == "never":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither seconds nor `never`") from None


MS = click.IntRange(min=0)


@click.command("sim-twilio", epilog=EXAMPLES)
@click.option(
    "--webhook", required=True, callback=options.url, help="Public URL of the number's webhook, .../voice."
)
@click.option(
    "--connect-to",
    callback=options.address,
    metavar="HOST:PORT",
    help="Plaintext server behind the webhook's host.",
)
@options.account
@click.option("--from", "caller", default="+12025550123", show_default=True, help="The caller's number.")
@click.option("--to", "called", default="+12025550147", show_default=True, help="The number that is called.")
@options.conversation_option
@options.callee
@click.option("--fallback-url", callback=options.url, help="Asked when the webhook fails.")
@click.option("--status-callback", callback=options.url, help="Told when the call has ended.")
@click.option("--record", type=click.Path(file_okay=False, path_type=Path), help="Folder for WAV and trace.")
@click.option("--calls", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option("--every", type=click.FloatRange(min=0), metavar="SECONDS", help="Start calls by the clock.")
@click.option("--time-limit", type=click.FloatRange(min=1), default=600, show_default=True, metavar="SECONDS")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the jitter.")
@click.option(
    "--after-lost-stream",
    type=click.Choice(["continue", "hang-up"]),
    default="continue",
    help="With the TwiML; Twilio documents neither.",
)
@click.option(
    "--notices-lost-stream-after",
    "notices_lost_stream_after_s",
    callback=_seconds_or_never,
    default="0",
    show_default=True,
    metavar="SECONDS|never",
    help="When a socket breaks without a close frame.",
)
@click.option(
    "--jitter", type=click.FloatRange(min=0), default=0, metavar="MS", help="Fault: frames leave late."
)
@click.option("--stall", callback=_stall, metavar="AT_MS:FOR_MS", help="Fault: frames stop, then burst.")
@click.option("--dtx-after", type=MS, metavar="MS", help="Fault: silence longer than this is not sent.")
@click.option(
    "--payload-bytes", callback=_payload_bytes, default="160", help="Fault: media sizes, e.g. 80,320."
)
@click.option("--first-timestamp", type=MS, default=0, metavar="MS", help="Fault: where timestamps begin.")
@click.option("--duplicate-at", type=MS, metavar="MS", help="Fault: a second websocket for the call.")
@click.option("--reset-at", type=MS, metavar="MS", help="Fault: the websocket's TCP connection is reset.")
@click.option("--hang-up-at", type=MS, metavar="MS", help="The caller hangs up, whatever the script says.")
@click.option(
    "--websocket-signature",
    type=click.Choice(["right", "trailing-slash", "wrong"]),
    default="right",
    help="Fault: another signature of the upgrade.",
)
@click.option(
    "--webhook-signature",
    type=click.Choice(["right", "wrong"]),
    default="right",
    help="Fault: another signature of the forms.",
)
@click.option(
    "--redirects-in-queue",
    type=click.Choice(["told", "untold"]),
    default="told",
    help="Of the caller's place in the queue; Twilio documents neither.",
)
@click.option(
    "--tampered-token", is_flag=True, help="Fault: the stream's parameters are not what TwiML says."
)
@click.option("--no-start", is_flag=True, help="Fault: the stream says `connected` and nothing else.")
@click.option("--events", is_flag=True, help="Print each event as a line of JSON instead of a report.")
def command(
    webhook: str,
    connect_to: tuple[str, int] | None,
    auth_token: str,
    auth_token_file: Path | None,
    conversation: twilio_conversations.Conversation,
    calls: int,
    every: float | None,
    time_limit: float,
    events: bool,
    **more: Any,
) -> None:
    """Place calls as Twilio: signed webhooks, TwiML, a media stream with a caller who speaks."""
    host = urlsplit(webhook).hostname or ""
    settings = CallSettings(
        webhook=webhook,
        auth_token=options.first_token(auth_token, auth_token_file),
        connect_to=ConnectTo(host, *connect_to) if connect_to else None,
        conversation=conversation,
        time_limit_s=time_limit,
        faults=_faults(more),
        callee=options.chosen_callee(more),
        **{name: more[name] for name in _CALL_OPTIONS},
    )
    results = asyncio.run(_place(settings, calls, every, _print_event if events else _live_report(calls)))
    for result in results:
        if events:
            _print_event(_result_event(result))
        else:
            click.echo(summary(result))
    sys.exit(0 if all(result.clean for result in results) else 1)


_CALL_OPTIONS = (
    "account_sid",
    "caller",
    "called",
    "fallback_url",
    "status_callback",
    "record",
    "seed",
    "after_lost_stream",
    "notices_lost_stream_after_s",
)


def _faults(more: dict[str, Any]) -> Faults:
    stall_at_ms, stall_ms = more["stall"] or (None, 0)
    return Faults(
        jitter_ms=more["jitter"],
        stall_at_ms=stall_at_ms,
        stall_ms=stall_ms,
        dtx_after_ms=more["dtx_after"],
        payload_bytes=more["payload_bytes"],
        first_timestamp_ms=more["first_timestamp"],
        duplicate_at_ms=more["duplicate_at"],
        reset_at_ms=more["reset_at"],
        hang_up_at_ms=more["hang_up_at"],
        websocket_signature=more["websocket_signature"],
        webhook_signature=more["webhook_signature"],
        redirects_in_queue=more["redirects_in_queue"],
        tampered_token=more["tampered_token"],
        no_start=more["no_start"],
    )


async def _place(
    settings: CallSettings, calls: int, every_s: float | None, on_event: Callable[[Event], None]
) -> list[CallResult]:
    if every_s is None:
        return [await place_call(_numbered(settings, n), on_event) for n in range(calls)]
    started_s = asyncio.get_running_loop().time()

    async def place(n: int) -> CallResult:
        await asyncio.sleep(started_s + n * every_s - asyncio.get_running_loop().time())
        return await place_call(_numbered(settings, n), on_event)

    async with asyncio.TaskGroup() as tasks:
        placed = [tasks.create_task(place(n)) for n in range(calls)]
    return [task.result() for task in placed]


def _numbered(settings: CallSettings, number: int) -> CallSettings:
    return dataclasses.replace(settings, seed=settings.seed + number)


def _print_event(event: Event) -> None:
    click.echo(json.dumps(event, ensure_ascii=False))


def _result_event(result: CallResult) -> Event:
    fields = dataclasses.asdict(dataclasses.replace(result, ignored_messages=Counter()))
    fields["ignored_messages"] = dict(result.ignored_messages)  # which `asdict` would count once more
    for name in ("heard_wav", "trace"):
        fields[name] = None if fields[name] is None else str(fields[name])
    return {"event": "result", "clean": result.clean, **fields}


def _live_report(calls: int) -> Callable[[Event], None]:
    report = LiveReport(name_calls=calls > 1)

    def print_line(event: Event) -> None:
        if (line := report.line(event)) is not None:
            click.echo(line)

    return print_line
