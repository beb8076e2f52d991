"""Runs a real gateway process and plays Twilio to it, over HTTP and websocket; `played_worker` is its other side."""

import asyncio
import base64
import contextlib
import json
import secrets
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urldefrag
from xml.etree import ElementTree

import httpx
from played_worker import LIMIT_S, Worker
from prometheus_client.parser import text_string_to_metric_families
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # twilio ships no types
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from trunkline_common.frames import FrameKind
from trunkline_local.processes import Process, free_port, trunkline

ACCOUNT_SID: Final = "AC" + "0" * 32
AUTH_TOKEN: Final = "secret-of-the-tests"
PUBLIC_URL: Final = "https://calls.example.com"
CALLER: Final = "+12025550143"
CALLED: Final = "+12025550199"
ULAW: Final = bytes(range(160))

_NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Plain HTTP on loopback: loading certificates would keep this process, and its played worker, from answering."""

SIGN: Final = "sign"
"""Stands for the right signature."""


class Gateway:
    """One running `trunkline gateway`."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        nats_url: str,
        folder: Path,
        limits: Mapping[str, float | str] | None = None,
        /,
        *,
        ready: bool = True,
        **environment: str,
    ) -> AsyncIterator[Self]:
        """Run a gateway with `environment` on top of what it needs, and `limits` in place of its own constants."""
        port = free_port()
        settings = {
            "NATS_URL": nats_url,
            "PORT": str(port),
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        }
        command = _with_limits(limits) if limits else trunkline("gateway")
        async with Process.start("gateway", command, folder, settings | environment) as process:
            gateway = cls(process, port)
            if ready:
                await process.wait_until_ready(f"{gateway.url}/readyz")
            yield gateway

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str) -> httpx.Response:
        async with http_client() as client:
            return await client.get(self.url + path)

    async def post(
        self, path: str, fields: Mapping[str, str], *, query: str = "", signature: str | None = SIGN
    ) -> httpx.Response:
        """Post a form as Twilio does, signed over PUBLIC_URL."""
        target = f"{path}?{query}" if query else path
        if signature == SIGN:
            signature = sign(PUBLIC_URL + target, fields)
        headers = {"X-Twilio-Signature": signature} if signature is not None else {}
        async with http_client() as client:
            return await client.post(self.url + target, data=dict(fields), headers=headers)

    async def voice(self, call_id: str) -> "Twiml":
        """Announce an incoming call and return what to do with it."""
        response = await self.post("/voice", call_fields(call_id))
        assert response.status_code == 200, response.text
        return Twiml(response.text)

    async def reattach(self, call_id: str, url: str, **fields: str) -> "Twiml":
        """Ask what comes after a stream, at the address that the TwiML gave."""
        path, _, query = urldefrag(url).url.removeprefix(PUBLIC_URL).partition("?")
        response = await self.post(path, call_fields(call_id) | fields, query=query)
        assert response.status_code == 200, response.text
        return Twiml(response.text)

    @contextlib.asynccontextmanager
    async def socket(
        self, path: str = "/media-stream", *, signature: str | None = SIGN, slash: str = ""
    ) -> AsyncIterator["Socket"]:
        """Open the media websocket as Twilio does."""
        if signature == SIGN:
            signature = sign(f"wss://calls.example.com/media-stream{slash}", {})
        headers = {"X-Twilio-Signature": signature} if signature is not None else {}
        address = f"ws://127.0.0.1:{self.port}{path}"
        async with connect(
            address, additional_headers=headers, compression=None, proxy=None, open_timeout=LIMIT_S
        ) as websocket:
            yield Socket(websocket)

    async def metric(self, name: str, **labels: str) -> float:
        """Return the value of one series."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        values = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(values) == 1, f"{name} {labels} is not exported"
        return values[0]

    async def rejected(self, reason: str) -> float:
        return await self.metric("trunkline_gateway_rejected_total", reason=reason)

    async def wait_for_metric(self, at_least: float, name: str, **labels: str) -> None:
        async def is_there() -> bool:
            return await self.metric(name, **labels) >= at_least

        await self.process.wait_until(is_there, lambda: f"{name} {labels} ≥ {at_least}", LIMIT_S)


class Twiml:
    """What the gateway told Twilio to do."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.response = ElementTree.fromstring(text)

    @property
    def verbs(self) -> list[str]:
        return [element.tag for element in self.response]

    @property
    def parameters(self) -> dict[str, str]:
        return {each.attrib["name"]: each.attrib["value"] for each in self.response.iter("Parameter")}

    @property
    def action(self) -> str:
        connection = self.response.find("Connect")
        assert connection is not None, self.text
        return connection.attrib["action"]

    @property
    def sentence(self) -> str:
        return self.response.findtext("Say") or ""


