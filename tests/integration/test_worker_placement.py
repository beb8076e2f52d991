"""Several worker processes: which of them gets a call, and which is spared; the test plays the gateway."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from infra import MS
from nats.aio.client import Client
from nats.errors import NoRespondersError
from running_worker import running_worker

from trunkline_common import control, subjects
from trunkline_common.control import (
    AssignReply,
    AssignRequest,
    LineTreatment,
    LineTreatmentRequest,
    OwnerRequest,
    TreatmentKind,
)
from trunkline_common.frames import Fence
from trunkline_common.link import MendedClient
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import free_port
from trunkline_simulators.openai_server import ServerOptions, run_server

LIMIT_S = 20_000 * MS
CALLED = "+12025550147"
OFFERS = 60


class Gateway:
    """Offers calls, and takes offers back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._offers = 0

    async def offer(self) -> tuple[str, AssignReply]:
        """Offer another call and return its id and the answer."""
        self._offers += 1
        call_id = f"CA{self._offers:032x}"
        request = AssignRequest(
            call_id=call_id, fence=Fence(1, 1), started_at_ms=1_000, caller="+12025550123", called=CALLED
        )
        answer = await self._client.request(subjects.assign("local"), control.encode(request), timeout=5)
        return call_id, control.decode(answer.data, AssignReply)

    async def take_back(self, call_id: str) -> None:
        """Let the call's owner give it up."""
        request = OwnerRequest(op="attach", worker="nobody", gateway="gw-test")
        await self._client.publish(subjects.owner(call_id), control.encode(request))

    async def treatment(self) -> LineTreatment:
        request = control.encode(LineTreatmentRequest(called=CALLED))
        answer = await self._client.request(subjects.treatment("local"), request, timeout=5)
        return control.decode(answer.data, LineTreatment)


@pytest.fixture
async def gateway(nats_server: NatsServer) -> AsyncIterator[Gateway]:
    client = MendedClient()
    await client.connect(nats_server.url)
    yield Gateway(client)
    await client.close()


async def test_calls_go_where_there_is_more_room(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with (
        run_server(ServerOptions()) as model,
        running_worker(nats_server, tmp_path, model.url, "busy", WORKER_CAPACITY="20"),
    ):
        busy = {(await gateway.offer())[1].worker for _ in range(16)}
        async with running_worker(nats_server, tmp_path, model.url, "idle", WORKER_CAPACITY="20"):
            taken: Counter[str] = Counter()
            for _ in range(OFFERS):
                call_id, reply = await gateway.offer()
                taken["busy" if reply.worker in busy else "idle"] += 1
                await gateway.take_back(call_id)

    # Two places of twelve are the busy one's: with 10 calls expected, 30 are six standard deviations away.
    assert taken["idle"] > OFFERS / 2


async def test_a_worker_whose_sessions_fail_gets_no_calls_while_another_works(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    nowhere = f"ws://127.0.0.1:{free_port()}/v1/realtime"
    async with (
        run_server(ServerOptions()) as model,
        running_worker(nats_server, tmp_path, model.url, "sound", MODEL_CONNECTS_PER_S="1000"),
    ):
        sound = (await gateway.offer())[1].worker
        async with running_worker(
            nats_server, tmp_path, nowhere, "failing", MODEL_CONNECTS_PER_S="1000"
        ) as failing:
            async with asyncio.timeout(LIMIT_S):
                while (await gateway.offer())[1].worker == sound:
                    pass
            await failing.process.wait_for_line("model-breaker-open")
            after = [(await gateway.offer())[1] for _ in range(20)]

    # What reaches it too late is refused, and a gateway asks again.
    assert {reply.worker for reply in after if reply.ok} == {sound}
    assert {reply.reason for reply in after if not reply.ok} <= {"model"}


async def test_a_full_worker_says_what_callers_get(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "desk.yaml").write_text(
        f'name: desk\nnumbers: ["{CALLED}"]\ninstructions: Be brief.\nwhen_full:\n  type: busy\n'
    )
    async with (
        run_server(ServerOptions()) as model,
        running_worker(
            nats_server, tmp_path, model.url, WORKER_CAPACITY="1", TRUNKLINE_AGENTS=str(agents)
        ) as worker,
    ):
        await gateway.offer()
        with pytest.raises(NoRespondersError):
            await gateway.offer()
        line = await gateway.treatment()

    assert (line.queue, line.full.kind) == ("desk", TreatmentKind.BUSY)
    assert CALLED[1:] not in worker.process.log_path.read_text()
