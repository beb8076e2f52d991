"""Faults that the simulated Twilio can be told to have."""

import asyncio
from typing import Any

import pytest
from media_server import MediaServer, Session
from simulated_calls import (
    CONNECT,
    CONNECT_AGAIN,
    STREAM_URL,
    WAITS,
    WEBHOOK,
    call,
    codes,
    greets,
    listens,
    settings_for,
    signature,
)

from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_faults import Faults


@pytest.mark.parametrize(
    ("variant", "signed"),
    [("trailing-slash", signature(STREAM_URL + "/", {})), ("wrong", signature(STREAM_URL, {})[::-1])],
)
async def test_the_websockets_signature_may_be_another(variant: Any, signed: str) -> None:
    _, server = await call(CONNECT, faults=Faults(websocket_signature=variant))

    assert server.upgrades[0].headers["x-twilio-signature"] == signed
    assert server.asked[0].headers["x-twilio-signature"] == signature(WEBHOOK, server.asked[0].fields)


async def test_the_webhooks_signature_may_be_wrong() -> None:
    _, server = await call(CONNECT, faults=Faults(webhook_signature="wrong"))

    assert server.asked[0].headers["x-twilio-signature"] != signature(WEBHOOK, server.asked[0].fields)


async def test_a_tampered_token_differs_in_one_character() -> None:
    _, server = await call(CONNECT, faults=Faults(tampered_token=True))

    token = server.sessions[0].received[1]["start"]["customParameters"]["token"]
    assert len(token) == len("one-time-token")
    assert sum(a != b for a, b in zip(token, "one-time-token", strict=True)) == 1


async def test_a_stream_may_never_start() -> None:
    async def waits_for_nothing(session: Session) -> None:
        await session.receive()
        session.close(1008)
        await session.receive_all()

    result, server = await call(CONNECT, waits_for_nothing, faults=Faults(no_start=True))

    assert [message["event"] for message in server.sessions[0].received] == ["connected"]
    assert codes(result) == [31921]
    assert result.attaches == 0


async def test_a_duplicate_socket_brings_the_same_call_and_token() -> None:
    result, server = await call(CONNECT, greets, listens, faults=Faults(duplicate_at_ms=100))

    first, second = [session.received[1] for session in server.sessions]
    assert first["start"]["callSid"] == second["start"]["callSid"]
    assert first["start"]["customParameters"] == second["start"]["customParameters"]
    assert first["streamSid"] != second["streamSid"]
    assert [session.received[-1]["event"] for session in server.sessions] == ["stop", "stop"]
    assert result.attaches == 1
    assert result.clean


async def test_a_reset_connection_is_broken_and_attached_again() -> None:
    patient = Conversation("waits for the line", (Step(hang_up=True, after_quiet_ms=1_000),))
    result, server = await call(
        CONNECT_AGAIN, greets, greets, conversation=patient, faults=Faults(reset_at_ms=200)
    )

    assert codes(result) == [31903]
    assert server.sessions[0].was_reset
    assert result.attaches == 2


async def test_twilio_may_notice_a_broken_stream_late() -> None:
    patient = Conversation("waits for the line", (Step(hang_up=True, after_quiet_ms=1_000),))
    result, _ = await call(
        CONNECT_AGAIN,
        *(greets, greets),
        conversation=patient,
        faults=Faults(reset_at_ms=200),
        notices_lost_stream_after_s=0.5,
    )

    (gap_ms,) = result.reattach_gaps_ms
    assert gap_ms >= 500
    assert codes(result) == [31903]


async def test_a_caller_who_hangs_up_on_a_dead_line_ends_the_call() -> None:
    faults = Faults(reset_at_ms=200, hang_up_at_ms=400)
    result, _ = await call(CONNECT_AGAIN, greets, faults=faults, notices_lost_stream_after_s=None)

    assert (result.end_reason, result.attaches) == ("caller-hung-up", 1)


async def test_the_caller_may_hang_up_early() -> None:
    result, _ = await call(CONNECT, listens, conversation=WAITS, faults=Faults(hang_up_at_ms=100))

    assert result.end_reason == "caller-hung-up"
    assert result.duration_ms >= 100
    assert not result.warnings


async def test_a_call_without_end_is_cut_off() -> None:
    result, _ = await call(CONNECT, listens, conversation=WAITS, time_limit_s=0.2)

    assert result.end_reason == "time-limit"


async def test_a_server_that_does_not_read_loses_the_callers_audio() -> None:
    dropped = asyncio.Event()

    async def reads_late(session: Session) -> None:
        await session.receive_until("start")
        for _ in range(1_000):
            session.send("mark", mark={"name": "m" * 20_000})  # whose echoes fill every buffer on the way
        await dropped.wait()
        await session.receive_all()

    server = MediaServer(CONNECT, [reads_late])
    async with server.running():
        result = await place_call(
            settings_for(server, WAITS), lambda event: dropped.set() if event["event"] == "warning" else None
        )

    assert codes(result) == [31930]
    assert result.dropped_messages > 0
    numbers = [int(message["sequenceNumber"]) for message in server.sessions[0].received[1:]]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_keys_reach_the_server() -> None:
    presses = Conversation("presses a key", (Step(press="7", after_quiet_ms=100),), patience_ms=300)

    _, server = await call(CONNECT, conversation=presses)

    (dtmf,) = [message for message in server.sessions[0].received if message["event"] == "dtmf"]
    assert dtmf["dtmf"] == {"track": "inbound_track", "digit": "7"}
