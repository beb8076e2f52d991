"""The websocket server around simulated Realtime sessions: who may connect, and one loop for each session.

A connection that OpenAI would not serve is accepted first and closed then, with OpenAI's codes
(OpenAI: Realtime guide, connecting with websockets). Azure refuses it at the upgrade, with an HTTP status, takes
the key in `api-key`, and lets deployments have any name.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from trunkline_simulators import listener, openai_beta, openai_replies
from trunkline_simulators.openai_commands import (
    Close,
    Fact,
    FrameReceived,
    KeepAudio,
    Listen,
    Note,
    Order,
    Send,
    Stall,
    TimePassed,
    TurnHeard,
)
from trunkline_simulators.openai_configuration import SHUT_DOWN_MODELS, is_known_model
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import ArmedFaults, Fault, Losses
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_session import Session
from trunkline_simulators.openai_trace import Trace

PATH = "/v1/realtime"
MODELS_PATH = "/v1/models"
MESSAGE_BYTES_MAX = 24 * 1024 * 1024  # 15 MiB of audio in base64, and the rest of the event
INBOX_FACTS_MAX = 256  # five seconds of 20 ms frames; then the socket is read no further
CLOSE_TIMEOUT_S = 2  # how long a client may take to answer a close frame

Dialect = Literal["ga", "beta"]
DIALECTS: tuple[Dialect, ...] = ("ga", "beta")

# Enough of the list of models for its readers: one that stays, one that is about to go, and one that cannot talk.
MODELS: tuple[dict[str, str | int | None], ...] = tuple(
    {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "system", "shutdown_date": end}
    for name, end in (
        ("gpt-realtime-2.1", None),
        ("gpt-realtime-2.1-mini", None),
        ("gpt-realtime", "2027-01-20"),
        ("gpt-5", None),
    )
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a simulator is started; `port` 0 takes a free one, and any non-empty key fits `api_key` None."""

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: tuple[Fault, ...] = ()
    seed: str = "0"
    record: Path | None = None
    connect_delay_s: float = 0.0  # that a handshake takes, refused or not
    losses: Losses | None = None
    dialect: Dialect = "ga"
    azure: bool = False


@contextlib.asynccontextmanager
async def run_server(options: ServerOptions) -> AsyncIterator[RealtimeServer]:
    """Serve while the block runs; then close every session with 1001."""
    await asyncio.to_thread(_warm_up)
    simulator = RealtimeServer(options)
    async with serve(
        simulator.serve_connection,
        options.host,
        options.port,
        process_request=simulator.check_request,
        compression=None,
        max_size=MESSAGE_BYTES_MAX,
        ping_interval=None,  # OpenAI answers pings; that it sends any has not been seen
        close_timeout=CLOSE_TIMEOUT_S,
    ) as server:
        simulator.listens_on(server)
        try:
            yield simulator
        finally:
            simulator.close()


