"""A TCP front before several servers, as a load balancer is: each connection goes to the first that accepts it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence


class Front:
    """Carries bytes; a connection that breaks on one side breaks on the other."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self.ports = list(ports)
        """Of the servers in service, by preference; one that hangs is taken out by the test, as by a health check."""
        self._connections: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, *ports: int) -> AsyncIterator["Front"]:
        """Listen on a free port."""
        front = cls(ports)
        listener = await asyncio.start_server(front._accept, "127.0.0.1", 0)
        front.port = listener.sockets[0].getsockname()[1]
        try:
            yield front
        finally:
            listener.close()
            for connection in front._connections:
                connection.cancel()
            await asyncio.gather(*front._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for port in self.ports:
                with contextlib.suppress(ConnectionError):
                    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
                    break
            else:
                return
            there = asyncio.create_task(_copy(reader, server_writer))
            back = asyncio.create_task(_copy(server_reader, writer))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
                server_writer.close()
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
