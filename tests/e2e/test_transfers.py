"""Whole calls that leave their stream: put through to somebody, keys for a menu; and calls that we place ourselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from e2e.conftest import PlacedCall, StartSystem, call_settings, read_back
from gateway_driver import http_client
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trunkline_local import system
from trunkline_local.processes import free_port
from trunkline_local.system import System
from trunkline_simulators import recordings
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account

CALLER: Final = "+12025550123"
LINE: Final = "+12025550147"
FRONT_DESK: Final = "+12025550160"
LIMIT_S: Final = 60.0
API_KEY: Final = "an-api-key-of-the-tests"

PROFILE: Final = f"""
name: receptionist
numbers: any
instructions: Be brief.
send_digits: true
transfer:
  targets:
    - name: front desk
      number: "{FRONT_DESK}"
      timeout_s: 5
"""

WHAT_THE_MODEL_CALLS: Final = (
    *("--call", 'caller-digits-1=agent-moment>transfer_call:{"target":"front desk"}'),
    *("--call", 'caller-digits-2=send_digits:{"digits":"83w5#"}'),
)

COMES_BACK: Final = ("agent-greeting", "agent-moment", "agent-digits-1", "agent-digits-3")
"""What the agent says to a caller whom nobody else answered."""

KEYS: Final = Conversation(
    "has the agent press keys, and presses one",
    (
        Step(say="caller-digits-2"),
        Step(say="caller-digits-3", after_quiet_ms=2_000),
        Step(press="7"),
        Step(hang_up=True),
    ),
)

SAYS_ONE_THING: Final = Conversation("is called", (Step(say="caller-digits-3"), Step(hang_up=True)))


StartReceptionist = Callable[..., AbstractAsyncContextManager[System]]


@pytest.fixture
def start_receptionist(start_system: StartSystem, tmp_path: Path) -> StartReceptionist:
    """Start a system whose agent can transfer and press keys; the arguments are further options of `sim-openai`."""
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "receptionist.yaml").write_text(PROFILE)

    def start(*options: str) -> AbstractAsyncContextManager[System]:
        return start_system(
            settings={"worker": {"TRUNKLINE_AGENTS": str(agents)}},
            simulator_options=(*WHAT_THE_MODEL_CALLS, *options),
        )

    return start


def asks_for_somebody(wait_ms: int) -> Conversation:
    """Return a caller who asks to be put through, waits so long for anybody, and asks for something else."""
    return Conversation(
        "asks for somebody",
        (
            Step(say="caller-digits-1"),
            Step(say="caller-digits-3", after_quiet_ms=wait_ms),
            Step(hang_up=True),
        ),
    )


async def test_a_caller_is_put_through_or_comes_back(
    start_receptionist: StartReceptionist,
) -> None:
    async with start_receptionist() as running:
        answered, busy = await asyncio.gather(
            *(
                call(running, asks_for_somebody(wait_ms=5_000), Callee(outcome))
                for outcome in ("answered", "busy")
            )
        )
        transfers = [await statuses(running, each) for each in (answered, busy)]

    assert answered.result.dialled == busy.result.dialled == [FRONT_DESK]
    assert transfers[0] == ["dialing", "answered"]
    assert (answered.rows.call.outcome, answered.rows.call.reason) == ("success", "transferred")
    assert (answered.result.attaches, answered.result.end_reason) == (1, "hangup")
    announcement = answered.rows.turns[-1]
    assert announcement.heard == announcement.said == text_of("agent-moment"), (
        "the announcement was not cut off"
    )

    assert transfers[1] == ["dialing", "busy"]
    assert_went_on(busy, ["caller-digits-1", "caller-digits-3"])
    assert told(busy) == [
        "transfer_call: nobody could be reached at front desk (busy). The caller is back on the line with you."
    ]
    assert said_by("agent", busy) == [text_of(each) for each in COMES_BACK]
    assert in_logs(running, FRONT_DESK[1:], CALLER[1:]) == []


async def test_a_model_that_is_lost_while_somebody_is_called_is_there_again(
    start_receptionist: StartReceptionist,
) -> None:
    # The announcement takes one second, the ringing five.
    async with start_receptionist("--fault", "close=1011@response.done:2+2500") as running:
        alone = await call(running, asks_for_somebody(wait_ms=9_000), Callee("no-answer"))
        happened = await rows(running, "n, kind from events", alone.result.call_sid)
        transfers = await statuses(running, alone)

    assert transfers == ["dialing", "no-answer"]
    beyond_the_talk = {"transfer", "model_lost", "model_connected"}
    assert [kind for _, kind in sorted(happened) if kind in beyond_the_talk] == [
        *("model_connected", "transfer", "model_lost", "model_connected", "transfer")
    ]
    assert alone.result.script_finished
    assert (alone.rows.call.outcome, alone.rows.call.reason) == ("success", "caller-hung-up")
    assert said_by("agent", alone) == [text_of(each) for each in COMES_BACK]


async def test_keys_go_both_ways_and_into_no_log(
    start_receptionist: StartReceptionist,
) -> None:
    async with start_receptionist() as running:
        pressed = await call(running, KEYS, Callee())
        keyed_in = await rows(running, "data from events", pressed.result.call_sid)

    assert pressed.result.digits == ["83w5#"]
    assert pressed.result.attaches == 2
    assert_went_on(pressed, ["caller-digits-2", "caller-digits-3"])
    assert told(pressed) == [
        "The keys were pressed. The line is open again.",
        "The caller pressed 7 on the keypad.",
    ]
    assert sum(data["kind"] == "dtmf" for (data,) in keyed_in) == 1
    assert "83w5" not in str(keyed_in)
    assert "pressed 7" not in str(keyed_in)
    assert in_logs(running, "83w5", "pressed 7") == []


async def test_we_call_and_talk_to_people_only(start_system: StartSystem) -> None:
    api_port = free_port()
    placing = {
        "API_KEYS": API_KEY,
        "OUTBOUND_ALLOWED": "+1202",
        "TWILIO_ACCOUNT_SID": system.ACCOUNT_SID,
        "TWILIO_API_URL": f"http://127.0.0.1:{api_port}",
    }
    async with (
        start_system(settings={"gateway": placing}) as running,
        twilio(running, api_port, Callee()) as people,
    ):
        human_sid = await place(running, "to-somebody")
        callee = Callee(answered_by="machine_start", detection_s=1.0)
        people.settings = replace(people.settings, call=replace(people.settings.call, callee=callee))
        machine_sid = await place(running, "to-a-machine")
        async with asyncio.timeout(LIMIT_S):
            await people.until_over()
        results = {result.call_sid: result for result in people.results}
        human = await read_back(running, results[human_sid])
        machine = await read_back(running, results[machine_sid])
        numbers = "number, called from calls join callers using (call_started_at, call_id)"
        parties = [await rows(running, numbers, sid) for sid in (human_sid, machine_sid)]

    assert human.result.script_finished
    assert (human.rows.call.outcome, human.rows.call.reason) == ("success", "caller-hung-up")
    assert [turn.said for turn in human.rows.turns] == [
        text_of(said) for said in ("agent-greeting", "caller-digits-3", "agent-digits-3")
    ]
    assert machine.result.end_reason == "ended-by-api"
    assert machine.rows.call.outcome != "server"
    assert parties == [[(CALLER, LINE)]] * 2, (
        "whom we call has the caller's place, and our line selects the agent"
    )
    assert in_logs(running, CALLER[1:], LINE[1:], API_KEY) == []


async def call(running: System, conversation: Conversation, callee: Callee) -> PlacedCall:
    """Place one call and wait until all of it is stored."""
    async with asyncio.timeout(LIMIT_S):
        return await read_back(running, await place_call(call_settings(running, conversation, callee=callee)))


@asynccontextmanager
async def twilio(running: System, port: int, callee: Callee) -> AsyncIterator[RestServer]:
    """Play Twilio's REST API for the system's gateway."""
    account = Account(running.line.account_sid, running.line.auth_token, {})
    settings = RestSettings(
        account, call_settings(running, SAYS_ONE_THING, callee=callee), (LINE,), port=port
    )
    async with RestServer(settings).running() as server:
        yield server


async def place(running: System, key: str) -> str:
    """Have the gateway call somebody, and return the call's id."""
    async with http_client() as client:
        response = await client.post(
            f"http://127.0.0.1:{running.line.gateway_port}/calls",
            json={"to": CALLER, "from": LINE, "machine_detection": "detect"},
            headers={"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": key},
        )
    assert response.status_code == 201, response.text
    return str(response.json()["call_id"])