class RealtimeServer:
    """Takes connections and runs a session on each."""

    def __init__(self, options: ServerOptions) -> None:
        self.url = ""  # ws://HOST:PORT/v1/realtime, once it listens
        self._options = options
        self._faults = ArmedFaults(options.faults, options.losses)
        self._numbers = itertools.count(1)
        # One thread: recognising is short, and must not take the core that the sessions run on.
        self._listeners = ThreadPoolExecutor(1, "listener")
        seconds, self._refusal = self._faults.refusals("start")
        self._refuse_until = time.monotonic() + seconds

    def listens_on(self, server: Server) -> None:
        """Take note of the address."""
        host, port = next(iter(server.sockets)).getsockname()[:2]
        self.url = f"ws://{host}:{port}{PATH}"

    def close(self) -> None:
        """Let the listener's thread end."""
        self._listeners.shutdown(wait=False)

    async def check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse what never becomes a websocket: another path, or anything while connects are refused."""
        await asyncio.sleep(self._options.connect_delay_s)
        if time.monotonic() < self._refuse_until:
            return connection.respond(self._refusal, "refused by a fault\n")
        path = urlsplit(request.path).path
        if path == MODELS_PATH and self._options.dialect == "ga":
            return self._list_models(connection, request)
        if path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"there is only {PATH}\n")
        return self._refuse_as_azure(connection, request) if self._options.azure else None

    def _refuse_as_azure(self, connection: ServerConnection, request: Request) -> Response | None:
        model = parse_qs(urlsplit(request.path).query).get("model", [""])[0]
        if not self._is_authorized(request.headers):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "Access denied\n")
        if model.startswith(SHUT_DOWN_MODELS):
            return connection.respond(HTTPStatus.GONE, "The model of this deployment was retired\n")
        return None

    def _list_models(self, connection: ServerConnection, request: Request) -> Response:
        if not self._is_authorized(request.headers):
            return connection.respond(
                HTTPStatus.UNAUTHORIZED, _encode({"error": {"code": "invalid_api_key"}})
            )
        return connection.respond(HTTPStatus.OK, _encode({"object": "list", "data": MODELS}))

    async def serve_connection(self, connection: ServerConnection) -> None:
        """Serve one client from its upgrade to the end of its session."""
        assert connection.request is not None, "the handshake is over"
        headers = connection.request.headers
        query = parse_qs(urlsplit(connection.request.path).query)
        model = query.get("model", [""])[0]
        if not self._is_authorized(headers):
            await connection.close(3000, "invalid_request_error.invalid_api_key")
        elif (
            self._options.dialect == "beta" and headers.get("OpenAI-Beta") != openai_beta.HEADER
        ):  # own words
            message = f"You must provide the header `OpenAI-Beta: {openai_beta.HEADER}`."
            await self._turn_away(connection, "missing_beta_header", message)
        elif self._options.dialect == "ga" and "OpenAI-Beta" in headers:
            message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
            await self._turn_away(connection, "beta_api_shape_disabled", message)
        elif not model:  # own words
            await self._turn_away(connection, "missing_model", "You must provide a model parameter.")
        elif self._has_openais_models and not is_known_model(model):
            message = f"The model `{model}` does not exist or you do not have access to it."
            await self._turn_away(connection, "model_not_found", message)
        else:
            await self._run_session(connection, model)

    @property
    def _has_openais_models(self) -> bool:
        return self._options.dialect == "ga" and not self._options.azure

    def _is_authorized(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        if self._options.azure:
            key = headers.get("api-key", "")
        elif scheme != "Bearer":
            return False
        return bool(key) and self._options.api_key in {None, key}

    async def _turn_away(self, connection: ServerConnection, code: str, message: str) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": None,
            "event_id": None,
        }
        event = {"type": "error", "event_id": Dice(code).id("event"), "error": error}
        with contextlib.suppress(ConnectionClosed):
            await connection.send(_encode(event))
            await connection.close(4000, f"invalid_request_error.{code}")

    async def _run_session(self, connection: ServerConnection, model: str) -> None:
        seed = f"{self._options.seed}:{next(self._numbers)}"
        session = Session(model, self._options.behaviour, self._faults, seed, int(time.time()))
        if self._options.dialect == "beta":
            session.parse = openai_beta.parse_client_event
        trace = Trace(session.id, self._options.record)
        async with trace.writing():
            await _Connection(connection, session, trace, self).run()
            trace.note("disconnected", {"code": connection.close_code})

    def on_the_wire(self, event: dict[str, Any]) -> str | None:
        """Return an event in the server's dialect, or None when that dialect does not have it."""
        shown = openai_beta.server_event(event) if self._options.dialect == "beta" else event
        return None if shown is None else _encode(shown)

    def refuse_after_fault(self) -> None:
        """Begin to refuse connects, if a fault says so."""
        seconds, self._refusal = self._faults.refusals("close")
        self._refuse_until = max(self._refuse_until, time.monotonic() + seconds)

    async def listen(self, order: Listen) -> TurnHeard:
        """Recognise audio beside the event loop."""
        loop = asyncio.get_running_loop()
        heard = await loop.run_in_executor(
            self._listeners, lambda: listener.listen(order.sound, order.rate_hz, finished=order.finished)
        )
        return TurnHeard(order.item_id, heard, order.finished)


class _Connection:
    """The shell of one session: due time first, then what came in; orders are carried out in order."""

    def __init__(
        self, connection: ServerConnection, session: Session, trace: Trace, server: RealtimeServer
    ) -> None:
        self._connection = connection
        self._session = session
        self._trace = trace
        self._server = server
        self._inbox: asyncio.Queue[Fact | None] = asyncio.Queue(INBOX_FACTS_MAX)  # None: the client is gone
        self._listening: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        reading = asyncio.create_task(self._read())
        try:
            await self._perform(self._session.open(time.monotonic()))
            while not self._session.ended:
                fact = await self._next_fact()
                if fact is None:
                    return
                await self._perform(self._session.handle(fact, time.monotonic()))
        except ConnectionClosed:
            pass  # while something was sent to it
        finally:
            for task in (reading, *self._listening):
                task.cancel()

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                await self._inbox.put(FrameReceived(frame))
        except ConnectionClosed:
            pass
        await self._inbox.put(None)

    async def _next_fact(self) -> Fact | None:
        wake_at = self._session.wake_at()
        if wake_at is None:
            return await self._inbox.get()
        left_s = wake_at - time.monotonic()
        if left_s <= 0:
            return TimePassed()
        try:
            async with asyncio.timeout(left_s):
                return await self._inbox.get()
        except TimeoutError:
            return TimePassed()

    async def _perform(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Send(event):
                    message = self._server.on_the_wire(event)
                    if message is not None:
                        await self._connection.send(message)
                case Note(event=event, fields=fields):
                    self._trace.note(event, fields)
                case KeepAudio(sound, rate_hz):
                    self._trace.keep_audio(sound, rate_hz)
                case Listen():
                    task = asyncio.create_task(self._listen(order))
                    self._listening.add(task)
                    task.add_done_callback(self._listening.discard)
                case Close():
                    await self._close(order)
                case Stall():
                    self._connection.transport.pause_reading()
                    await self._connection.wait_closed()

    async def _listen(self, order: Listen) -> None:
        await self._inbox.put(await self._server.listen(order))

    async def _close(self, order: Close) -> None:
        if order.by_fault:
            self._server.refuse_after_fault()
        if order.code == 1006:
            self._connection.transport.abort()
        else:
            await self._connection.close(order.code, order.reason)


def _encode(event: Mapping[str, object]) -> str:
    return msgspec.json.encode(event).decode()


def _warm_up() -> None:
    listener.warm_up()
    openai_replies.warm_up()
