"""What the tests of the bus share: a link that can fail, a service's life that can be awaited, and receivers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

import prometheus_client
from infra import MS
from nats.aio.msg import Msg

from trunkline_common.bus import Bus
from trunkline_common.service import Life
from trunkline_common.settings import CommonSettings
from trunkline_local.nats_server import NatsServer

T = TypeVar("T")

LIMIT_S = 5000 * MS
"""For what happens soon if it happens at all."""


class WatchedLife(Life):
    """A service's life, and a way to wait until it says something."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        super().__init__("test", drain_deadline_s=1)
        self.started()

    def waiting(self, part: str, why: str) -> None:
        super().waiting(part, why)
        self._changed.set()

    def resolved(self, part: str) -> None:
        super().resolved(part)
        self._changed.set()

    @property
    def says(self) -> str:
        """Why it is not ready."""
        return "\n".join(self.not_ready_because())

    async def until(self, is_so: Callable[[str], bool]) -> str:
        """Wait until `is_so` of what it says, and return that."""
        async with asyncio.timeout(LIMIT_S):
            while not is_so(self.says):
                self._changed.clear()
                await self._changed.wait()
        return self.says

    async def until_down(self) -> str:
        """Wait until both connections are known to be down."""
        return await self.until(lambda says: "nats-audio" in says and "nats-control" in says)

    async def until_ready(self) -> None:
        """Wait until nothing is missing."""
        await self.until(lambda says: not says)


class Proxy:
    """A TCP link to the server that can be cut, and whose connections can fall silent."""

    def __init__(self, server: NatsServer) -> None:
        self.url = ""
        self.sent = bytearray()
        """Everything that clients sent."""
        self._target = urlsplit(server.url)
        self._is_cut = False
        self._silent = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, server: NatsServer) -> AsyncIterator["Proxy"]:
        """Listen on a free port and carry what comes to `server`."""
        proxy = cls(server)
        listener = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.url = f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            listener.close()
            proxy.cut()
            await asyncio.gather(*proxy._connections, return_exceptions=True)

    def silence(self) -> None:
        """Let what is connected now carry nothing any more, without a word; new connections work."""
        self._silent.set()
        self._silent = asyncio.Event()

    def cut(self) -> None:
        """Break every connection, and each new one until `mend`."""
        self._is_cut = True
        for connection in self._connections:
            connection.cancel()

    def mend(self) -> None:
        """Carry new connections again."""
        self._is_cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        task = asyncio.create_task(self._carry(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # Here and not in the task: one that is cancelled before its first step does not run at all.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent = self._silent
        from_server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        pumps = [
            asyncio.create_task(self._pump(reader, to_server, self.sent)),
            asyncio.create_task(self._pump(from_server, writer, bytearray())),
        ]
        silenced = asyncio.create_task(silent.wait())
        try:
            await asyncio.wait([*pumps, silenced], return_when=asyncio.FIRST_COMPLETED)
            if silenced.done():
                for pump in pumps:
                    pump.cancel()
                await asyncio.Event().wait()
        finally:
            for task in (*pumps, silenced):
                task.cancel()
            to_server.transport.abort()

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, copy: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                copy += data
                sink.write(data)
                await sink.drain()


class Inbox:
    """A receiver that keeps what it was given."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._came = asyncio.Event()

    async def take(self, message: Msg) -> None:
        """Handle a message."""
        self.messages.append(message.data)
        self._came.set()

    async def has(self, data: bytes) -> None:
        """Wait until `data` has come."""
        async with asyncio.timeout(LIMIT_S):
            while data not in self.messages:
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[tuple[Bus, WatchedLife]]:
    """A service's bus and life; the bus is closed at the end."""
    life = WatchedLife()
    variables = await asyncio.to_thread(CommonSettings, nats_url=url, **settings)
    bus = await Bus.connect(variables, life)
    try:
        yield bus, life
    finally:
        await bus.close()


async def echo(message: Msg) -> None:
    """Answer with the question."""
    await message.respond(message.data)


def counted(name: str, **labels: str) -> float:
    """Return the present value of a counter."""
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that must not wait for anything, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("it waited")
