"""Calls whose gateway dies or hangs: another one carries them on, with the same conversation.

Two gateways stand behind one address. Where the simulated Twilio does not notice, a worker has it asked by its REST API.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from e2e.conftest import StartSystem, call_settings
from e2e.test_lost_sessions import heard, rejected
from front import Front
from gateway_driver import http_client
from prometheus_client.parser import text_string_to_metric_families

from trunkline_local import stored, system
from trunkline_local.processes import Process, free_port, trunkline
from trunkline_local.stored import StoredCall
from trunkline_local.system import System
from trunkline_simulators import recordings
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

LIMIT_S = 60.0

LINES = [f"caller-digits-{number}" for number in (1, 2, 3)]

WAITS_FOR_THE_LINE = Conversation(
    "says nothing while the line is dead, for nobody could hear it",
    (
        Step(say=LINES[0]),
        Step(say=LINES[1]),
        Step(say=LINES[2], after_quiet_ms=6_500),
        Step(hang_up=True),
    ),
    patience_ms=15_000,
)


@dataclass
class Pair:
    """A system with two gateways behind one front, and Twilio with its REST API."""

    running: System
    first: Process
    second: Process
    front: Front
    twilio: RestServer


@pytest.fixture
def start_pair(start_system: StartSystem) -> Callable[[], Any]:
    """Start everything; calls go to the gateway `first` while it is in service."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Pair]:
        api_port, second_port = free_port(), free_port()
        twilio_access = {
            "TWILIO_ACCOUNT_SID": system.ACCOUNT_SID,
            "TWILIO_API_URL": f"http://127.0.0.1:{api_port}",
        }
        async with start_system(settings={"gateway": twilio_access}) as running:
            environment = {
                "NATS_URL": running.nats_url,
                "PORT": str(second_port),
                "PUBLIC_URL": running.line.public_url,
                "TWILIO_AUTH_TOKEN": running.line.auth_token,
                **twilio_access,
            }
            logs = running.folder / "logs"
            account = Account(running.line.account_sid, running.line.auth_token, {})
            async with (
                Process.start("gateway-2", trunkline("gateway"), logs, environment) as second,
                Front.before(running.line.gateway_port, second_port) as front,
            ):
                await second.wait_until_ready(f"http://127.0.0.1:{second_port}/readyz")
                settings = replace(
                    call_settings(running, WAITS_FOR_THE_LINE),
                    connect_to=ConnectTo("trunkline.example", "127.0.0.1", front.port),
                )
                twilio = RestServer(RestSettings(account, settings, port=api_port))
                async with twilio.running():
                    first = next(each for each in running.processes if each.name == "gateway")
                    yield Pair(running, first, second, front, twilio)

    return start


async def call_with(
    pair: Pair, fault: Callable[[], Awaitable[None]], **settings: Any
) -> tuple[CallResult, StoredCall]:
    """Call, let the fault happen in the middle of the agent's second answer, and wait until the call is stored."""
    answers = asyncio.Semaphore(0)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "agent-audible":
            answers.release()

    pair.twilio.on_event = on_event
    calling = asyncio.create_task(pair.twilio.place_inbound(replace(pair.twilio.settings.call, **settings)))
    async with asyncio.timeout(LIMIT_S):
        for _ in range(3):
            await answers.acquire()
        await fault()
        result = await calling
    return result, await stored.read_call(pair.running.database_url, result.call_sid)


# Twilio notices at once; never.
@pytest.mark.parametrize(("notices_s", "asked"), [(0.0, {0}), (None, {1})])
async def test_a_call_outlives_its_gateway_s_death(
    start_pair: Callable[[], Any], notices_s: float | None, asked: set[int]
) -> None:
    async with start_pair() as pair:

        async def kill() -> None:
            await pair.first.kill()

        result, rows = await call_with(pair, kill, notices_lost_stream_after_s=notices_s)
        understood = heard(pair.running, rows)
        redirects = await worker_metric(pair, "trunkline_worker_redirects_total", answer="taken")

    assert_went_on(result, rows, understood)
    assert rejected(pair.running, rows) == []
    assert redirects in asked


async def test_a_call_outlives_a_gateway_that_hangs_and_its_return(start_pair: Callable[[], Any]) -> None:
    async with start_pair() as pair:

        async def hang() -> None:
            pair.first.send_signal(signal.SIGSTOP)
            # As a load balancer's health check does.
            del pair.front.ports[0]
            await pair.second.wait_for_line("stream-started")
            pair.first.send_signal(signal.SIGCONT)

        result, rows = await call_with(pair, hang, notices_lost_stream_after_s=None)
        understood = heard(pair.running, rows)
        lost = await worker_metric(pair, "trunkline_worker_gateways_lost_total", how="silent")
        await pair.first.wait_for_line("stream-ended")

    assert_went_on(result, rows, understood)
    assert lost == 1


def assert_went_on(result: CallResult, rows: StoredCall, understood: list[str]) -> None:
    assert result.script_finished
    assert result.attaches == 2
    assert (rows.call.outcome, rows.call.reason) == ("success", "caller-hung-up")
    assert len(rows.sessions) == 1, "the conversation is the same"
    assert understood == LINES
    said = [turn.said for turn in rows.turns if turn.speaker == "caller"]
    assert said == [recordings.utterance(digits).text for digits in LINES]
    (cut,) = [turn for turn in rows.turns if turn.said == recordings.utterance("agent-digits-2").text]
    assert cut.heard == cut.said, "what the caller had not heard follows on the next stream"


async def worker_metric(pair: Pair, name: str, **labels: str) -> float:
    async with http_client() as client:
        text = (await client.get(f"http://127.0.0.1:{pair.running.worker_metrics_port}/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    (value,) = [each.value for each in samples if each.name == name and each.labels == labels]
    return value
