"""Outbound calls: a real gateway process, a real NATS server, and the simulated Twilio that it asks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gateway_driver import ACCOUNT_SID, AUTH_TOKEN, Gateway, call_fields, http_client, new_call_id
from played_worker import LIMIT_S, Worker
from simulated_calls import HANGS_UP, TONE

from trunkline_common.frames import FrameKind
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import free_port
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_rest import Fault, RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_webhooks import ConnectTo

pytest_plugins = ["gateway_fixtures"]

API_KEY = "an-api-key-of-the-tests"
CALLEE = "+12025550123"
LINE = "+12025550147"
BODY = {"to": CALLEE, "from": LINE}


def start_gateway(nats_url: str, folder: Path, api_port: int) -> AbstractAsyncContextManager[Gateway]:
    return Gateway.start(
        nats_url,
        folder,
        API_KEYS=f"another-api-key-of-the-tests,{API_KEY}",
        OUTBOUND_ALLOWED="+1202,+31",
        OUTBOUND_PER_NUMBER_PER_MINUTE="3",
        TWILIO_API_URL=f"http://127.0.0.1:{api_port}",
    )


async def post(
    gateway: Gateway, key: str = "key", body: Any = BODY, *, api_key: str = API_KEY, **headers: str
) -> httpx.Response:
    sent = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key} | headers
    async with http_client() as client:
        return await client.post(f"{gateway.url}/calls", json=body, headers=sent)


async def counted(gateway: Gateway, result: str) -> float:
    return await gateway.metric("trunkline_gateway_outbound_calls_total", result=result)


@dataclass
class Line:
    """A gateway with a worker, and Twilio on its other side."""

    gateway: Gateway
    worker: Worker
    twilio: RestServer

    def let_callee_be(self, callee: Callee) -> None:
        self.twilio.settings = replace(
            self.twilio.settings, call=replace(self.twilio.settings.call, callee=callee)
        )

    async def over(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.twilio.until_over()


@asynccontextmanager
async def twilio_for(public_port: int, api_port: int = 0) -> AsyncIterator[RestServer]:
    call = CallSettings(
        webhook="",
        auth_token=AUTH_TOKEN,
        account_sid=ACCOUNT_SID,
        conversation=HANGS_UP,
        connect_to=ConnectTo("calls.example.com", "127.0.0.1", public_port),
        callee=Callee(after_s=0, detection_s=0),
    )
    settings = RestSettings(Account(ACCOUNT_SID, AUTH_TOKEN, {}), call, (LINE,), port=api_port)
    async with RestServer(settings).running() as server:
        yield server


@pytest.fixture
async def line(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Line]:
    api_port = free_port()
    async with (
        start_gateway(nats_server.url, tmp_path / "gateway", api_port) as gateway,
        twilio_for(gateway.port, api_port) as twilio,
        Worker.start(nats_server.url) as worker,
    ):
        yield Line(gateway, worker, twilio)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cut_off_gateway(
    shared_nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway that cannot reach Twilio, for what needs no Twilio."""
    folder = tmp_path_factory.mktemp("outbound")
    async with start_gateway(shared_nats_server.url, folder, free_port()) as gateway:
        yield gateway


async def test_a_person_is_called_and_talks_to_the_agent(line: Line) -> None:
    response = await post(line.gateway, body=BODY | {"machine_detection": "detect", "timeout_s": 20})
    first = await line.worker.frame(FrameKind.AUDIO)
    call_id = response.json()["call_id"]
    await line.worker.send(call_id, FrameKind.AUDIO, TONE)
    await line.over()

    assert (response.status_code, response.json()["status"]) == (201, "queued")
    (assigned,) = line.worker.assigned
    assert (assigned.caller, assigned.called) == (CALLEE, LINE), "our number selects the agent"
    assert first.fence.attach == 1
    (result,) = line.twilio.results
    assert (result.call_sid, result.end_reason, result.clean) == (call_id, "caller-hung-up", True)
    assert line.twilio.created[0].ring_s == 20
    name = "trunkline_gateway_outbound_answered_by_total"
    assert await line.gateway.metric(name, party="human") == 1
    assert await line.gateway.metric("trunkline_gateway_call_callbacks_total", status="completed") == 1
    assert CALLEE[1:] not in line.gateway.process.log_path.read_text()


@pytest.mark.parametrize("answered_by", ["machine_start", "fax"])
async def test_a_machine_is_hung_up_on(line: Line, answered_by: Any) -> None:
    line.let_callee_be(Callee(after_s=0, detection_s=0.1, answered_by=answered_by))

    await post(line.gateway, body=BODY | {"machine_detection": "detect"})
    await line.over()

    (result,) = line.twilio.results
    assert result.end_reason == "ended-by-api"
    name = "trunkline_gateway_calls_ended_by_rest_total"
    assert await line.gateway.metric(name, result="ended") == 1


async def test_a_machine_that_has_hung_up_itself_is_no_fault(line: Line) -> None:
    fields = call_fields(new_call_id()) | {"AnsweredBy": "machine_start"}

    response = await line.gateway.post("/voice/machine", fields)

    assert response.status_code == 204
    name = "trunkline_gateway_calls_ended_by_rest_total"
    assert await line.gateway.metric(name, result="already-over") == 1


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
async def test_nobody_answers_and_no_worker_is_asked(line: Line, outcome: Any) -> None:
    line.let_callee_be(Callee(outcome, after_s=0))

    await post(line.gateway, body=BODY | {"timeout_s": 5})
    await line.over()

    assert await line.gateway.metric("trunkline_gateway_call_callbacks_total", status=outcome) == 1
    assert line.worker.assigned == []


