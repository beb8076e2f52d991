"""A server for one test at a time: answers webhooks with TwiML and plays a stream's other side by script."""

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

PUBLIC_HOST = "voice.example.com"


@dataclass
class Asked:
    """One request to a webhook."""

    method: str
    path: str
    headers: dict[str, str]
    fields: dict[str, str]


@dataclass
class Answer:
    """What a webhook answers."""

    body: str | bytes
    status: int = 200
    content_type: str = "text/xml"


class Session:
    """The server's end of one websocket, as bare as a test wants it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ServerProtocol
    ) -> None:
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None  # of a close frame that came; 1005: it had no code
        self.was_reset = False
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self._frames: list[Frame] = []

    @property
    def stream_sid(self) -> str:
        return next(str(each["streamSid"]) for each in self.received if each["event"] == "start")

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message; `None` when the stream is over."""
        while not self._frames:
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:
                self.was_reset = True
                return None
            if not data:
                return None
            self._protocol.receive_data(data)
            self._frames += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
            self._flush()
        frame = self._frames.pop(0)
        if frame.opcode is Opcode.CLOSE:
            self.close_code = self._protocol.close_rcvd.code.real if self._protocol.close_rcvd else None
            return None
        message: dict[str, Any] = json.loads(bytes(frame.data))
        self.received.append(message)
        return message

    async def receive_until(self, event: str) -> dict[str, Any]:
        """Return the next message of this kind; all others are kept in `received`."""
        while (message := await self.receive()) is not None:
            if message["event"] == event:
                return message
        raise AssertionError(f"the stream ended before {event!r}")

    async def receive_all(self) -> None:
        while await self.receive() is not None:
            pass

    def send(self, event: str, **body: Any) -> None:
        self.send_text(json.dumps({"event": event, "streamSid": self.stream_sid, **body}))

    def send_audio(self, payload: bytes) -> None:
        self.send("media", media={"payload": base64.b64encode(payload).decode()})

    def send_text(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._flush()

    def send_binary(self, data: bytes) -> None:
        self._protocol.send_binary(data)
        self._flush()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        self._protocol.send_close(code)
        self._flush()

    def reset(self) -> None:
        """Break the connection as a dying machine does."""
        endpoint = self._writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)


Webhook = Callable[[Asked], Answer]
Media = Callable[[Session], Awaitable[None]]


@dataclass
class MediaServer:
    """Answers each webhook through `webhook`, and lives each websocket through the next of `media`."""

    webhook: Webhook
    media: list[Media]
    handshake_status: int = 101
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    upgrades: list[Request] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    upgraded: asyncio.Event = field(default_factory=asyncio.Event)  # a websocket is open

    @asynccontextmanager
    async def running(self) -> AsyncIterator["MediaServer"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                if b"Upgrade: websocket" in head:
                    await self._serve_websocket(head, reader, writer)
                else:
                    await self._serve_webhook(head, reader, writer)
        finally:
            writer.close()

    async def _serve_webhook(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request_line, *lines = head.decode().rstrip().split("\r\n")
        method, target, _ = request_line.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        form = body.decode() or target.partition("?")[2]
        asked = Asked(method, target, headers, dict(parse_qsl(form, keep_blank_values=True)))
        self.asked.append(asked)
        answer = self.webhook(asked)
        payload = answer.body.encode() if isinstance(answer.body, str) else answer.body
        writer.write(
            f"HTTP/1.1 {answer.status} Answer\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
            + payload
        )
        await writer.drain()

    async def _serve_websocket(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(head)
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        self.upgrades.append(request)
        if self.handshake_status != 101:
            writer.write(f"HTTP/1.1 {self.handshake_status} No\r\nContent-Length: 0\r\n\r\n".encode())
            return
        protocol.send_response(protocol.accept(request))
        session = Session(reader, writer, protocol)
        session._flush()
        self.sessions.append(session)
        self.upgraded.set()
        await self.media[min(len(self.sessions), len(self.media)) - 1](session)
