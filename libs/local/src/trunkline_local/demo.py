"""`trunkline demo`: everything started, one phone call answered live, and what it left behind."""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click
import nats
from nats.aio.msg import Msg
from rich.console import Console

from trunkline_common import call_events, subjects
from trunkline_local import caller, demo_view, latency, stored, system
from trunkline_local.caller import CallerError
from trunkline_local.processes import ProcessError
from trunkline_local.stored import NotStoredError

OPENAI_URL: Final = "wss://api.openai.com/v1/realtime"
ERRORS_SHOWN_MAX: Final = 5
_FAILURES: Final = (ProcessError, CallerError, NotStoredError, OSError)


@click.command(
    epilog="Examples: trunkline demo · trunkline demo --conversation digits · OPENAI_API_KEY=sk-… trunkline demo"
)
@click.option("--conversation", default="demo", show_default=True, help="what the simulated caller says")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="where data, logs and recordings go; default: a new folder for temporary files",
)
def command(conversation: str, folder: Path | None) -> None:
    """Answer one simulated phone call on this machine and show what happened.

    Starts a real NATS server, Postgres, the three services and both simulators. With OPENAI_API_KEY set the call
    is answered by OpenAI instead of the simulated model; that costs a few cents.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = folder or Path(tempfile.mkdtemp(prefix="trunkline-demo-"))
    try:
        asyncio.run(_demo(console, conversation, folder))
    except _FAILURES as error:
        console.print(f"The demo failed: {error}", style="bold red", markup=False)
        for line in _errors_logged(folder / "logs"):
            console.print(line, style="red", markup=False)
        console.print(f"Logs of every process: {folder / 'logs'}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise SystemExit(130) from None


def _errors_logged(folder: Path) -> list[str]:
    """Return what the services logged as errors, each with what to do about it."""
    errors = []
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if '"level": "error"' in line:
                logged = json.loads(line)
                told = [str(logged[key]) for key in ("event", "reason", "why", "do") if logged.get(key)]
                errors.append(f"  {path.stem}: {' · '.join(told)}")
    return errors[-ERRORS_SHOWN_MAX:]


def model_from_environment(console: Console) -> system.Model:
    """Return the model that should answer: OpenAI when its key is set, and say which."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        console.print("The model is simulated. Set OPENAI_API_KEY to talk to OpenAI instead.", style="dim")
        return system.SIMULATED
    url = os.environ.get("OPENAI_REALTIME_URL") or OPENAI_URL
    console.print(f"OPENAI_API_KEY is set: the call is answered by OpenAI at {url}.", style="bold yellow")
    return system.Model(key, url, os.environ.get("OPENAI_REALTIME_MODEL", ""))


async def _demo(console: Console, conversation: str, folder: Path) -> None:
    def report(part: str, what: str) -> None:
        console.print(f"  {part:<12} {what}", style="dim")

    console.rule("starting")
    model = model_from_environment(console)
    recordings = folder / "recordings"
    async with system.run(folder, system.new_line(), model, report) as running:
        console.rule("one call")
        view = demo_view.CallView(console)
        async with following_events(running.nats_url, view):
            await caller.place_call(running.line, conversation, recordings, view.on_caller_event)
            call = await stored.read_call(running.database_url, view.call_id)
        console.rule("how fast")
        _print_latency(console, call, view.call_id, recordings)
        console.rule("what Postgres has")
        demo_view.print_stored(console, call)
        console.rule("stopping")
    console.print("Every process has stopped.", style="dim")
    console.print(
        f"Listen to the call (left: caller, right: what the caller heard): {recordings / view.call_id}.wav"
    )
    console.print(f"Logs of every process: {folder / 'logs'}", style="dim")


def _print_latency(console: Console, call: stored.StoredCall, call_id: str, recordings: Path) -> None:
    twilio = latency.read_trace(recordings / f"{call_id}.jsonl")
    session = call.sessions[0] if call.sessions else {}
    model_trace = recordings / f"{session.get('session_id', '')}.jsonl"
    # OpenAI keeps no trace for us: then only what the services themselves measured can be shown.
    model = latency.read_trace(model_trace) if model_trace.is_file() else []
    demo_view.print_latency(
        console,
        call.latencies,
        latency.inbound(twilio, model, session.get("media_start_ms")),
        latency.outbound(twilio, model),
        latency.barge_in(twilio, model),
        latency.machine(twilio),
    )


@asynccontextmanager
async def following_events(nats_url: str, view: demo_view.CallView) -> AsyncIterator[None]:
    """Show the call's event log as it is written."""

    async def on_event(message: Msg) -> None:
        envelope = call_events.decode(message.data)
        view.on_call_event(call_events.open_envelope(envelope), time.monotonic_ns())

    client = await nats.connect(nats_url)
    try:
        await client.subscribe(subjects.EVERY_EVENT, cb=on_event)
        await client.flush()
        yield
    finally:
        await client.close()
