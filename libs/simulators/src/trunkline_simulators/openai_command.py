"""The command `trunkline sim-openai`: plays the OpenAI Realtime API on this machine."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import click

from trunkline_simulators import recordings
from trunkline_simulators.openai_faults import KINDS, Fault, Losses, parse_fault
from trunkline_simulators.openai_replies import AGAINS, Again, Behaviour
from trunkline_simulators.openai_server import DIALECTS, Dialect, ServerOptions, run_server
from trunkline_simulators.openai_tools import ScriptedCall
from trunkline_simulators.openai_transcription import MODES, Mode

EXIT_ADDRESS = 2  # the address is taken or not ours

_FAULT_LINES = "\n".join(
    f"  {kind + ('=' + example if example else ''):<28} {what} (@{event})"
    for kind, (what, event, example) in KINDS.items()
)
_EPILOG = f"""\b
Faults are KIND[=VALUE][@EVENT[:N][+MS]][*]: at the Nth such event of a session, counting sent and
received ones, or @connect; +MS later, if it ends the session; once in the server's life, or with *
in every session.
{_FAULT_LINES}

\b
Examples:
  trunkline sim-openai --port 8081
  trunkline sim-openai --api-key secret --record traces
  trunkline sim-openai --fault close=1011@response.created:2 --fault refuse=5:429
  trunkline sim-openai --losses 60 --seed 7 --connect-delay 0.3
  trunkline sim-openai --call 'caller-book=agent-moment>book_appointment:{{"time": "10:00"}}'
  trunkline sim-openai --call 'caller-price=prices/lookup:{{}}' --fault arguments=garbage
"""


def _read_faults(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[Fault, ...]:
    try:
        return tuple(parse_fault(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _read_calls(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, ScriptedCall]:
    calls = {}
    for text in texts:
        utterance_id, _, call = text.partition("=")
        target, _, arguments = call.partition(":")
        commentary, _, tool = target.rpartition(">")
        server, _, function = tool.rpartition("/")
        try:
            for each in filter(None, (utterance_id, commentary)):
                recordings.utterance(each)
            json.loads(arguments)
        except KeyError as error:
            raise click.BadParameter(f"there is no utterance {error}") from None
        except ValueError:
            raise click.BadParameter(f"'{arguments}' is not JSON") from None
        if not function:
            raise click.BadParameter(f"'{text}' names no function")
        calls[utterance_id] = ScriptedCall(function, arguments, server or None, commentary or None)
    return calls


@click.command("sim-openai", epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 takes a free port.")
@click.option("--api-key", help="The only key that is let in. [default: any key]")
@click.option(
    "--pace",
    default=4.0,
    show_default=True,
    type=click.FloatRange(0.1, 100),
    help="Audio is sent this many times faster than it sounds.",
)
@click.option(
    "--latency-ms",
    default=300,
    show_default=True,
    type=click.IntRange(0, 60_000),
    help="From the end of a turn to the first audio.",
)
@click.option(
    "--in-flight-deltas",
    default=1,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Audio deltas that still come after an interruption.",
)
@click.option("--split-samples", is_flag=True, help="Cut audio at odd bytes, through the middle of samples.")
@click.option(
    "--transcription",
    default="auto",
    show_default=True,
    type=click.Choice(MODES),
    help="When the caller's transcript comes.",
)
@click.option(
    "--call",
    "calls",
    multiple=True,
    metavar="UTTERANCE=[SAY>][SERVER/]TOOL:JSON",
    callback=_read_calls,
    help="When the caller says this, say SAY and call the function, or a tool of that MCP server, if offered.",
)
@click.option(
    "--again",
    default="repeat",
    show_default=True,
    type=click.Choice(AGAINS),
    help="What is said when a response is asked for and nobody has spoken since the last.",
)
@click.option(
    "--connect-delay",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 60),
    metavar="SECONDS",
    help="How long each handshake takes.",
)
@click.option(
    "--losses",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="Lose every session after a random time of this mean, in a random way.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    callback=_read_faults,
    help="Something to go wrong; see below.",
)
@click.option(
    "--dialect",
    default="ga",
    show_default=True,
    type=click.Choice(DIALECTS),
    help="Shape of the events; beta is what compatible servers of the older API speak.",
)
@click.option("--azure", is_flag=True, help="Take the key, and refuse, as Azure does.")
@click.option("--seed", default="0", show_default=True, help="Ids and sizes are drawn from it.")
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a WAV and a trace of each session.",
)
def command(
    host: str,
    port: int,
    api_key: str | None,
    pace: float,
    latency_ms: int,
    in_flight_deltas: int,
    split_samples: bool,
    transcription: Mode,
    calls: dict[str, ScriptedCall],
    again: Again,
    connect_delay: float,
    losses: float | None,
    faults: tuple[Fault, ...],
    dialect: Dialect,
    azure: bool,
    seed: str,
    record: Path | None,
) -> None:
    """Play the OpenAI Realtime API: strict, with voice activity detection and recorded answers."""
    behaviour = Behaviour(pace, latency_ms, in_flight_deltas, split_samples, transcription, calls, again)
    lost = None if losses is None else Losses(losses)
    options = ServerOptions(
        host, port, api_key, behaviour, faults, seed, record, connect_delay, lost, dialect, azure
    )
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        click.echo(f"sim-openai: cannot listen on {host}:{port}: {error.strerror}", err=True)
        sys.exit(EXIT_ADDRESS)


async def _serve(options: ServerOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with run_server(options) as server:
        click.echo(f"sim-openai listening on {server.url}")
        sys.stdout.flush()
        await stop.wait()
