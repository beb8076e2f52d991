"""The whole system on this machine: embedded servers, our three services, and a model to talk to.

Everything is a real process on a free loopback port with its data and logs under one folder. Twilio would reach
the gateway through a TLS proxy at `PUBLIC_URL`; here the simulated Twilio signs for that address and connects
to the gateway directly.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, ProcessError, free_port, trunkline

PUBLIC_URL: Final = "https://trunkline.example"
ACCOUNT_SID: Final = "AC" + "0" * 32
MIGRATION_LIMIT_S: Final = 60.0
SERVICE_STOP_S: Final = 15.0

Report = Callable[[str, str], None]
"""Told of each step as it is done: what, and how long it took or where it listens."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answers: OpenAI's, or (without `url`) the simulated one."""

    api_key: str
    url: str = ""
    name: str = ""

    @property
    def simulated(self) -> bool:
        """No account and no network are needed."""
        return not self.url


SIMULATED: Final = Model(api_key="simulated")


@dataclass(frozen=True, slots=True)
class Line:
    """How Twilio reaches the gateway."""

    public_url: str
    account_sid: str
    auth_token: str
    gateway_port: int

    @property
    def webhook(self) -> str:
        """What would stand in Twilio's console for the phone number."""
        return f"{self.public_url}/voice"


@dataclass(frozen=True, slots=True)
class System:
    """A running system."""

    folder: Path
    line: Line
    nats_url: str
    database_url: str
    worker_metrics_port: int
    processes: tuple[Process, ...]
    environments: Mapping[str, Mapping[str, str]]
    """What each service was started with, for who starts another one beside it."""

    async def first_exit(self) -> ProcessError:
        """Wait until one of the services ends by itself, and return which, with its last lines."""
        waits = {asyncio.create_task(process.exited()): process for process in self.processes}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            ended = waits[done.pop()]
            return await ended.error(f"ended by itself with code {ended.exit_code}")
        finally:
            for wait in waits:
                wait.cancel()


def new_line(
    public_url: str = PUBLIC_URL, auth_token: str = "", port: int = 0, account_sid: str = ACCOUNT_SID
) -> Line:
    """Return a line for a simulated Twilio account, or for the given one."""
    return Line(public_url, account_sid, auth_token or secrets.token_hex(16), port or free_port())


@asynccontextmanager
async def run(
    folder: Path,
    line: Line,
    model: Model,
    report: Report,
    *,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    simulator_options: Sequence[str] = (),
) -> AsyncIterator[System]:
    """Start everything in order and stop it in the opposite one; `ProcessError` when a part does not start.

    `settings` adds environment variables to a service by its name; `simulator_options` go to `sim-openai`.
    """
    async with AsyncExitStack() as stack:
        nats, postgres = await _servers(stack, folder, report)
        await _migrate(folder, postgres.url, report)
        if model.simulated:
            model = await _simulated_model(stack, folder, report, model.api_key, simulator_options)
        ports = {name: free_port() for name in ("transcripts", "worker")} | {"gateway": line.gateway_port}
        shared = {"NATS_URL": nats.url}
        environments = {
            "transcripts": shared | {"DATABASE_URL": postgres.url, "METRICS_PORT": str(ports["transcripts"])},
            "worker": shared | _worker_environment(model, ports["worker"]),
            "gateway": shared
            | {
                "PORT": str(line.gateway_port),
                "PUBLIC_URL": line.public_url,
                "TWILIO_AUTH_TOKEN": line.auth_token,
            },
        }
        processes = []
        for name, environment in environments.items():
            environment.update((settings or {}).get(name, {}))
            processes.append(await _service(stack, name, folder, environment))
        for process in processes:
            began = perf_counter()
            await process.wait_until_ready(f"http://127.0.0.1:{ports[process.name]}/readyz")
            report(process.name, f"ready on port {ports[process.name]} ({_ms(began)})")
        yield System(folder, line, nats.url, postgres.url, ports["worker"], tuple(processes), environments)


async def _servers(stack: AsyncExitStack, folder: Path, report: Report) -> tuple[NatsServer, PostgresServer]:
    began = perf_counter()
    nats = await stack.enter_async_context(NatsServer.start(folder / "nats"))
    report("nats-server", f"ready at {nats.url} ({_ms(began)})")
    began = perf_counter()
    postgres = await stack.enter_async_context(PostgresServer.start(folder / "postgres"))
    report("postgres", f"ready ({_ms(began)})")
    return nats, postgres


async def _migrate(folder: Path, database_url: str, report: Report) -> None:
    began = perf_counter()
    environment = {"DATABASE_URL": database_url}
    async with Process.start("migrate", trunkline("migrate"), folder / "logs", environment) as process:
        try:
            async with asyncio.timeout(MIGRATION_LIMIT_S):
                code = await process.exited()
        except TimeoutError:
            raise await process.error(f"not done after {MIGRATION_LIMIT_S} s") from None
        if code != 0:
            raise await process.error(f"exited with code {code}")
    report("migrate", f"tables are there ({_ms(began)})")


async def _simulated_model(
    stack: AsyncExitStack, folder: Path, report: Report, api_key: str, options: Sequence[str]
) -> Model:
    began = perf_counter()
    recordings = str(folder / "recordings")
    command = trunkline("sim-openai", "--port", "0", "--record", recordings, *options)
    process = await stack.enter_async_context(Process.start("sim-openai", command, folder / "logs"))
    listening = await process.wait_for_line(r"listening on (ws://\S+)")
    report("sim-openai", f"plays the Realtime API at {listening[1]} ({_ms(began)})")
    return Model(api_key, listening[1], "gpt-realtime-2.1")


def _worker_environment(model: Model, port: int) -> dict[str, str]:
    environment = {
        "OPENAI_API_KEY": model.api_key,
        "OPENAI_REALTIME_URL": model.url,
        "METRICS_PORT": str(port),
        # Live calls are given back to Twilio quickly: here somebody waits for Ctrl-C to take effect.
        "WORKER_DRAIN_S": "2",
    }
    return environment | ({"OPENAI_REALTIME_MODEL": model.name} if model.name else {})


async def _service(stack: AsyncExitStack, name: str, folder: Path, environment: dict[str, str]) -> Process:
    process = await Process.launch(name, trunkline(name), folder / "logs", environment)
    stack.push_async_callback(process.stop, SERVICE_STOP_S)
    return process


def _ms(began: float) -> str:
    return f"{(perf_counter() - began) * 1000:.0f} ms"
