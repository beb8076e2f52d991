"""`trunkline call`: one simulated call at the system that `trunkline up` runs."""

import asyncio

import click
from rich.console import Console

from trunkline_local import caller, demo_view, stored
from trunkline_local.caller import CallerError
from trunkline_local.demo import following_events
from trunkline_local.running_line import NotRunningError, RunningLine
from trunkline_local.stored import NotStoredError


@click.command(epilog="Examples: trunkline call · trunkline call --conversation digits")
@click.option("--conversation", default="demo", show_default=True, help="what the simulated caller says")
def command(conversation: str) -> None:
    """Place one simulated call at the system that `trunkline up` runs, and show it."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        asyncio.run(_call(console, conversation, RunningLine.find()))
    except (NotRunningError, CallerError, NotStoredError, OSError) as error:
        console.print(f"trunkline call: {error}", style="bold red", markup=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise SystemExit(130) from None


async def _call(console: Console, conversation: str, running: RunningLine) -> None:
    recordings = running.folder / "recordings"
    view = demo_view.CallView(console)
    async with following_events(running.nats_url, view):
        await caller.place_call(running.line, conversation, recordings, view.on_caller_event)
        call = await stored.read_call(running.database_url, view.call_id)
    demo_view.print_stored(console, call)
    console.print(
        f"Listen to the call (left: caller, right: what the caller heard): {recordings / view.call_id}.wav"
    )
