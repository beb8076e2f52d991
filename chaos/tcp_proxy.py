"""A TCP proxy on loopback that can reset, or swallow, what runs through it.

It stands on every way that a network fault may strike, and before the gateways, where it is the load balancer:
a new connection goes to the next target that takes it.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

CONNECT_LIMIT_S: Final = 1.0
"""On loopback somebody answers within a millisecond, or nobody does."""

BUFFERED_BYTES_MAX: Final = 256 * 1024
"""Waiting for a reader that is too slow; then the other side is not read either, as between two kernels."""

_LINGER_FOR_0_S: Final = struct.pack("ii", 1, 0)
"""Closing then sends RST instead of FIN."""

Targets = Callable[[], Sequence[int]]


class TcpProxy:
    """One listening port; `targets` is asked at each connection for ports, the best first."""

    def __init__(self, targets: Targets) -> None:
        self.port = 0
        self._targets = targets
        self._ways: set[_Way] = set()
        self._is_swallowing = False

    @classmethod
    @asynccontextmanager
    async def listening(cls, targets: Targets) -> AsyncIterator["TcpProxy"]:
        """Listen on a free port until the end of the block, which resets what is still open."""
        proxy = cls(targets)
        server = await asyncio.get_running_loop().create_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()

    @property
    def connections(self) -> int:
        """How many connections run through it."""
        return len(self._ways)

    def cut(self) -> None:
        """Reset every open connection, on both sides."""
        for way in tuple(self._ways):
            way.reset()

    def swallow(self) -> None:
        """Let nothing through any more, and say nothing about it: a cable is out, a firewall forgot its state."""
        self._is_swallowing = True
        for way in self._ways:
            way.pause()

    def heal(self) -> None:
        """Let everything through again, what was sent meanwhile first, as TCP would."""
        self._is_swallowing = False
        for way in self._ways:
            way.resume()

    def _accept(self) -> "_End":
        way = _Way(self._targets(), self._ways.discard)
        self._ways.add(way)
        if self._is_swallowing:
            way.pause()
        return way.client


class _Way:
    """One connection through the proxy."""

    def __init__(self, ports: Sequence[int], on_gone: Callable[["_Way"], None]) -> None:
        self.client = _End(self)
        self._server = _End(self)
        self._ports = ports
        self._on_gone = on_gone
        self._is_paused = False
        self._connecting: asyncio.Task[None] | None = None

    def opened(self, end: "_End") -> None:
        if end is self.client:
            # Nothing may be read before it can be handed on.
            end.pause("no server")
            self._connecting = asyncio.create_task(self._connect())
        if self._is_paused:
            end.pause("swallowed")

    def other(self, end: "_End") -> "_End":
        return self._server if end is self.client else self.client

    def lost(self, end: "_End") -> None:
        self.other(end).close()
        if self._connecting is not None and end is self.client:
            self._connecting.cancel()
        self._on_gone(self)

    def reset(self) -> None:
        for end in (self.client, self._server):
            end.reset()

    def pause(self) -> None:
        self._is_paused = True
        for end in (self.client, self._server):
            end.pause("swallowed")

    def resume(self) -> None:
        self._is_paused = False
        for end in (self.client, self._server):
            end.resume("swallowed")

    async def _connect(self) -> None:
        for port in self._ports:
            try:
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    await asyncio.get_running_loop().create_connection(
                        lambda: self._server, "127.0.0.1", port
                    )
            except OSError:
                continue
            self.client.resume("no server")
            return
        self.client.reset()


class _End(asyncio.Protocol):
    """One of the two sockets of a connection; why it is not read may have several reasons at once."""

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._transport: asyncio.Transport | None = None
        self._reasons: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(BUFFERED_BYTES_MAX)
        self._transport = transport
        self._way.opened(self)

    def data_received(self, data: bytes) -> None:
        self._way.other(self).write(data)

    def pause_writing(self) -> None:
        self._way.other(self).pause("slow reader")

    def resume_writing(self) -> None:
        self._way.other(self).resume("slow reader")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._way.lost(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, reason: str) -> None:
        self._reasons.add(reason)
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self, reason: str) -> None:
        self._reasons.discard(reason)
        if self._transport is not None and not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close once everything is written."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        if self._transport is not None:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_0_S)
            self._transport.abort()
