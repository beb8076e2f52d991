"""Shell: connections to the hosts of tools, and to no address where such a host must not lie.

The name is resolved once, its addresses are checked, and one of the checked addresses is connected to: a name
that points elsewhere a moment later (DNS rebinding) leads nowhere. TLS still verifies the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import httpcore

from trunkline_worker.tool_hosts import ToolHosts, is_public

ADDRESSES_TRIED_MAX: Final = 3

Resolve = Callable[[str, int], Awaitable[list[str]]]
SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)  # as httpcore names them


class RefusedAddressError(httpcore.ConnectError):
    """The host lies where tools may not reach."""


class ToolNetwork(httpcore.AsyncNetworkBackend):
    """The way of a connection pool to the network."""

    def __init__(self, hosts: ToolHosts, resolve: Resolve | None = None) -> None:
        self._hosts = hosts
        self._resolve = resolve or _resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of the host; raise `RefusedAddressError` when it has none that is allowed."""
        if not self._hosts.allows(host):
            raise RefusedAddressError("the host is not allowed")
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError("the host has no address") from error
        if not self._hosts.names(host):
            addresses = [address for address in addresses if is_public(address)]
        if not addresses:
            raise RefusedAddressError("the host lies at a private address")
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: tools are found by name."""
        raise RefusedAddressError("no tool is a file")

    async def sleep(self, seconds: float) -> None:
        """Wait, as the pool's own retries would; it makes none."""
        await self._inner.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
