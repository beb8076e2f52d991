"""How many calls one caller may have at once, counted over all workers by a real gateway process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_driver import CALLER, Gateway, Twiml, call, call_fields, new_call_id
from played_worker import Worker

from trunkline_common.frames import FrameKind
from trunkline_local.nats_server import NatsServer

OTHER_CALLER = "+12025550188"


@pytest.fixture
async def limited_gateway(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    # The worker is played by this process, which may be slow to answer.
    limits = {"CALLS_PER_CALLER": "2", "CALLS_PER_CALLER_WAIT_MS": "1000"}
    async with Gateway.start(nats_server.url, tmp_path / "gateway", ready=True, **limits) as gateway:
        yield gateway


@pytest.fixture
async def limited_worker(nats_server: NatsServer) -> AsyncIterator[Worker]:
    async with Worker.start(nats_server.url) as worker:
        yield worker


async def voice(gateway: Gateway, call_id: str, **fields: str) -> Twiml:
    return Twiml((await gateway.post("/voice", call_fields(call_id) | fields)).text)


async def rejected(gateway: Gateway) -> float:
    return await gateway.metric("trunkline_gateway_webhooks_total", webhook="voice", result="caller-limit")


async def test_a_caller_over_the_limit_is_busy_and_harms_nobody(
    limited_gateway: Gateway, limited_worker: Worker
) -> None:
    async with call(limited_gateway, limited_worker) as (bystander, socket, _):
        await limited_worker.have_calls_of(OTHER_CALLER, new_call_id(), new_call_id())

        twiml = await voice(limited_gateway, new_call_id(), From=OTHER_CALLER)

        assert twiml.text.endswith('<Response><Reject reason="busy" /></Response>')
        await limited_worker.send(bystander, FrameKind.AUDIO, b"still here")
        assert (await socket.next())["event"] == "media"
        assert (await voice(limited_gateway, new_call_id())).verbs == ["Connect", "Redirect"]
    assert await rejected(limited_gateway) == 1


async def test_calls_of_several_workers_count_together_and_each_once(
    nats_server: NatsServer, limited_gateway: Gateway, limited_worker: Worker
) -> None:
    shared = new_call_id()
    async with Worker.start(nats_server.url) as second:
        await limited_worker.have_calls_of(CALLER, shared)
        await second.have_calls_of(CALLER, shared)
        assert (await voice(limited_gateway, new_call_id())).verbs == ["Connect", "Redirect"]

        await second.have_calls_of(CALLER, new_call_id())
        assert (await voice(limited_gateway, new_call_id())).verbs == ["Reject"]


async def test_the_call_itself_does_not_count_when_twilio_asks_again(
    limited_gateway: Gateway, limited_worker: Worker
) -> None:
    call_id = new_call_id()
    await limited_worker.have_calls_of(CALLER, call_id, new_call_id())

    assert (await voice(limited_gateway, call_id)).verbs == ["Connect", "Redirect"]


@pytest.mark.parametrize("caller", ["anonymous", "+266696687", ""])
async def test_callers_without_a_number_are_not_counted(
    limited_gateway: Gateway, limited_worker: Worker, caller: str
) -> None:
    twimls = [await voice(limited_gateway, new_call_id(), From=caller) for _ in range(3)]

    assert [twiml.verbs for twiml in twimls] == [["Connect", "Redirect"]] * 3


async def test_a_call_that_we_place_is_not_limited(limited_gateway: Gateway, limited_worker: Worker) -> None:
    await limited_worker.have_calls_of(CALLER, new_call_id(), new_call_id())

    twiml = await voice(
        limited_gateway, new_call_id(), Direction="outbound-api", From=OTHER_CALLER, To=CALLER
    )

    assert twiml.verbs == ["Connect", "Redirect"]
    (assigned,) = limited_worker.assigned
    assert (assigned.caller, assigned.called) == (CALLER, OTHER_CALLER), "the callee is our caller"
