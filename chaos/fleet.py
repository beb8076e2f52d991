"""The fleet under test: several workers and gateways on one bus, with a proxy on every way that may be cut.

Twilio ─▶ front ─▶ gateways ─▶ links ─▶ NATS cluster ◀─ links ◀─ workers ─▶ link ─▶ simulated model. The front sends
each new connection to the next gateway that is up, as a load balancer does that knows at once which are. Everybody has
a link of its own to each node of the cluster, so that the links tell who is connected where.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import nats

from chaos.history import History
from chaos.member import Kind, Member
from chaos.tcp_proxy import TcpProxy
from trunkline_common import control, subjects
from trunkline_common.control import PingReply
from trunkline_local.nats_server import NatsCluster
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline
from trunkline_local.system import Line, new_line

CONNECT_DELAY_S: Final = "0.3"
"""What a session with the model costs to open, as the targets assume."""

NATS_NODES: Final = 3
"""A cluster costs a third of a second at the start, and each idle node a hundredth of a core: always, then."""

ASK_LIMIT_S: Final = 0.5
SERVICE_STOP_S: Final = 15.0
WORKER_DRAIN_S: Final = "60"
GATEWAY_DRAIN_S: Final = "2"
"""Soon after SIGTERM the calls that are left must move: what a rolling deploy is about."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many processes of each kind there are."""

    workers: int = 2
    gateways: int = 2


