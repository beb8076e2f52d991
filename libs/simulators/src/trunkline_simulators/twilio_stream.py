"""One media stream: a websocket to the server, a player that feeds the caller's ear, and their ends."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from trunkline_simulators import twilio_messages as messages
from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_caller import KeyPressed
from trunkline_simulators.twilio_faults import Faults, Packet, Uplink
from trunkline_simulators.twilio_player import MEDIA_DISCARDED, Echo, Player
from trunkline_simulators.twilio_trace import Trace
from trunkline_simulators.twilio_twiml import Warned
from trunkline_simulators.twilio_webhooks import ConnectTo, signed_url

CONNECT_TIMED_OUT = 31901
CONNECT_REFUSED = 31902
BROKEN = 31903
TLS_FAILED = 31910
HANDSHAKE_FAILED = 31920
CLOSED_BY_SERVER = 31921
PROTOCOL_ERROR = 31924
RECEIVER_TOO_SLOW = 31930

NORMAL_CLOSURE = "close code 1000"  # the detail of CLOSED_BY_SERVER when the server meant to

OPEN_TIMEOUT_S = 10.0  # Twilio documents none
CLOSE_TIMEOUT_S = 5.0  # for the last message and the server's close frame

# About seven seconds of frames and echoes for a server that does not read; then Twilio drops.
OUTBOX_MAX = 500

# websockets stops reading the socket when this many messages wait for us; we never make them wait.
INBOX_MAX = 64


@dataclass(frozen=True, slots=True)
class StreamOf:
    """Whose stream it is, and how its server is reached."""

    account_sid: str
    call_sid: str
    signature: Callable[[str], str]
    connect_to: ConnectTo | None
    faults: Faults
    seed: int


class _Connect(connect):
    # Twilio takes any status but 101 for a failure.
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class MediaStream:
    """Runs one `<Stream>`; each 20 ms `play` and `speak` are called once, whatever the network does."""

    def __init__(
        self,
        order: twiml.Stream,
        of: StreamOf,
        trace: Trace,
        call_ms: Callable[[], float],
        on_started: Callable[[MediaStream], None],
    ) -> None:
        self.order = order
        self.stream_sid = f"MZ{secrets.token_hex(16)}"
        self.player = Player()
        self.reader = messages.MessageReader(self.stream_sid)
        self.started = False
        self.echoed_marks = 0
        self.cleared_marks = 0
        self.dropped_messages = 0
        self._of = of
        self._trace = trace
        self._call_ms = call_ms
        self._on_started = on_started
        self._writer = messages.MessageWriter(self.stream_sid, of.call_sid, of.account_sid)
        jitter = random.Random(of.seed)
        self._uplink = Uplink(of.faults, lambda: abs(jitter.gauss(0, of.faults.jitter_ms)))
        self._outbox: asyncio.Queue[Packet | Echo | KeyPressed] = asyncio.Queue(OUTBOX_MAX)
        self._hung_up = asyncio.Event()
        self._websocket: ClientConnection | None = None

    async def run(self) -> Warned | None:
        """Open the stream and stay until it is over; return what Twilio reports, nothing after `hang_up`."""
        websocket = await self._open()
        if isinstance(websocket, Warned):
            return websocket
        self._websocket = websocket
        reading = asyncio.create_task(self._read(websocket))
        writing = asyncio.create_task(self._write(websocket))
        hanging_up = asyncio.create_task(self._hung_up.wait())
        try:
            await asyncio.wait((reading, hanging_up), return_when=asyncio.FIRST_COMPLETED)
            writing.cancel()
            await asyncio.wait((writing,))
            if not hanging_up.done():
                return await reading
            await self._stop(websocket)
            return None
        finally:
            for task in (reading, writing, hanging_up):
                task.cancel()
            await asyncio.gather(reading, writing, hanging_up, return_exceptions=True)
            websocket.transport.abort()

    def play(self) -> bytes:
        """Return the next 160 bytes that the caller hears, and send back the marks that they pass."""
        heard, echoes = self.player.tick()
        for echo in echoes:
            self._put(echo)
        return heard

    def speak(self, frame: bytes, speaking: bool, t_ms: int) -> None:
        """Send 20 ms of the caller, spoken at the call's time `t_ms`, once the stream has started."""
        if self.started:
            for packet in self._uplink.add(frame, speaking, t_ms):
                self._put(packet)

    def press(self, key: KeyPressed) -> None:
        """Send a key that the caller pressed."""
        if self.started:
            self._put(key)

    def hang_up(self) -> None:
        """Let the stream end as Twilio ends it: `stop`, then a close frame without a code."""
        self._hung_up.set()

    def reset(self) -> None:
        """Break the TCP connection with a reset, as a failing network does."""
        if self._websocket is None:
            return
        transport = self._websocket.transport
        linger_on_for_0_s = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_for_0_s)
        transport.abort()

    async def _open(self) -> ClientConnection | Warned:
        url = self.order.url
        faults, connect_to = self._of.faults, self._of.connect_to
        signed = signed_url(url) + ("/" if faults.websocket_signature == "trailing-slash" else "")
        signature = self._of.signature(signed)
        if faults.websocket_signature == "wrong":
            signature = signature[::-1]
        elsewhere: dict[str, Any] = {}
        if connect_to is not None and connect_to.applies_to(url):
            url = "ws" + url.removeprefix("wss")
            elsewhere = {"host": connect_to.host, "port": connect_to.port, "proxy": None}
        try:
            return await _Connect(
                url,
                additional_headers={"x-twilio-signature": signature},
                user_agent_header="Twilio.TmeWs/1.0",
                compression=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # Twilio is not known to ping; it answers pings
                max_size=messages.MESSAGE_BYTES_MAX,
                max_queue=INBOX_MAX,
                **elsewhere,
            )
        except InvalidStatus as error:
            return Warned(HANDSHAKE_FAILED, f"HTTP {error.response.status_code} instead of 101")
        except InvalidHandshake as error:
            return Warned(HANDSHAKE_FAILED, f"{type(error).__name__}: {error}")
        except TimeoutError:
            return Warned(CONNECT_TIMED_OUT, f"no websocket within {OPEN_TIMEOUT_S:g} s")
        except ssl.SSLError as error:
            return Warned(TLS_FAILED, str(error))
        except ConnectionRefusedError:
            return Warned(CONNECT_REFUSED, "connection refused")
        except OSError as error:
            return Warned(BROKEN, f"{type(error).__name__} while connecting")

    async def _read(self, websocket: ClientConnection) -> Warned:
        try:
            while True:
                self._receive(await websocket.recv())
        except ConnectionClosed as closed:
            if closed.sent is not None and not closed.rcvd_then_sent:
                return Warned(PROTOCOL_ERROR, f"{closed.sent.code.real} {closed.sent.reason}".strip())
            if closed.rcvd is None:
                return Warned(BROKEN, "the connection broke without a close frame")
            return Warned(CLOSED_BY_SERVER, f"close code {closed.rcvd.code.real}")

    def _receive(self, raw: str | bytes) -> None:
        message = self.reader.read(raw)
        match message:
            case messages.Media(payload):
                if not self.player.add_audio(payload) and self.player.discarded_bytes == len(payload):
                    self._trace.warn(Warned(MEDIA_DISCARDED, "more than ten minutes of audio are waiting"))
                total_bytes = self.player.received_bytes
                self._trace.add("media-received", bytes=len(payload), total_bytes=total_bytes)
            case messages.Mark(name):
                self._trace.add("mark-received", name=name)
                for echo in self.player.add_mark(name):
                    self._put(echo)
            case messages.Clear():
                dropped_bytes, echoes = self.player.clear()
                self._trace.add("clear-received", dropped_bytes=dropped_bytes)
                for echo in echoes:
                    self._put(echo)
            case messages.Ignored(code, detail, first):
                if first:
                    self._trace.warn(Warned(code, detail))
            case _:
                assert_never(message)

    async def _write(self, websocket: ClientConnection) -> None:
        try:
            await websocket.send(self._writer.connected())
            if self._of.faults.no_start:
                return
            await websocket.send(self._writer.start(self._parameters()))
            self.started = True
            self._trace.add("stream-started", stream_sid=self.stream_sid)
            self._on_started(self)
            while True:
                await self._send(websocket, await self._outbox.get())
        except ConnectionClosed:
            pass  # whoever reads finds out how

    async def _send(self, websocket: ClientConnection, item: Packet | Echo | KeyPressed) -> None:
        match item:
            case Packet(payload, timestamp_ms, leaves_at_ms):
                early_ms = leaves_at_ms - self._call_ms()
                if early_ms > 0:
                    await asyncio.sleep(early_ms / 1000)
                self._trace.add("frame-sent", t_ms=timestamp_ms)
                await websocket.send(self._writer.media(payload, timestamp_ms))
            case Echo(name, cleared):
                self.echoed_marks += not cleared
                self.cleared_marks += cleared
                self._trace.add("mark-echoed", name=name, cleared=cleared)
                await websocket.send(self._writer.mark(name))
            case KeyPressed(digit):
                await websocket.send(self._writer.dtmf(digit))
            case _:
                assert_never(item)

    def _put(self, item: Packet | Echo | KeyPressed) -> None:
        try:
            self._outbox.put_nowait(item)
        except asyncio.QueueFull:
            self.dropped_messages += 1
            if self.dropped_messages == 1:
                self._trace.warn(Warned(RECEIVER_TOO_SLOW, "the server does not read what it is sent"))

    def _parameters(self) -> dict[str, str]:
        if not self._of.faults.tampered_token:
            return dict(self.order.parameters)
        return {name: _tampered(value) for name, value in self.order.parameters.items()}

    async def _stop(self, websocket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self.started:
                    await websocket.send(self._writer.stop())
                # Twilio's close frame carries no code, which `close` cannot send.
                async with websocket.send_context():
                    websocket.protocol.send_close()
        except (ConnectionClosed, TimeoutError):
            pass  # closed, which is what is wanted


def _tampered(value: str) -> str:
    # In the middle, because the last character of base64 may hold unused bits.
    middle = len(value) // 2
    return value[:middle] + ("A" if value[middle : middle + 1] != "A" else "B") + value[middle + 1 :]
