"""An HTTP server that behaves as the path asks: well, late, hugely, or not like HTTP at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class ToolServer:
    """A running server, and what it was asked."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    """Whole requests, head and body."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request that is never answered has come."""
    dropped: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the client of such a request has gone."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


ANSWERS = {
    "/json": (200, "application/json", b'{"free": ["09:00", "10:30"]}'),
    "/text": (200, "text/plain; charset=utf-8", "Täglich ab neun".encode()),
    "/empty": (204, "", b""),
    "/broken-json": (200, "application/json", b'{"free": ['),
    "/deep-json": (200, "application/json", b"[" * 4000),
    "/no-utf8": (200, "text/plain", b"\xff\xfe"),
    "/html": (200, "text/html", b"<html>Welcome</html>"),
    "/conflict": (409, "application/json", b'{"reason": "the slot is taken"}'),
    "/long-refusal": (400, "text/plain", b"x" * 4000),
    "/html-refusal": (404, "text/html", b"<html>nginx</html>"),
    "/down": (503, "text/plain", b"stack trace"),
    "/redirect": (302, "text/plain", b""),
}


@contextlib.asynccontextmanager
async def tool_server() -> AsyncIterator[ToolServer]:
    """Serve on a free port of this machine."""
    served = ToolServer()
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await _serve_one(served, reader, writer):
                    pass
        finally:
            writer.close()
            del connections[task]

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        left = dict(connections)
        for writer in left.values():
            writer.transport.abort()
        await asyncio.gather(*left)


async def _serve_one(served: ToolServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; return whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        (int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")),
        0,
    )
    body = (await reader.readexactly(length)).decode()
    served.requests.append(head + body)
    path = head.split()[1].split("?")[0]
    match path:
        case "/late":
            served.held.set()
            await reader.read()
            served.dropped.set()
            return False
        case "/not-http":
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            return False
        case "/closes":
            return False
        case "/cut-off":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{")
            await writer.drain()
            return False
        case "/huge":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        case "/drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        case "/gzip":
            answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
            writer.write(answer)
            return False
        case "/second-time":
            status, kind, content = ANSWERS["/down" if len(served.requests) < 2 else "/json"]
        case _:
            status, kind, content = ANSWERS[path]
    writer.write(
        f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(content)}\r\nContent-Type: {kind}\r\n"
        f"Location: /json\r\n\r\n".encode()
        + content
    )
    await writer.drain()
    return True