class Fleet:
    """What runs; `members` are the services, in which faults find their victims."""

    def __init__(self, folder: Path, history: History, nats: NatsCluster, postgres: PostgresServer):
        self.folder = folder
        self.history = history
        self.nats = nats
        self.postgres = postgres
        self.line: Line
        self.front: TcpProxy
        self.members: dict[str, Member] = {}
        self._model_url = ""
        self._numbers = itertools.count(1)
        self._next_gateway = itertools.count()
        self._stack: AsyncExitStack

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, size: Size, history: History) -> AsyncIterator["Fleet"]:
        """Start everything and stop it in the opposite order; `ProcessError` when a part does not start."""
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                NatsCluster.start(folder / "nats", NATS_NODES, advertises=False)
            )
            postgres = await stack.enter_async_context(PostgresServer.start(folder / "postgres"))
            await _migrate(folder, postgres.url)
            fleet = cls(folder, history, cluster, postgres)
            fleet._stack = stack
            fleet._model_url = await _simulated_model(stack, folder)
            fleet.front = await stack.enter_async_context(TcpProxy.listening(fleet._open_gateways))
            fleet.line = new_line(port=fleet.front.port)
            kinds: list[Kind] = ["transcripts"]
            kinds += ["worker"] * size.workers
            kinds += ["gateway"] * size.gateways
            await asyncio.gather(*[fleet.add(kind) for kind in kinds])
            yield fleet

    def nodes(self, victim: str) -> Sequence[int]:
        """Return which nodes of NATS a victim's name means: one, as `nats-0`, or all."""
        return range(NATS_NODES) if victim == "nats" else (self.nats.number_of(victim),)

    def of(self, kind: Kind) -> list[Member]:
        """Return the members of a kind that are up."""
        return [member for member in self.members.values() if member.kind == kind and member.is_up]

    async def add(self, kind: Kind) -> Member:
        """Start one more process of a kind and return it once it is ready."""
        name = f"{kind}-{next(self._numbers)}"
        port = free_port()
        links = {"nats": [await self._link(server.url) for server in self.nats.servers]}
        environment = {"NATS_URL": ",".join(f"nats://127.0.0.1:{link.port}" for link in links["nats"])}
        if kind == "worker":
            links["model"] = [await self._link(self._model_url)]
        environment |= self._settings(kind, port, links)
        member = Member(name, kind, port, environment, links, self.folder / "logs", self.history)
        self.members[name] = member
        self._stack.push_async_callback(member.stop, SERVICE_STOP_S)
        await member.start()
        return member

    async def retire(self, member: Member) -> None:
        """Drain a member and take it off the fleet."""
        await member.retire()
        del self.members[member.name]

    async def wait_until_ready(self) -> None:
        """Wait until every member says that it is ready."""
        await asyncio.gather(*(member.wait_until_ready() for member in self.members.values()))

    async def calls_of(self, member: Member) -> list[str]:
        """Return the live calls that a worker or a gateway holds now."""
        if member.kind == "worker":
            return await self._calls_of_worker(member)
        return sorted(await asyncio.to_thread(member.calls))

    async def calls_over(self, node: int) -> list[str]:
        """Return the live calls whose worker or gateway is connected to this node of NATS."""
        connected = [
            member
            for kind in ("worker", "gateway")
            for member in self.of(kind)
            if member.links["nats"][node].connections
        ]
        held = await asyncio.gather(*(self.calls_of(member) for member in connected))
        return sorted(set().union(*held))

    async def live_calls(self) -> list[str]:
        """Return every call with an open stream."""
        gateways = [member for member in self.members.values() if member.kind == "gateway"]
        held = await asyncio.gather(*(asyncio.to_thread(member.calls) for member in gateways))
        return sorted(set().union(*held))

    async def note_counters(self) -> None:
        """Write down what the gateways have counted: before one of them is struck, and at the end."""
        for member in self.of("gateway"):
            self.history.add("counted", id=member.id, stale_frames=await member.stale_frames())

    async def _calls_of_worker(self, member: Member) -> list[str]:
        client = await nats.connect(self.nats.url.split(","))
        try:
            answer = await client.request(subjects.worker_ping(member.id), b"", timeout=ASK_LIMIT_S)
        finally:
            await client.close()
        consumed = control.decode(answer.data, PingReply).consumed
        # What was only offered, or has just ended, is nobody's live call.
        return sorted(set(consumed) & set(await self.live_calls()))

    async def _link(self, url: str) -> TcpProxy:
        port = urlsplit(url).port
        assert port is not None, "every server here names its port"
        return await self._stack.enter_async_context(TcpProxy.listening(lambda: (port,)))

    def _open_gateways(self) -> Sequence[int]:
        ports = [member.port for member in self.of("gateway")]
        turn = next(self._next_gateway) % max(len(ports), 1)
        return ports[turn:] + ports[:turn]

    def _settings(self, kind: Kind, port: int, links: Mapping[str, Sequence[TcpProxy]]) -> dict[str, str]:
        match kind:
            case "worker":
                return {
                    "OPENAI_API_KEY": "simulated",
                    "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{links['model'][0].port}{urlsplit(self._model_url).path}",
                    "METRICS_PORT": str(port),
                    "WORKER_DRAIN_S": WORKER_DRAIN_S,
                    "EVENT_REPLICAS": str(NATS_NODES),
                }
            case "gateway":
                return {
                    "PORT": str(port),
                    "PUBLIC_URL": self.line.public_url,
                    "TWILIO_AUTH_TOKEN": self.line.auth_token,
                    "GATEWAY_DRAIN_S": GATEWAY_DRAIN_S,
                }
            case "transcripts":
                return {
                    "DATABASE_URL": self.postgres.url,
                    "METRICS_PORT": str(port),
                    "EVENT_REPLICAS": str(NATS_NODES),
                }


async def _migrate(folder: Path, database_url: str) -> None:
    environment = {"DATABASE_URL": database_url}
    async with Process.start("migrate", trunkline("migrate"), folder / "logs", environment) as process:
        if await process.exited() != 0:
            raise await process.error(f"exited with code {process.exit_code}")


async def _simulated_model(stack: AsyncExitStack, folder: Path) -> str:
    command = trunkline(
        *("sim-openai", "--port", "0", "--connect-delay", CONNECT_DELAY_S, "--again", "continue"),
        *("--record", str(folder / "recordings")),
    )
    process = await stack.enter_async_context(Process.start("sim-openai", command, folder / "logs"))
    return (await process.wait_for_line(r"listening on (ws://\S+)"))[1]