class Socket:
    """Twilio's end of a media stream."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.stream_sid = "MZ" + secrets.token_hex(16)
        self._sequence = 0

    async def send(self, event: str, **body: Any) -> None:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.stream_sid}
        await self.websocket.send(json.dumps(head | body))

    async def connected(self) -> None:
        await self.websocket.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')

    async def start(self, call_id: str, parameters: Mapping[str, str], **changes: Any) -> None:
        await self.connected()
        body = {
            "accountSid": ACCOUNT_SID,
            "streamSid": self.stream_sid,
            "callSid": call_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }
        await self.send("start", start=body | changes)

    async def media(self, t_ms: int, payload: bytes = ULAW) -> None:
        media = {
            "track": "inbound",
            "chunk": str(t_ms // 20 + 1),
            "timestamp": str(t_ms),
            "payload": base64.b64encode(payload).decode(),
        }
        await self.send("media", media=media)

    async def mark(self, name: str) -> None:
        await self.send("mark", mark={"name": name})

    async def next(self) -> dict[str, Any]:
        """Return the next message to Twilio; probes are echoed at once and not returned."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                text = await self.websocket.recv()
                assert isinstance(text, str), "Media Streams are text"
                message: dict[str, Any] = json.loads(text)
                if message["event"] == "mark" and message["mark"]["name"].startswith("probe:"):
                    await self.mark(message["mark"]["name"])
                    continue
                return message

    async def closed(self) -> int:
        """Wait until the gateway closes the socket, and return its code."""
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.websocket.recv()
            await self.websocket.wait_closed()
        assert self.websocket.close_code is not None
        return self.websocket.close_code


def _with_limits(limits: Mapping[str, float | str]) -> list[str]:
    """Return the command of a gateway with other values for constants such as `ownership.READY_S_MAX`."""
    modules = sorted({name.partition(".")[0] for name in limits})
    lines = [
        *(f"from trunkline_gateway import {module}" for module in modules),
        *(f"{name} = {value}" for name, value in limits.items()),
        "from trunkline_gateway.main import command",
        "command(args=[])",
    ]
    return [sys.executable, "-c", "\n".join(lines)]


def sign(url: str, fields: Mapping[str, str], auth_token: str = AUTH_TOKEN) -> str:
    """Return what Twilio puts into X-Twilio-Signature."""
    return str(RequestValidator(auth_token).compute_signature(url, fields))


def new_call_id() -> str:
    return "CA" + secrets.token_hex(16)


def call_fields(call_id: str) -> dict[str, str]:
    """Return the form of an incoming call; many more fields come with it, some of them empty."""
    return {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "CallSid": call_id,
        "CallStatus": "ringing",
        "CalledZip": "",
        "Direction": "inbound",
        "From": CALLER,
        "To": CALLED,
    }


@contextlib.asynccontextmanager
async def call(gateway: Gateway, worker: Worker) -> AsyncIterator[tuple[str, Socket, Twiml]]:
    """Bring one call to the point where its stream is attached."""
    call_id = new_call_id()
    twiml = await gateway.voice(call_id)
    async with gateway.socket() as socket:
        await socket.start(call_id, twiml.parameters)
        await socket.media(0)
        first = await worker.frame()
        assert (first.kind, first.payload) == (FrameKind.AUDIO, ULAW)
        yield call_id, socket, twiml


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=LIMIT_S, trust_env=False, verify=_NO_CERTIFICATES)
