"""Bad input on the media websocket: refused, counted, logged in one line; and another call does not notice."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_driver import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    CALLED,
    CALLER,
    ULAW,
    Gateway,
    Socket,
    call,
    new_call_id,
    sign,
)
from infra import MS
from played_worker import Worker
from websockets.exceptions import ConnectionClosed, InvalidStatus

from trunkline_common.control import StopReason
from trunkline_common.frames import FrameKind
from trunkline_gateway.stream_token import LIFETIME_MS, Facts, TokenIssuer, derive_key

pytest_plugins = ["gateway_fixtures"]


@pytest.fixture(autouse=True)
async def bystander(gateway: Gateway, worker: Worker) -> AsyncIterator[None]:
    """Another call: it talks before, and is heard in both directions afterwards."""
    async with call(gateway, worker) as (call_id, socket, _):
        yield
        await socket.media(20, b"still here")
        while (await worker.frame(FrameKind.AUDIO)).payload != b"still here":
            continue
        await worker.send(call_id, FrameKind.AUDIO, ULAW)
        assert base64.b64decode((await socket.next())["media"]["payload"]) == ULAW


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "missing-signature"),
        ("wrong", "bad-signature"),
        (sign("https://calls.example.com/media-stream", {}), "bad-signature"),
        (sign("wss://calls.example.com/media-stream", {}, "another token"), "bad-signature"),
    ],
)
async def test_a_socket_that_twilio_did_not_sign(
    gateway: Gateway, signature: str | None, reason: str
) -> None:
    before = await gateway.rejected(reason)

    with pytest.raises(InvalidStatus) as refusal:
        async with gateway.socket(signature=signature):
            pass

    assert refusal.value.response.status_code == 403
    assert await gateway.rejected(reason) == before + 1


async def test_a_socket_on_another_path(gateway: Gateway) -> None:
    before = await gateway.rejected("wrong-path")

    for path in ("/", "/media", "/media-stream/x", "/voice", "/metrics"):
        with pytest.raises(InvalidStatus):
            async with gateway.socket(path=path):
                pass

    assert await gateway.rejected("wrong-path") == before + 5


async def start_with(gateway: Gateway, parameters: dict[str, str], **changes: Any) -> int:
    """Open a socket, send this `start`, and return the code with which the gateway closes."""
    async with gateway.socket() as socket:
        await socket.start(changes.pop("call_id", new_call_id()), parameters, **changes)
        return await socket.closed()


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "token-missing"), ("nonsense", "token-foreign"), ("1.2.99999999999999.x", "token-foreign")],
)
async def test_a_start_without_our_token(gateway: Gateway, token: str, reason: str) -> None:
    before = await gateway.rejected(reason)

    assert await start_with(gateway, {"token": token}) == 1008

    assert await gateway.rejected(reason) == before + 1


async def test_a_token_that_has_expired(gateway: Gateway) -> None:
    before = await gateway.rejected("token-expired")
    call_id, issued_ms = new_call_id(), time.time_ns() // 1_000_000 - LIFETIME_MS
    issuer = TokenIssuer((derive_key(AUTH_TOKEN.encode()),))
    token = issuer.issue(Facts(call_id, ACCOUNT_SID, CALLER, CALLED, 1, issued_ms), issued_ms)
    parameters = {"callerNumber": CALLER, "calledNumber": CALLED, "token": token}

    assert await start_with(gateway, parameters, call_id=call_id) == 1008

    assert await gateway.rejected("token-expired") == before + 1


async def test_a_token_of_another_call(gateway: Gateway) -> None:
    twiml = await gateway.voice(new_call_id())
    before = await gateway.rejected("token-foreign")

    assert await start_with(gateway, twiml.parameters, call_id=new_call_id()) == 1008

    assert await gateway.rejected("token-foreign") == before + 1


async def test_a_token_with_another_callers_number(gateway: Gateway) -> None:
    call_id = new_call_id()
    twiml = await gateway.voice(call_id)
    parameters = twiml.parameters | {"callerNumber": "+12025550100"}

    assert await start_with(gateway, parameters, call_id=call_id) == 1008


async def test_a_token_that_was_used(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("token-used")
    async with call(gateway, worker) as (call_id, socket, twiml):
        assert await start_with(gateway, twiml.parameters, call_id=call_id) == 1008

        await socket.media(20, b"goes on")
        assert (await worker.frame()).payload == b"goes on"
    assert await gateway.rejected("token-used") == before + 1


async def test_an_attach_number_that_was_used(gateway: Gateway, worker: Worker) -> None:
    call_id = new_call_id()
    first, second = await gateway.voice(call_id), await gateway.voice(call_id)
    async with gateway.socket() as socket:
        await socket.start(call_id, first.parameters)
        await socket.media(0)
        await worker.frame()

        assert await start_with(gateway, second.parameters, call_id=call_id) == 1008

        await socket.media(20, b"goes on")
        assert (await worker.frame()).payload == b"goes on"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accountSid": "AC" + "1" * 32}, "wrong-account"),
        ({"callSid": "CA.>"}, "bad-start"),
        ({"streamSid": "MZ"}, "bad-start"),
        (
            {"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000, "channels": 1}},
            "wrong-media-format",
        ),
    ],
)
async def test_a_start_that_cannot_be_served(gateway: Gateway, changes: dict[str, Any], reason: str) -> None:
    before = await gateway.rejected(reason)

    assert await start_with(gateway, {}, **changes) == 1008

    assert await gateway.rejected(reason) == before + 1


async def test_no_start_at_all(gateway: Gateway) -> None:
    before = await gateway.rejected("no-start")
    async with gateway.socket() as socket:
        await socket.connected()

        assert await socket.closed() == 1008
    assert await gateway.rejected("no-start") == before + 1


Bad = Callable[[Socket], Awaitable[object]]

BAD_MESSAGES: dict[str, Bad] = {
    "binary-frame": lambda socket: socket.websocket.send(b"\x00\x01"),
    "not-json": lambda socket: socket.websocket.send("hello"),
    "malformed-message": lambda socket: socket.send("media", media={}),
    "bad-base64": lambda socket: socket.send("media", media={"timestamp": "1", "payload": "no base64!"}),
    "wrong-stream-sid": lambda socket: socket.websocket.send(
        json.dumps({"event": "stop", "streamSid": "MZ" + "0" * 32})
    ),
    "second-start": lambda socket: socket.start(new_call_id(), {}),
}


@pytest.mark.parametrize("reason", BAD_MESSAGES)
async def test_bad_messages_are_forgiven_five_times(gateway: Gateway, worker: Worker, reason: str) -> None:
    before = await gateway.rejected(reason)
    async with call(gateway, worker) as (call_id, socket, _):
        for number in range(5):
            await BAD_MESSAGES[reason](socket)
            await socket.media(20 + number * 20, bytes([number]))
            assert (await worker.frame()).payload == bytes([number])
        await BAD_MESSAGES[reason](socket)

        assert await socket.closed() == 1008
        stop = await worker.frame()

    assert (stop.kind, stop.payload) == (FrameKind.STOP, StopReason.BAD_STREAM.encode())
    assert await gateway.rejected(reason) == before + 6
    log = await asyncio.to_thread(Path(gateway.process.log_path).read_text)
    assert (
        len(re.findall(f'.*"reason": "{reason}".*{call_id}.*|.*{call_id}.*"reason": "{reason}".*', log)) == 1
    )


async def test_media_before_start(gateway: Gateway) -> None:
    before = await gateway.rejected("media-before-start")
    async with gateway.socket() as socket:
        await socket.connected()
        for _ in range(6):
            await socket.media(0)

        assert await socket.closed() == 1008
    assert await gateway.rejected("media-before-start") == before + 6


async def test_events_that_are_new_to_us_do_not_end_a_call(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("unknown-event")
    async with call(gateway, worker) as (_, socket, _):
        for _ in range(20):
            await socket.send("weather", weather="fine")
        await socket.media(20, b"goes on")

        assert (await worker.frame()).payload == b"goes on"
    assert await gateway.rejected("unknown-event") == before + 20


async def test_a_message_above_the_limit(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("oversize-message")
    async with call(gateway, worker) as (_, socket, _):
        await socket.media(20, bytes(60_000))

        assert await socket.closed() == 1009
        stop = await worker.frame()

    assert stop.payload == StopReason.BAD_STREAM.encode()
    assert await gateway.rejected("oversize-message") == before + 1


async def test_a_flood(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("flood")
    async with call(gateway, worker) as (_, socket, _):
        flooding = asyncio.create_task(flood(socket))

        assert await socket.closed() == 1008
        flooding.cancel()
    assert await gateway.rejected("flood") == before + 1


async def flood(socket: Socket) -> None:
    with contextlib.suppress(ConnectionClosed):
        for number in itertools.count():
            await socket.media(number * 20)
            await asyncio.sleep(2 * MS)


async def test_the_log_holds_no_numbers_and_no_secrets(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (_, socket, twiml):
        await socket.send("dtmf", dtmf={"digit": "7"})
        await worker.frame()

    log = await asyncio.to_thread(Path(gateway.process.log_path).read_text)
    token = twiml.parameters["token"]
    for secret in (
        CALLER,
        CALLER[1:],
        CALLED[1:],
        token,
        token.rpartition(".")[2],
        base64.b64encode(ULAW).decode(),
    ):
        assert secret not in log
    assert '"level": "error"' not in log