async def rows(running: System, columns_and_table: str, call_id: str) -> list[tuple[Any, ...]]:
    """Return some columns of a call's rows in their order."""
    engine = create_async_engine(running.database_url)
    try:
        async with engine.connect() as connection:
            found = await connection.execute(
                text(f"select {columns_and_table} where call_id = :call_id"),
                {"call_id": call_id},
            )
            return [tuple(row) for row in found]
    finally:
        await engine.dispose()


async def statuses(running: System, placed: PlacedCall) -> list[str]:
    """Return what became of the call's transfers."""
    found = await rows(running, "target, status, n from transfers", placed.result.call_sid)
    assert {target for target, *_ in found} == {"front desk"}
    return [status for _, status, n in sorted(found, key=lambda row: int(row[2]))]


def assert_went_on(placed: PlacedCall, said: list[str]) -> None:
    """The call went on to its end, and the model understood every word, once."""
    assert placed.result.script_finished
    assert placed.result.attaches == 2
    assert (placed.rows.call.outcome, placed.rows.call.reason) == ("success", "caller-hung-up")
    understood = [
        event["utterance"] for event in placed.model_trace if event["event"] == "heard" and event["finished"]
    ]
    assert understood == said
    assert [turn.said for turn in placed.rows.turns if turn.speaker == "caller"] == [
        text_of(each) for each in said
    ]
    assert [event for event in placed.model_trace if event["event"] == "rejected"] == []


def said_by(speaker: str, placed: PlacedCall) -> list[str]:
    """Return what was said by the caller or the agent."""
    return [turn.said for turn in placed.rows.turns if turn.speaker == speaker]


def told(placed: PlacedCall) -> list[str]:
    """Return the system messages that the model was given."""
    return [event["text"] for event in placed.model_trace if event.get("role") == "system"]


def in_logs(running: System, *secrets: str) -> list[str]:
    """Return which of these stand in a log of a service."""
    logs = "".join(path.read_text() for path in (running.folder / "logs").glob("*.log"))
    assert logs
    return [secret for secret in secrets if secret in logs]


def text_of(utterance_id: str) -> str:
    return recordings.utterance(utterance_id).text
