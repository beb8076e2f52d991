"""`trunkline up`: the whole system on this machine until Ctrl-C."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from trunkline_common import service
from trunkline_common.settings import SettingsError
from trunkline_local import running_line, system
from trunkline_local.demo import model_from_environment
from trunkline_local.processes import ProcessError
from trunkline_local.running_line import AlreadyRunningError

PORT: Final = 8080


@click.command(
    epilog="Examples: trunkline up · trunkline up --port 9000 · "
    "TWILIO_AUTH_TOKEN=… trunkline up --public-url https://example.ngrok.app (a real number's webhook)"
)
@click.option("--port", default=PORT, show_default=True, help="the gateway's port on this machine")
@click.option(
    "--public-url",
    default=system.PUBLIC_URL,
    show_default=True,
    envvar="PUBLIC_URL",
    help="address under which Twilio reaches the gateway",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="where data, logs and recordings go; default: a new folder for temporary files",
)
def command(port: int, public_url: str, folder: Path | None) -> None:
    """Run the whole system on this machine until Ctrl-C; `trunkline call` calls it.

    With OPENAI_API_KEY set, OpenAI answers. With TWILIO_AUTH_TOKEN set and PUBLIC_URL leading here, a real phone
    number's voice webhook may point at it.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = folder or Path(tempfile.mkdtemp(prefix="trunkline-up-"))
    line = system.new_line(public_url, os.environ.get("TWILIO_AUTH_TOKEN", ""), port)
    try:
        running_line.check_that_none_runs()
        service.listen("127.0.0.1", line.gateway_port).close()
        asyncio.run(_up(console, line, folder))
    except (ProcessError, AlreadyRunningError, SettingsError, OSError) as error:
        console.print(f"trunkline up: {error}", style="bold red", markup=False)
        raise SystemExit(1) from None


async def _up(console: Console, line: system.Line, folder: Path) -> None:
    def report(part: str, what: str) -> None:
        console.print(f"  {part:<12} {what}", style="dim")

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    model = model_from_environment(console)
    async with system.run(folder, line, model, report) as running:
        with running_line.announced(running):
            console.print(f"Running. Twilio's webhook: {line.webhook} (here: 127.0.0.1:{line.gateway_port}).")
            console.print("Place a simulated call from another terminal: trunkline call")
            console.print(f"Postgres: {running.database_url}")
            console.print(f"Logs: {folder / 'logs'}   Recordings: {folder / 'recordings'}")
            console.print("Ctrl-C stops everything.")
            await _until_stopped(stop, running)
        console.print("Stopping …", style="dim")
    console.print("Every process has stopped.", style="dim")


async def _until_stopped(stop: asyncio.Event, running: system.System) -> None:
    stopped = asyncio.create_task(stop.wait())
    broken = asyncio.create_task(running.first_exit())
    try:
        await asyncio.wait([stopped, broken], return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            raise broken.result()
    finally:
        stopped.cancel()
        broken.cancel()
        await asyncio.gather(stopped, broken, return_exceptions=True)
