"""Twilio's REST API as a server: places the calls that it is asked for, changes and ends them and those that come in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, Literal
from urllib.parse import parse_qsl

import h11

from trunkline_simulators import twilio_rest_calls as rules
from trunkline_simulators import twilio_rest_numbers
from trunkline_simulators.twilio_call import LiveCall, place_call
from trunkline_simulators.twilio_call_settings import CallSettings, Outbound
from trunkline_simulators.twilio_rest_calls import Account, Create, RestError
from trunkline_simulators.twilio_rest_numbers import AccountState, PhoneNumber
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_trace import Event

BODY_BYTES_MAX = 64 * 1024
CALLS_MAX = 1_000  # at once; more are refused as too many requests

Fault = Literal["none", "unavailable", "throttled", "drop"]
"""A server that answers 503, 429, or takes a request and closes the connection."""


@dataclass(frozen=True, slots=True)
class RestSettings:
    """How the server behaves, and how its calls go: `call` with the numbers and addresses of each request."""

    account: Account
    call: CallSettings
    numbers: tuple[str, ...] = ()  # the account's; none: any may be shown
    phone_numbers: tuple[PhoneNumber, ...] = ()  # what is told of them
    state: AccountState = field(default_factory=AccountState)
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(slots=True)
class RestServer:
    """Runs while `running`; `results` holds the calls that are over."""

    settings: RestSettings
    on_event: Callable[[Event], None] | None = None
    fault: Fault = "none"
    port: int = 0
    created: list[Create] = field(default_factory=list)
    results: list[CallResult] = field(default_factory=list)
    _live: dict[str, LiveCall] = field(default_factory=dict)
    _queued: dict[str, asyncio.Event] = field(default_factory=dict)  # set once the call is live, or over
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RestServer]:
        """Serve on a loopback port; at the end calls that go on are cut off."""
        server = await asyncio.start_server(self._serve, self.settings.host, self.settings.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def until_over(self) -> None:
        """Wait until every call that was placed is over."""
        await asyncio.gather(*self._calls)

    async def place_inbound(self, settings: CallSettings) -> CallResult:
        """Let somebody call the system under test; the call can be changed through this server meanwhile."""
        return await self._live_through(settings)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=BODY_BYTES_MAX)
        try:
            while (request := await _receive(connection, reader)) is not None:
                if self.fault == "drop":
                    return
                status, body = self._answer(*request)
                if status == 201:
                    # Who knows the CallSid may change the call.
                    await self._queued.pop(body["sid"]).wait()
                payload = json.dumps(body).encode()
                headers = [
                    ("Date", formatdate(usegmt=True)),
                    ("Content-Type", "application/json"),
                    ("Content-Length", str(len(payload))),
                ]
                for event in (
                    h11.Response(status_code=status, headers=headers),
                    h11.Data(data=payload),
                    h11.EndOfMessage(),
                ):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, ConnectionError):
            pass  # whoever sends nonsense, or goes away, gets no answer
        finally:
            writer.close()

    def _answer(self, request: h11.Request, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        path, _, query = request.target.decode().partition("?")
        try:
            if self.fault == "unavailable":
                raise RestError(503, 20503, "Service unavailable")
            if self.fault == "throttled" or len(self._live) >= CALLS_MAX:
                raise RestError(429, 20429, "Too Many Requests")
            user = self.settings.account.check(headers.get("authorization", ""))
            if read := self._read(user, request.method.decode(), path, query):
                return 200, read
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            call_sid = rules.route(self.settings.account.sid, request.method.decode(), path)
            if call_sid is None:
                return 201, self._create(rules.read_create(form, self.settings.numbers))
            return 200, self._change(call_sid, path, rules.read_change(form))
        except RestError as error:
            return error.status, error.body()

    def _read(self, user: str, method: str, path: str, query: str) -> dict[str, Any] | None:
        """Return what is told of the account or its numbers; None for other requests. Raises `RestError`."""
        account_sid = self.settings.account.sid
        what = twilio_rest_numbers.reads(account_sid, path)
        if what is None:
            return None
        if method != "GET":
            raise RestError(405, 20004, "Method not allowed: accounts and numbers are only read here")
        if what == "account":
            return twilio_rest_numbers.account_body(account_sid, self.settings.state, user)
        asked = dict(parse_qsl(query))
        return twilio_rest_numbers.numbers_body(account_sid, self.settings.phone_numbers, path, asked)

    def _create(self, create: Create) -> dict[str, Any]:
        self.created.append(create)
        call_sid = f"CA{secrets.token_hex(16)}"
        settings = replace(
            self.settings.call,
            webhook=create.url,
            caller=create.from_,
            called=create.to,
            status_callback=create.status_callback,
            outbound=Outbound(
                call_sid=call_sid, ring_s=create.ring_s, detection_callback=create.detection_callback
            ),
        )
        self._queued[call_sid] = asyncio.Event()
        task = asyncio.create_task(self._conduct(settings, self._queued[call_sid]))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return self._resource(call_sid, "queued", create, "outbound-api")

    async def _conduct(self, settings: CallSettings, has_begun: asyncio.Event) -> None:
        try:
            await self._live_through(settings, has_begun)
        finally:
            has_begun.set()

    async def _live_through(
        self, settings: CallSettings, has_begun: asyncio.Event | None = None
    ) -> CallResult:
        live: list[LiveCall] = []

        def on_live(call: LiveCall) -> None:
            live.append(call)
            self._live[call.call_sid] = call
            if has_begun is not None:
                has_begun.set()

        try:
            result = await place_call(settings, self.on_event, on_live)
        finally:
            for call in live:
                del self._live[call.call_sid]
        self.results.append(result)
        return result

    def _change(self, call_sid: str, path: str, change: rules.Change) -> dict[str, Any]:
        call = self._live.get(call_sid)
        if call is None:
            is_over = any(result.call_sid == call_sid for result in self.results)
            raise rules.not_in_progress() if is_over else rules.not_found(path)
        if change.end:
            call.end()
        elif change.update is not None:
            if call.status != "in-progress":
                raise rules.not_in_progress()
            call.update(change.update)
        return self._resource(call_sid, call.status, None, call.direction)

    def _resource(self, call_sid: str, status: str, create: Create | None, direction: str) -> dict[str, Any]:
        account_sid = self.settings.account.sid
        return {
            "sid": call_sid,
            "account_sid": account_sid,
            "api_version": "2010-04-01",
            "direction": direction,
            "from": create.from_ if create else None,
            "to": create.to if create else None,
            "status": status,
            "uri": f"/2010-04-01/Accounts/{account_sid}/Calls/{call_sid}.json",
        }


async def _receive(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> tuple[h11.Request, bytes] | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_BYTES_MAX:
                raise h11.RemoteProtocolError("the body is too large")
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body
        else:
            return None
