"""The modelled Twilio with one caller: webhooks and media streams at whatever gateway the load balancer picks."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from starlette.datastructures import FormData

from fleet_world.processes import GatewayProcess
from trunkline_gateway.connection import Connection
from trunkline_gateway.webhook import _Answers

if TYPE_CHECKING:
    from fleet_world.world import World

LOUD, SILENCE = b"\x55", b"\xff"
WEBHOOK_TIMEOUT_S = 5.0
WEBHOOK_TRIES = 3
NOBODY_S = 0.5
NOBODY_TRIES = 30
"""While no gateway is ready, the load balancer keeps the request, up to Twilio's limit of 15 s."""

NOTICES_S = [0.02, 0.3, 1.0, 4.5]
"""Until Twilio goes on without a socket that broke; the last one is later than our own redirect."""


class Call:
    """One call at Twilio, from the ringing to its end."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.sid = f"CA{world.seed:016x}{number:016x}"
        self.over = ""
        """Why it is, once it is."""
        self.stream: Stream | None = None
        self.frames_said = 0
        self.frame_ms = world.draw.choice([40, 100, 100, 200])
        self.agent_heard_at: list[float] = []
        self.streams: list[Stream] = []
        self._asking = 0
        draw = world.draw
        self.talks: list[tuple[float, float]] = []
        at = world.now + draw.uniform(1, 4)
        while at < world.now + 200:
            length_s = draw.choice([0.4, 0.8, 2.0])
            self.talks.append((at, at + length_s))
            at += length_s + draw.choice([2.0, 3.0, 5.0])

    def begin(self) -> None:
        """Ring."""
        self._ask("/voice", {})

    def hang_up(self) -> None:
        """The caller has had enough."""
        if not self.over:
            self._end("hung up")

    def redirect(self, url: str) -> bool:
        """The REST API is told to ask a URL instead of whatever goes on; False when the call is over."""
        if self.over:
            return False
        self.world.note(self.sid, "redirected")
        if self.stream is not None:
            self._leave_stream()
        self._ask_url(url, after_s=0.2)
        return True

    # --- Webhooks

    def _ask_url(self, url: str, after_s: float) -> None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._asking += 1
        asking = self._asking
        self.world.agenda.after(
            after_s,
            lambda: self._ask(parts.path, query) if asking == self._asking and not self.over else None,
        )

    def _ask(self, path: str, query: dict[str, str], tried: int = 1) -> None:
        self._asking += 1
        asking = self._asking
        gateway = self.world.gateway_for_twilio()
        if gateway is not None:
            self.world.note(self.sid, f"asks {gateway.name} {path} {query.get('attach', '')}")
            gateway.loop.call_soon(lambda: gateway.spawn(self._answered(gateway, path, query, asking)))
        wait_s = NOBODY_S if gateway is None else WEBHOOK_TIMEOUT_S

        def again() -> None:
            if asking != self._asking or self.over:
                return
            if tried < (WEBHOOK_TRIES if gateway else NOBODY_TRIES):
                self._ask(path, query, tried + 1)
            else:
                self._end("no webhook answered")

        self.world.agenda.after(wait_s, again)

    async def _answered(self, gateway: GatewayProcess, path: str, query: dict[str, str], asking: int) -> None:
        answers = _Answers(gateway.gateway)
        form = FormData(
            {"CallSid": self.sid, "AccountSid": "AC1", "From": "+12025550123", "To": "+12025550100"}
        )
        if path == "/voice":
            response = await answers.to_new_call(form)
        else:
            assert path == "/voice/reattach", path
            numbers = int(query["attach"]), int(query["started"]), int(query.get("detours", 0))
            response = await answers.to_ended_stream(form, *numbers)
        text = bytes(response.body).decode()
        self.world.agenda.after(0.02, lambda: self._perform(text, asking))

    def _perform(self, text: str, asking: int) -> None:
        if asking != self._asking or self.over:
            return
        self._asking += 1
        root = ElementTree.fromstring(text)
        connect = root.find("Connect")
        if connect is None:
            verbs = [each.tag for each in root]
            self._end("fallback" if "Say" in verbs else "hung up by us")
            return
        parameters = {each.attrib["name"]: each.attrib["value"] for each in connect.iter("Parameter")}
        gateway = self.world.gateway_for_twilio()
        action = connect.attrib["action"]
        if gateway is None:
            self._ask_url(action, after_s=0.3)
            return
        self.stream = Stream(self, gateway, action, parameters)
        self.streams.append(self.stream)
        self.stream.open()

    # --- Streams

    def stream_closed(self, stream: Stream, *, by_gateway: bool) -> None:
        """A socket was closed by its gateway, or broke with it."""
        if self.stream is not stream:
            return
        self.stream = None
        stream.end()
        if self.over:
            return
        world = self.world
        if by_gateway:
            self._ask_url(stream.action, after_s=world.draw.choice([0.02, 0.1, 0.3]))
            return
        self._ask_url(stream.action, after_s=world.draw.choice(NOTICES_S))

    def _leave_stream(self) -> None:
        stream, self.stream = self.stream, None
        assert stream is not None
        stream.tell(
            {"event": "stop", "streamSid": stream.sid, "stop": {"accountSid": "AC1", "callSid": self.sid}}
        )
        stream.hang_up()
        stream.end()

    def _end(self, why: str) -> None:
        self.world.note(self.sid, f"over: {why}")
        self.over = why
        if self.stream is not None:
            self._leave_stream()


class Stream:
    """One websocket of Twilio's."""

    def __init__(self, call: Call, gateway: GatewayProcess, action: str, parameters: dict[str, str]) -> None:
        self.call = call
        self.action = action
        self.gateway = gateway
        self.world = call.world
        self.sid = f"MZ{self.world.seed:016x}{len(call.streams) + 16 * int(call.sid[-4:], 16):016x}"
        self.is_open = True
        self.first_frame = call.frames_said
        self.ended_at: float | None = None
        self.connection: Connection | None = None
        self._parameters = parameters
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._t_ms = 0
        self._play_end_at = 0.0
        self._marks: list[tuple[str, int]] = []
        self._clears = 0

    def open(self) -> None:
        """Connect and start."""
        start = {
            "accountSid": "AC1",
            "callSid": self.call.sid,
            "streamSid": self.sid,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        self.gateway.loop.call_soon(lambda: self.gateway.spawn(self._serve()))
        self.tell({"event": "connected"})
        self.tell({"event": "start", "streamSid": self.sid, "start": start})
        self._speak()

    async def _serve(self) -> None:
        gateway = self.gateway.gateway
        assert gateway.link is not None
        self.connection = Connection(gateway, gateway.link, self._receive, self._send)
        await self.connection.run()

    # --- Up

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the gateway."""
        self._to_gateway({"type": "websocket.receive", "text": json.dumps(message)})

    def hang_up(self) -> None:
        """Close the socket."""
        self._to_gateway({"type": "websocket.disconnect", "code": 1000})

    def _to_gateway(self, message: dict[str, Any]) -> None:
        if self.is_open and not self.gateway.is_dead:
            self.gateway.loop.call_soon(self._incoming.put_nowait, message)

    async def _receive(self) -> dict[str, Any]:
        return await self._incoming.get()

    def _speak(self) -> None:
        call, now = self.call, self.world.now
        if not self.is_open:
            return
        loud = any(start <= now < end for start, end in call.talks)
        size = 8 * call.frame_ms - 4
        payload = call.frames_said.to_bytes(4) + (LOUD if loud else SILENCE) * size
        self.world.checks.frame_said(self, call.frames_said)
        call.frames_said += 1
        media = {"timestamp": str(self._t_ms), "payload": base64.b64encode(payload).decode()}
        self._t_ms += call.frame_ms
        self.tell({"event": "media", "streamSid": self.sid, "media": media})
        self.world.agenda.after(call.frame_ms / 1000, self._speak)

    # --- Down

    async def _send(self, message: Any) -> None:
        if self.gateway.is_dead:
            return
        if not self.is_open:
            raise OSError("the socket is closed")
        if message["type"] == "websocket.close":
            self.world.note(self.sid, f"closed: {message['reason']}")
            self._to_gateway({"type": "websocket.disconnect", "code": message["code"]})
            self.world.agenda.after(0, lambda: self.call.stream_closed(self, by_gateway=True))
            return
        self._hear(json.loads(message["text"]))

    def _hear(self, message: dict[str, Any]) -> None:
        world = self.world
        match message["event"]:
            case "media":
                payload = base64.b64decode(message["media"]["payload"])
                world.checks.heard(self, payload)
                self._play_end_at = max(self._play_end_at, world.now) + len(payload) / 8_000
            case "mark":
                name, clears = message["mark"]["name"], self._clears
                self._marks.append((name, clears))
                world.agenda.at(max(self._play_end_at, world.now) + 0.02, lambda: self._echo(name, clears))
            case "clear":
                self._play_end_at = world.now
                marks, self._marks = self._marks, []
                self._clears += 1
                for name, _ in marks:
                    self._say_mark(name)

    def _echo(self, name: str, clears: int) -> None:
        if clears == self._clears and (name, clears) in self._marks:
            self._marks.remove((name, clears))
            self._say_mark(name)

    def _say_mark(self, name: str) -> None:
        self.tell({"event": "mark", "streamSid": self.sid, "mark": {"name": name}})

    def end(self) -> None:
        """Nothing comes or goes any more."""
        self.is_open = False
        self.ended_at = self.world.now