async def test_one_key_places_one_call_at_all_gateways(
    line: Line, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with start_gateway(nats_server.url, tmp_path / "second", line.twilio.port) as second:
        first_answer = await post(line.gateway)
        answers = [await post(line.gateway), await post(second)]
        other_call = await post(second, body=BODY | {"timeout_s": 31})
        other_holder = await post(second, api_key="another-api-key-of-the-tests")

    assert [answer.status_code for answer in answers] == [201, 201]
    assert [answer.json() for answer in answers] == [first_answer.json()] * 2
    assert other_call.status_code == 422
    assert other_call.json()["type"].endswith("idempotency-key-reused")
    assert other_holder.json()["call_id"] != first_answer.json()["call_id"]
    assert len(line.twilio.created) == 2
    assert await counted(line.gateway, "repeated") == 1


async def test_the_same_key_many_times_at_once_places_one_call(line: Line) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(post(line.gateway)) for _ in range(8)]

    statuses = sorted(task.result().status_code for task in asked)
    assert statuses[0] == 201
    assert set(statuses) <= {201, 409}
    assert len(line.twilio.created) == 1


async def test_a_number_is_not_called_too_often(line: Line) -> None:
    placed = [await post(line.gateway, f"key-{n}") for n in range(3)]

    refused = await post(line.gateway, "key-3")
    elsewhere = await post(line.gateway, "key-3", BODY | {"to": "+12025550188"})

    assert [response.status_code for response in placed] == [201] * 3
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:trunkline:problem:too-many-calls")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert elsewhere.status_code == 201, "the refused key is free again"


async def test_twilio_refuses_and_says_so_again(line: Line) -> None:
    body = BODY | {"from": "+12025550166"}

    answers = [await post(line.gateway, body=body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [502, 502]
    assert answers[0].json() == answers[1].json()
    assert "https://www.twilio.com/docs/api/errors/21210" in answers[0].json()["detail"]
    assert len(line.twilio.created) == 0
    assert await counted(line.gateway, "twilio-refused") == 1


@pytest.mark.parametrize(
    ("fault", "word", "again"),
    [
        ("drop", "twilio-silent", 502),
        ("unavailable", "twilio-silent", 502),
        ("throttled", "twilio-unreached", 201),
    ],
)
async def test_twilio_fails(line: Line, fault: Fault, word: str, again: int) -> None:
    line.twilio.fault = fault
    failed = await post(line.gateway)
    line.twilio.fault = "none"
    repeated = await post(line.gateway)

    assert (failed.status_code, failed.json()["type"]) == (502, f"urn:trunkline:problem:{word}")
    assert failed.headers["content-type"] == "application/problem+json"
    assert repeated.status_code == again, "what may have been placed is not placed twice"
    assert await counted(line.gateway, word) == 1


async def test_without_jetstream_nothing_is_placed(line: Line, nats_server: NatsServer) -> None:
    await nats_server.kill()

    response = await post(line.gateway)

    assert (response.status_code, response.json()["type"]) == (503, "urn:trunkline:problem:not-ready")
    assert line.twilio.created == []


async def test_twilio_is_down_and_the_key_stays_free(cut_off_gateway: Gateway) -> None:
    before = await counted(cut_off_gateway, "twilio-unreached")

    answers = [await post(cut_off_gateway, "down") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [502, 502]
    assert "No call was placed" in answers[0].json()["detail"]
    assert await counted(cut_off_gateway, "twilio-unreached") == before + 2


@pytest.mark.parametrize(
    ("headers", "body", "status", "word"),
    [
        ({"Authorization": ""}, BODY, 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, BODY, 401, "unauthorized"),
        ({"Authorization": f"Basic {API_KEY}"}, BODY, 401, "unauthorized"),
        ({"Idempotency-Key": ""}, BODY, 400, "idempotency-key-missing"),
        ({}, BODY | {"to": "+882161234567"}, 403, "destination-not-allowed"),
        ({}, BODY | {"to": "2025550123"}, 422, "invalid"),
        ({}, [], 422, "invalid"),
    ],
    ids=str,
)
async def test_a_request_that_may_not_or_makes_no_sense(
    cut_off_gateway: Gateway, headers: Mapping[str, str], body: Any, status: int, word: str
) -> None:
    before = await counted(cut_off_gateway, word)

    response = await post(cut_off_gateway, body=body, **headers)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"urn:trunkline:problem:{word}"
    assert response.json()["status"] == status
    assert await counted(cut_off_gateway, word) == before + 1


async def test_a_body_that_is_no_json_or_too_large(cut_off_gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": "key"}
    async with http_client() as client:
        for content, status in ((b"to=+12025550123", 400), (b" " * 70_000, 413)):
            response = await client.post(f"{cut_off_gateway.url}/calls", content=content, headers=headers)
            assert response.status_code == status


async def test_without_keys_there_are_no_outbound_calls(gateway: Gateway) -> None:
    response = await post(gateway)

    assert response.status_code == 404
    assert "API_KEYS" in response.json()["detail"]
