"""A worker that goes on with a live call of another, or loses one: the test plays the gateway."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.test_worker import CALL, LIMIT_S, Gateway, gateway
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from owners import Owner, ask, attached, unreadable, until_nobody_owns
from running_worker import Worker, running_worker

from trunkline_common import call_events, control, subjects
from trunkline_common.call_events import AgentTurn, CallerTurn, CallEvent, CallStarted, CallTakenOver
from trunkline_common.control import AssignKind, OwnerRequest
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_local.nats_server import NatsServer
from trunkline_simulators.openai_server import ServerOptions, run_server
from trunkline_worker import checkpoint
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.history import Remembered

__all__ = ["gateway"]

REFUSED = "trunkline_worker_frames_refused_total"
REQUESTS_REFUSED = "trunkline_worker_owner_requests_refused_total"
PAUSE_S = 2.2
"""How long a process is stopped: longer than its heartbeat and what may pass for a busy machine together."""
FIRST, SECOND, THIRD = Fence(1, 1), Fence(1, 2), Fence(1, 3)


@pytest.fixture
async def model_url() -> AsyncIterator[str]:
    async with run_server(ServerOptions()) as model:
        yield model.url


@pytest.fixture
async def worker(nats_server: NatsServer, tmp_path: Path, model_url: str) -> AsyncIterator[Worker]:
    async with running_worker(nats_server, tmp_path, model_url, "one", WORKER_CAPACITY="1") as running:
        yield running


@pytest.fixture
async def other(
    worker: Worker, nats_server: NatsServer, tmp_path: Path, model_url: str
) -> AsyncIterator[Worker]:
    async with running_worker(nats_server, tmp_path, model_url, "other", WORKER_CAPACITY="1") as running:
        yield running


async def taken(gateway: Gateway, fence: Fence = SECOND) -> Owner:
    """Have a worker take the call over; it waits for the word that the call is its own."""
    reply = await ask(gateway, AssignKind.TAKEOVER, fence)
    assert (reply.ok, reply.kind) == (True, AssignKind.TAKEOVER)
    return Owner(gateway, reply.worker, fence)


def known(frame: Frame) -> Checkpoint:
    return checkpoint.decode(control.decode(frame.payload, control.Checkpoint).state)


# Goes on


async def test_another_worker_goes_on_with_the_stream_of_one_that_died(
    gateway: Gateway, worker: Worker, other: Worker
) -> None:
    before = await attached(gateway)
    await before.next_frame(FrameKind.CHECKPOINT)
    dying = worker if worker.lines("call-attached") else other
    await dying.process.kill()

    after = await taken(gateway)
    await after.own(before)
    await after.caller_says("caller-hours", t_ms=0)
    taken_over = await gateway.next_event(CallTakenOver)
    turn = await gateway.next_event(CallerTurn)
    await after.next_frame(FrameKind.AUDIO)

    assert before.worker != after.worker
    assert isinstance(taken_over, CallTakenOver)
    assert (taken_over.cause, taken_over.previous_fence) == ("worker-lost", "1.1")
    assert isinstance(turn, CallerTurn)
    assert turn.text == "Hi. When are you open on Saturday?"


async def test_a_call_whose_log_cannot_be_read_goes_on_from_the_checkpoint_alone(
    gateway: Gateway, worker: Worker
) -> None:
    await gateway.client.jetstream().delete_stream(subjects.EVENT_STREAM)
    before = Owner(gateway, "gone", FIRST)
    said = Remembered("A1", "agent", 1, "Hello, this is Robin.")
    before.checkpoint = checkpoint.encode(Checkpoint(media_ms=5_000, position=1, items=(said,), greeted=True))

    after = await taken(gateway)
    await after.own(before)
    told = known(await after.next_frame(FrameKind.CHECKPOINT))

    assert told.items == (said,)
    assert await worker.counted("trunkline_worker_call_logs_unread_total") == 1


async def test_a_checkpoint_that_cannot_be_read_costs_no_call(gateway: Gateway, worker: Worker) -> None:
    before = Owner(gateway, "gone", FIRST)
    before.checkpoint = b'{"v": 99}'

    after = await taken(gateway)
    await after.own(before)
    await after.next_frame(FrameKind.AUDIO)

    assert await worker.counted("trunkline_worker_checkpoints_unreadable_total") == 1


async def test_a_call_without_an_owner_goes_on_from_its_log_with_its_next_stream(
    gateway: Gateway, worker: Worker
) -> None:
    log: list[CallEvent] = [
        CallStarted(caller="+12025550123", called="+12025550147", agent="built-in", worker="wk-gone"),
        AgentTurn(
            item_id="A1",
            position=1,
            start_ms=0,
            end_ms=900,
            generated_text="Hello.",
            heard_text="Hello.",
            generated_ms=900,
            heard_ms=900,
            interrupted=False,
        ),
    ]
    for n, event in enumerate(log):
        envelope = call_events.seal(
            event, call_id=CALL, call_started_at_ms=1_000, fence=FIRST, n=n, at_ms=time.time_ns() // 1_000_000
        )
        subject = subjects.event(CALL, envelope.kind)
        await gateway.client.jetstream().publish(subject, call_events.encode(envelope))

    reply = await gateway.offer(fence=Fence(2, 1))
    owner = await gateway.attach(reply.worker, attach=2)
    taken_over = await gateway.next_event(CallTakenOver)
    said = await gateway.next_frame(FrameKind.AUDIO)

    assert isinstance(taken_over, CallTakenOver)
    assert (taken_over.cause, taken_over.items) == ("resumed", 1)
    assert said.fence == owner.fence == Fence(2, 1)


async def test_a_worker_takes_a_call_over_that_it_holds_itself_under_a_lower_fence(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path, model_url: str
) -> None:
    async with running_worker(nats_server, tmp_path, model_url, WORKER_CAPACITY="2"):
        before = await attached(gateway)
        after = await taken(gateway)
        await after.own(before)
        await after.next_frame(FrameKind.CHECKPOINT)
        owner = await gateway.who()

    assert before.worker == after.worker
    assert owner.fence == SECOND


async def test_a_live_call_is_not_handed_over_to_its_own_worker(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path, model_url: str
) -> None:
    # As when a stopping worker is asked by what was on its way when it left the queue.
    async with running_worker(nats_server, tmp_path, model_url, WORKER_CAPACITY="2"):
        await attached(gateway)
        reply = await ask(gateway, AssignKind.HANDOVER, SECOND)
        owner = await gateway.who()

    assert (reply.ok, reply.reason) == (False, "owner")
    assert (owner.fence, owner.state) == (FIRST, "active")


async def test_a_full_worker_is_not_asked(gateway: Gateway, worker: Worker) -> None:
    await attached(gateway)

    with pytest.raises(NoRespondersError):
        await ask(gateway, AssignKind.TAKEOVER, SECOND, "CA" + "2" * 32)


async def test_a_word_that_the_call_is_ours_counts_once_it_can_be_read(
    gateway: Gateway, worker: Worker
) -> None:
    owner = await taken(gateway)
    await gateway.client.publish(subjects.worker_up(owner.worker, CALL), unreadable(SECOND, 0))
    await worker.until_counted(f'{REFUSED}{{reason="unreadable"}}', 1)
    await owner.send(FrameKind.LINE, b"{}")  # seq 0, which was used: refused
    await owner.own()

    assert (await owner.next_frame(FrameKind.CHECKPOINT)).fence == SECOND
    assert worker.lines("own-malformed") == 1


# Gives up


async def test_a_worker_that_is_told_of_another_owner_leaves_the_call_without_a_word(
    gateway: Gateway, worker: Worker
) -> None:
    owner = await attached(gateway)

    await owner.send(FrameKind.REVOKE)

    with pytest.raises(NoRespondersError):
        await until_nobody_owns(gateway)
    assert (await gateway.offer("CA" + "3" * 32)).ok, "it has room again"
    events = [gateway.events.get_nowait() for _ in range(gateway.events.qsize())]
    assert not [event for event in events if isinstance(event, call_events.CallEnded)]


async def test_only_an_owner_with_a_higher_fence_makes_a_worker_give_up(
    gateway: Gateway, worker: Worker
) -> None:
    await attached(gateway)

    await gateway.client.publish(subjects.owner(CALL), claim(FIRST))
    assert (await gateway.who()).state == "active"
    await gateway.client.publish(subjects.owner(CALL), claim(SECOND))

    with pytest.raises(NoRespondersError):
        await until_nobody_owns(gateway)
    assert await worker.counted("trunkline_worker_calls_superseded_total") == 1


async def test_a_worker_that_was_away_asks_whether_its_call_is_still_its_own(
    gateway: Gateway, worker: Worker
) -> None:
    owner = await attached(gateway)
    asked = asyncio.Event()

    async def on_request(message: Msg) -> None:
        request = control.decode(message.data, OwnerRequest)
        if request.op == "owner" and request.worker == owner.worker:
            asked.set()
            await gateway.client.publish(subjects.owner(CALL), claim(THIRD))

    watch = await gateway.client.subscribe(subjects.owner(CALL), cb=on_request)
    await gateway.client.flush()
    worker.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(PAUSE_S)
    worker.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(LIMIT_S):
        await asked.wait()
    await worker.until_counted("trunkline_worker_calls_superseded_total", 1)
    await watch.unsubscribe()

    with pytest.raises(NoRespondersError):
        await until_nobody_owns(gateway)


async def test_an_owner_that_hears_an_older_claim_tells_its_own(gateway: Gateway, worker: Worker) -> None:
    # The one that was away asked before our own link was back.
    claims: asyncio.Queue[OwnerRequest] = asyncio.Queue()

    async def on_request(message: Msg) -> None:
        claims.put_nowait(control.decode(message.data, OwnerRequest))

    await gateway.client.subscribe(subjects.owner(CALL), cb=on_request)
    owner = await attached(gateway)
    await gateway.client.publish(subjects.owner(CALL), claim(Fence(0, 1)))
    async with asyncio.timeout(LIMIT_S):
        while (told := await claims.get()).worker != owner.worker or told.op != "owned":
            pass

    assert told.fence == FIRST


def claim(fence: Fence) -> bytes:
    return control.encode(OwnerRequest(op="owned", worker="wk-other", fence=fence))


# Bad input


@pytest.mark.parametrize(("fence", "reason"), [(Fence(0, 9), "old-fence"), (Fence(9, 9), "future-fence")])
async def test_frames_of_another_fence_are_refused_counted_and_logged_once(
    gateway: Gateway, worker: Worker, fence: Fence, reason: str
) -> None:
    owner = await attached(gateway)

    for seq in range(3):
        await gateway.send(owner.worker, Frame(FrameKind.REVOKE, fence, seq, 0, 0, b""))
    await worker.until_counted(f'{REFUSED}{{reason="{reason}"}}', 3)

    assert (await gateway.who()).state == "active"
    assert worker.lines("frames-refused") == 1


async def test_frames_of_an_unknown_call_are_refused_counted_and_logged_once(
    gateway: Gateway, worker: Worker
) -> None:
    owner = Owner(gateway, (await gateway.offer()).worker, SECOND, "CA404")

    for _ in range(3):
        await owner.own()
    await worker.until_counted(f'{REFUSED}{{reason="unknown-call"}}', 3)

    assert worker.lines("frames-refused") == 1
    with pytest.raises(NoRespondersError):
        await gateway.who("CA404")


async def test_an_attach_that_was_used_is_refused_counted_and_logged_once(
    gateway: Gateway, worker: Worker
) -> None:
    owner = await attached(gateway)

    replies = [await gateway.attach(owner.worker, attach=1) for _ in range(3)]

    assert [reply.ok for reply in replies] == [False] * 3
    assert await worker.counted(f'{REQUESTS_REFUSED}{{reason="attach-used"}}') == 3
    assert worker.lines("owner-request-refused") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"no request",
        control.encode(OwnerRequest(op="attach", fence=Fence(9, 0), gateway="gw.*")),
        control.encode(OwnerRequest(op="attach", fence=Fence(9, 0))),
    ],
)
async def test_a_malformed_question_to_the_owner_is_refused_and_changes_nothing(
    gateway: Gateway, worker: Worker, request_bytes: bytes
) -> None:
    await attached(gateway)

    await gateway.client.publish(subjects.owner(CALL), request_bytes)
    await worker.until_counted(f'{REQUESTS_REFUSED}{{reason="malformed"}}', 1)

    assert (await gateway.who()).fence == FIRST


async def test_a_handover_to_nowhere_is_not_taken(gateway: Gateway, worker: Worker) -> None:
    gateway.name = "gw.*"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(gateway, AssignKind.HANDOVER, SECOND), 0.5)

    assert await worker.counted('trunkline_worker_assignments_total{answer="malformed"}') == 1
    with pytest.raises(NoRespondersError):
        await gateway.who()
