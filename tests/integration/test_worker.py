"""The worker as a real process with a real NATS and the simulated model; the test plays the gateways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import NoRespondersError
from running_worker import running_worker

from trunkline_common import call_events, control, frames, subjects
from trunkline_common.control import AssignReply, AssignRequest, OwnerReply, OwnerRequest, StopReason
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_common.link import MendedClient
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, trunkline
from trunkline_simulators.openai_server import ServerOptions, run_server

LIMIT_S = 20.0
CALL = "CA" + "1" * 32
FIRST = Fence(1, 1)


@dataclass
class Gateway:
    """The test's own gateway: one NATS client that offers calls and sees what comes down."""

    client: Client
    name: str = "gw-test"
    frames: "asyncio.Queue[Frame]" = field(default_factory=asyncio.Queue)
    events: "asyncio.Queue[call_events.CallEvent]" = field(default_factory=asyncio.Queue)
    pings: Subscription | None = None

    async def disappear(self) -> None:
        """Answer no pings any more, as a process that died."""
        assert self.pings is not None
        await self.pings.unsubscribe()
        await self.client.flush()

    async def offer(self, call_id: str = CALL, fence: Fence = FIRST) -> AssignReply:
        request = AssignRequest(
            call_id=call_id, fence=fence, started_at_ms=1_000, caller="+12025550123", called="+12025550147"
        )
        answer = await self.client.request(subjects.assign("local"), control.encode(request), timeout=5)
        return control.decode(answer.data, AssignReply)

    async def who(self, call_id: str = CALL) -> OwnerReply:
        return await self._ask(call_id, OwnerRequest(op="who"))

    async def attach(self, worker: str, attach: int = 1, call_id: str = CALL) -> OwnerReply:
        request = OwnerRequest(
            op="attach", worker=worker, fence=Fence(attach, 0), gateway=self.name, stream_sid="MZ" + "2" * 32
        )
        return await self._ask(call_id, request)

    async def send(self, worker: str, frame: Frame, call_id: str = CALL) -> None:
        await self.client.publish(subjects.worker_up(worker, call_id), frames.encode(frame))

    async def next_frame(self, kind: FrameKind) -> Frame:
        async with asyncio.timeout(LIMIT_S):
            while (frame := await self.frames.get()).kind != kind:
                pass
        return frame

    async def next_event(self, event_type: type[call_events.CallEvent]) -> call_events.CallEvent:
        async with asyncio.timeout(LIMIT_S):
            while not isinstance(event := await self.events.get(), event_type):
                pass
        return event

    async def _ask(self, call_id: str, request: OwnerRequest) -> OwnerReply:
        answer = await self.client.request(subjects.owner(call_id), control.encode(request), timeout=5)
        return control.decode(answer.data, OwnerReply)


@pytest.fixture
async def gateway(nats_server: NatsServer) -> AsyncIterator[Gateway]:
    client = MendedClient()
    await client.connect(nats_server.url, error_cb=_ignore)
    played = Gateway(client)

    async def on_frame(message: Msg) -> None:
        played.frames.put_nowait(frames.decode(message.data))

    async def on_ping(message: Msg) -> None:
        await message.respond(b"")

    async def on_event(message: Msg) -> None:
        envelope = call_events.decode(message.data)
        event = call_events.open_envelope(envelope)
        if event is not None and envelope.call_id == CALL:
            played.events.put_nowait(event)

    await client.subscribe(subjects.every_gateway_down(played.name), cb=on_frame)
    await client.subscribe(subjects.EVERY_EVENT, cb=on_event)
    played.pings = await client.subscribe(subjects.gateway_ping(played.name), cb=on_ping)
    await client.flush()
    yield played
    await client.close()


async def _ignore(_error: Exception) -> None:
    """A server that a test stops is no error."""


@asynccontextmanager
async def worker_process(
    nats_server: NatsServer, folder: Path, name: str = "worker", **settings: str
) -> AsyncIterator[Process]:
    """A worker with a simulated model of its own."""
    async with (
        run_server(ServerOptions()) as model,
        running_worker(nats_server, folder, model.url, name, **settings) as worker,
    ):
        yield worker.process


async def test_a_call_is_taken_greeted_and_ended(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path):
        taken = await gateway.offer()
        attached = await gateway.attach(taken.worker)
        audio = await gateway.next_frame(FrameKind.AUDIO)
        usage = await gateway.next_event(call_events.Usage)
        stop = Frame(FrameKind.STOP, attached.fence, 0, 0, 0, StopReason.CALLER_HUNG_UP.encode())
        await gateway.send(taken.worker, stop)
        ended = await gateway.next_event(call_events.CallEnded)
        after = await gateway.who()

    assert taken.ok
    assert attached.ok
    assert (attached.fence, attached.started_at_ms) == (Fence(1, 1), 1_000)
    assert audio.fence == Fence(1, 1)
    assert len(audio.payload) % 160 == 0
    assert isinstance(usage, call_events.Usage)
    assert (usage.model, usage.price_date) == ("gpt-realtime-2.1", "2026-11-22")
    assert usage.cost_usd is not None
    assert usage.cost_usd > 0
    assert isinstance(ended, call_events.CallEnded)
    assert ended.reason == "left-before-answer"
    assert after.state == "ended"


