"""Calls whose worker dies, hangs or stops: another one goes on with the same stream and the same conversation.

They go through a NATS with the users and permissions of a cluster (deploy/k8s/nats/values.yaml), which must suffice.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats_accounts
import pytest
from e2e.conftest import StartSystem, call_settings
from e2e.test_lost_sessions import heard, rejected
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trunkline_local import stored
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline
from trunkline_local.stored import StoredCall
from trunkline_local.system import System
from trunkline_simulators import recordings
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_result import CallResult

LIMIT_S = 60.0

LINES = [f"caller-digits-{number}" for number in (1, 2, 3)]

TALK = Conversation(
    "dictates digits, whatever happens behind the line",
    (*(Step(say=line) for line in LINES), Step(hang_up=True)),
    patience_ms=15_000,
)


class Fleet:
    """A system with two workers."""

    def __init__(self, running: System, workers: dict[str, Process]) -> None:
        self.running = running
        self._workers = workers

    async def owner(self) -> Process:
        """Return the worker that has the one call."""
        for process in self._workers.values():
            if "call-attached" in process.log_path.read_text():
                return process
        raise AssertionError("no worker has the call")

    def other(self, worker: Process) -> Process:
        """Return the worker that is not this one."""
        return next(each for each in self._workers.values() if each is not worker)


@pytest.fixture
def start_fleet(start_system: StartSystem, tmp_path: Path) -> Callable[[], Any]:
    """Start everything with two workers, each service signed in at NATS as its own user."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Fleet]:
        async with NatsServer.start(
            tmp_path / "guarded-nats", extra_settings=nats_accounts.server_settings()
        ) as nats:
            settings = {
                name: {"NATS_URL": nats_accounts.url_of(name, nats.url)} for name in nats_accounts.users()
            }
            # What asks NATS for more than a plain call does.
            settings["worker"] |= {"WORKER_DRAIN_S": "20", "DAILY_BUDGET_USD": "1000"}
            settings["gateway"] |= {"CALLS_PER_CALLER": "10"}
            async with fleet(settings) as started:
                yield started
            assert "Violation" not in nats.log_path.read_text()

    @asynccontextmanager
    async def fleet(settings: dict[str, dict[str, str]]) -> AsyncIterator[Fleet]:
        async with start_system(settings=settings) as running:
            first = next(each for each in running.processes if each.name == "worker")
            port = free_port()
            environment = {
                **running.environments["worker"],
                "METRICS_PORT": str(port),
                "WORKER_DRAIN_S": "20",
            }
            async with Process.start(
                "worker-2", trunkline("worker"), running.folder / "logs", environment
            ) as second:
                await second.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
                yield Fleet(running, {"worker": first, "worker-2": second})

    return start


async def talk(fleet: Fleet, fault: Callable[[Process], Awaitable[None]]) -> tuple[CallResult, StoredCall]:
    """Call, let the fault strike the owner in the middle of the agent's second answer, and read the call back."""
    answers = asyncio.Semaphore(0)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "agent-audible":
            answers.release()

    calling = asyncio.create_task(place_call(call_settings(fleet.running, TALK), on_event=on_event))
    async with asyncio.timeout(LIMIT_S):
        for _ in range(3):
            await answers.acquire()
        await fault(await fleet.owner())
        result = await calling
    return result, await stored.read_call(fleet.running.database_url, result.call_sid)


async def test_a_call_outlives_its_worker_s_death(start_fleet: Callable[[], Any]) -> None:
    async with start_fleet() as fleet:

        async def kill(owner: Process) -> None:
            await owner.kill()

        result, rows = await talk(fleet, kill)

        assert_went_on(fleet, result, rows)
        assert await takeovers(fleet, result) == [("worker-lost", "1.1")]


async def test_a_call_outlives_a_worker_that_hangs_and_its_return(start_fleet: Callable[[], Any]) -> None:
    async with start_fleet() as fleet:

        async def hang(owner: Process) -> None:
            owner.send_signal(signal.SIGSTOP)
            await fleet.other(owner).wait_for_line("call-taken-over")
            owner.send_signal(signal.SIGCONT)
            await owner.wait_for_line("call-given-up")

        result, rows = await talk(fleet, hang)

        assert_went_on(fleet, result, rows)
        assert await takeovers(fleet, result) == [("worker-lost", "1.1")]


async def test_a_worker_that_stops_hands_its_calls_over(start_fleet: Callable[[], Any]) -> None:
    async with start_fleet() as fleet:

        async def stop(owner: Process) -> None:
            owner.send_signal(signal.SIGTERM)
            assert await owner.exited() == 0

        result, rows = await talk(fleet, stop)

        assert_went_on(fleet, result, rows)
        assert await takeovers(fleet, result) == [("handover", "1.1")]


def assert_went_on(fleet: Fleet, result: CallResult, rows: StoredCall) -> None:
    assert result.script_finished
    assert result.attaches == 1, "Twilio noticed nothing"
    assert (rows.call.outcome, rows.call.reason) == ("success", "caller-hung-up")
    assert heard(fleet.running, rows) == LINES, "every word was heard, and heard once"
    said = [turn.said for turn in rows.turns if turn.speaker == "caller"]
    assert said == [recordings.utterance(digits).text for digits in LINES]
    assert rejected(fleet.running, rows) == []


async def takeovers(fleet: Fleet, result: CallResult) -> list[tuple[str, str]]:
    engine = create_async_engine(fleet.running.database_url)
    try:
        async with engine.connect() as connection:
            query = text("select cause, previous_fence from takeovers where call_id = :call_id")
            rows = await connection.execute(query, {"call_id": result.call_sid})
            return [(row.cause, row.previous_fence) for row in rows]
    finally:
        await engine.dispose()
