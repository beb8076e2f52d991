"""The daily budget with real workers and a real NATS: the fleet's spending is in the event log."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import event_logs
import nats.errors
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from running_worker import Worker, running_worker
from transcripts_world import until

from trunkline_common import call_events, control, subjects
from trunkline_common.call_events import CallEvent
from trunkline_common.control import AssignReply, AssignRequest
from trunkline_common.frames import Fence
from trunkline_common.link import MendedClient
from trunkline_local.nats_server import NatsServer
from trunkline_simulators.openai_server import ServerOptions, run_server


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = MendedClient()
    await client.connect(nats_server.url, error_cb=_ignore)
    yield client
    await client.close()


async def _ignore(_error: Exception) -> None:
    """A server that a test stops is no error."""


@asynccontextmanager
async def worker_with(budget_usd: str, nats_server: NatsServer, folder: Path) -> AsyncIterator[Worker]:
    async with (
        run_server(ServerOptions()) as model,
        running_worker(nats_server, folder, model.url, DAILY_BUDGET_USD=budget_usd) as worker,
    ):
        yield worker


async def test_a_spent_budget_closes_the_door_and_running_calls_go_on(
    nats_server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with worker_with("0.01", nats_server, tmp_path) as worker:
        assert (await offer(client, "CA1")).ok

        await spend(client, "CA8", event_logs.usage(), event_logs.usage("resp_2"))
        await until(nobody_takes(client))

        assert await worker.counted("trunkline_budget_spent") == 1
        assert await worker.counted("trunkline_budget_usd") == 0.01
        assert await worker.counted("trunkline_spend_usd_today") == pytest.approx(0.01094)
        assert await worker.counted("trunkline_worker_calls_active") == 1
        await worker.process.wait_for_line("budget-spent")


async def test_a_worker_that_starts_knows_what_was_spent_before(
    nats_server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with worker_with("100", nats_server, tmp_path):
        await spend(client, "CA8", event_logs.usage(), event_logs.transcription_usage())

    async with worker_with("0.006", nats_server, tmp_path) as worker:
        assert await worker.counted("trunkline_spend_usd_today") == pytest.approx(0.00632)
        with pytest.raises(NoRespondersError):
            await offer(client, "CA1")

    async with worker_with("0.007", nats_server, tmp_path):
        assert (await offer(client, "CA1")).ok, "the budget was raised"


async def test_reading_goes_on_where_it_was_when_the_server_restarts(
    nats_server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with worker_with("0.011", nats_server, tmp_path) as worker:
        await spend(client, "CA8", event_logs.usage())
        await until(is_told(worker, 0.00547))
        await nats_server.restart()
        await until(is_connected(client))

        await spend(client, "CA9", event_logs.usage())
        await until(is_told(worker, 0.01094))
        assert await worker.counted("trunkline_budget_read_again_total") >= 1
        assert await worker.counted("trunkline_budget_spent") == 0

        await spend(client, "CA9", event_logs.transcription_usage(), first_n=1)
        await until(nobody_takes(client))


async def spend(client: Client, call_id: str, *events: CallEvent, first_n: int = 0) -> None:
    """Write to the event log as some other worker does."""
    for envelope in event_logs.log_of(events, call_id=call_id, first_n=first_n):
        await client.jetstream().publish(
            subjects.event(envelope.call_id, envelope.kind),
            call_events.encode(envelope),
            headers={"Nats-Msg-Id": envelope.message_id},
        )


async def offer(client: Client, call_id: str) -> AssignReply:
    request = AssignRequest(
        call_id=call_id, fence=Fence(1, 1), started_at_ms=1_000, caller="+12025550123", called="+12025550147"
    )
    answer = await client.request(subjects.assign("local"), control.encode(request), timeout=5)
    return control.decode(answer.data, AssignReply)


def nobody_takes(client: Client) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        try:
            # Somebody who takes calls would also take this one, which is no call.
            await client.request(subjects.assign("local"), b"", timeout=0.2)
        except NoRespondersError:
            return True
        except nats.errors.TimeoutError:
            return False
        return False

    return probe


def is_told(worker: Worker, spent_usd: float) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return await worker.counted("trunkline_spend_usd_today") == pytest.approx(spent_usd)

    return probe


def is_connected(client: Client) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return client.is_connected

    return probe