async def test_an_attach_number_works_once_and_a_newer_stream_replaces_the_older(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path):
        worker = (await gateway.offer()).worker
        first = await gateway.attach(worker, attach=1)
        repeated = await gateway.attach(worker, attach=1)
        newer = await gateway.attach(worker, attach=2)
        hang_up = await gateway.next_frame(FrameKind.HANG_UP)

    assert (first.ok, repeated.ok, newer.ok) == (True, False, True)
    assert newer.fence == Fence(2, 1)
    assert hang_up.fence == Fence(1, 1), "the older stream is told to go, under its own fence"


async def asked_for_ever(client: Client, subject: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            await client.request(subject, b"", timeout=5)


async def test_a_live_call_is_found_by_its_caller_and_an_ended_one_is_not(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    caller_hash = subjects.caller_hash("+12025550123")
    assert caller_hash is not None
    subject = subjects.caller(caller_hash)
    async with worker_process(nats_server, tmp_path):
        attached = await gateway.attach((await gateway.offer()).worker)
        found = await gateway.client.request(subject, b"", timeout=5)
        stop = Frame(FrameKind.STOP, attached.fence, 0, 0, 0, StopReason.CALLER_HUNG_UP.encode())
        await gateway.send(attached.worker, stop)
        await gateway.next_event(call_events.CallEnded)
        with pytest.raises(NoRespondersError):
            await asked_for_ever(gateway.client, subject)

    assert found.data.decode() == CALL


async def test_of_two_workers_with_one_call_only_the_named_one_keeps_it(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with (
        worker_process(nats_server, tmp_path, "one", WORKER_CAPACITY="1"),
        worker_process(nats_server, tmp_path, "two", WORKER_CAPACITY="1"),
    ):
        # As after an answer that came too late: both have taken it, under the same fence.
        winner = loser = (await gateway.offer()).worker
        while loser == winner:
            # Until it has left the group, it may be asked again, and its answer is still yes.
            loser = (await gateway.offer()).worker
        attached = await gateway.attach(winner)
        stop = Frame(FrameKind.STOP, attached.fence, 0, 0, 0, StopReason.CALLER_HUNG_UP.encode())
        await gateway.send(winner, stop)
        started = await gateway.next_event(call_events.CallStarted)
        await gateway.next_event(call_events.CallEnded)
        # The one that gave up has room again.
        retaken = await gateway.offer("CA" + "9" * 32)

    assert winner != loser
    assert isinstance(started, call_events.CallStarted)
    assert started.worker == winner
    assert gateway.events.empty(), "the loser left no trace in the event log"
    assert retaken.ok


async def test_a_full_worker_leaves_the_queue_and_comes_back(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path, WORKER_CAPACITY="1"):
        worker = (await gateway.offer()).worker
        with pytest.raises(NoRespondersError):
            await gateway.offer("CA" + "2" * 32)
        attached = await gateway.attach(worker)
        # Its only call ends while NATS is away.
        stop = Frame(FrameKind.STOP, attached.fence, 0, 0, 0, StopReason.CALLER_HUNG_UP.encode())
        await gateway.send(worker, stop)
        await gateway.next_event(call_events.CallEnded)
        await nats_server.restart()
        taken = await offered_again(gateway)

    assert taken.ok


async def test_frames_that_do_not_belong_to_the_call_change_nothing(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path):
        worker = (await gateway.offer()).worker
        attached = await gateway.attach(worker)
        hang_up = StopReason.CALLER_HUNG_UP.encode()
        for foreign in (Fence(0, 9), Fence(9, 9)):
            await gateway.send(worker, Frame(FrameKind.STOP, foreign, 0, 0, 0, hang_up))
        await gateway.client.publish(subjects.worker_up(worker, CALL), b"no frame")
        await gateway.send(worker, Frame(99, attached.fence, 0, 0, 0, b""))
        await gateway.next_frame(FrameKind.AUDIO)

        assert (await gateway.who()).state == "active"


async def test_a_stopping_worker_gives_its_calls_back_and_forgets_them(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path) as process:
        worker = (await gateway.offer()).worker
        await gateway.attach(worker)
        await gateway.next_frame(FrameKind.AUDIO)

        code = await process.stop()

        ended = await gateway.next_event(call_events.CallEnded)
        await gateway.next_frame(FrameKind.HANG_UP)
        with pytest.raises(NoRespondersError):
            await gateway.who()
    assert code == 0
    assert isinstance(ended, call_events.CallEnded)
    assert ended.reason == "worker-stopped"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "OPENAI_API_KEY: is not set"),
        ({"OPENAI_API_KEY": "k", "OPENAI_REALTIME_MODEL": "gpt-4o-realtime-preview"}, "use gpt-realtime-2.1"),
        ({"OPENAI_API_KEY": "k", "OPENAI_REALTIME_URL": "https://x"}, "OPENAI_REALTIME_URL: must start with"),
        ({"OPENAI_API_KEY": "k", "WORKER_CAPACITY": "many"}, "WORKER_CAPACITY"),
        ({"OPENAI_API_KEY": "k", "PRICES": "/nowhere.yaml"}, "PRICES: /nowhere.yaml: cannot be read"),
        ({"OPENAI_API_KEY": "k", "DAILY_BUDGET_USD": "-1"}, "DAILY_BUDGET_USD"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_2(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    async with Process.start("worker", trunkline("worker"), tmp_path, settings) as process:
        code = await process.exited()

    lines = process.log_path.read_text().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]


async def offered_again(gateway: Gateway) -> AssignReply:
    """Offer another call until somebody takes it, within the limit."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await gateway.offer("CA" + "3" * 32)
            except (NoRespondersError, nats.errors.TimeoutError):
                # The worker's link may need a moment longer than ours.
                await asyncio.sleep(0.05)
