"""What the bus promises while the server is there; test_link.py is about the rest."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
from bus_bench import LIMIT_S, Inbox, connected, counted, echo
from conftest import ErrorLogs
from infra import MS
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError

from trunkline_common import bus as bus_module
from trunkline_common import subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.service import ServiceError
from trunkline_local.nats_server import NatsServer

FRAME = bytes(180)

Connect = Callable[[], Awaitable[Bus]]


@pytest.fixture
async def connect(nats_server: NatsServer) -> AsyncIterator[Connect]:
    """Make one more bus, as one more process would; all are closed after the test."""
    async with contextlib.AsyncExitStack() as buses:

        async def connect() -> Bus:
            bus, _ = await buses.enter_async_context(connected(nats_server.url))
            return bus

        yield connect


@pytest.fixture
async def bus(connect: Connect) -> Bus:
    return await connect()


class TestAudio:
    async def test_a_frame_arrives(self, connect: Connect) -> None:
        sender, receiver = await connect(), await connect()
        inbox = Inbox()
        await receiver.subscribe_audio(subjects.every_worker_up("wk-1"), inbox.take)

        assert await sender.publish_audio(subjects.worker_up("wk-1", "CA1"), b"frame")

        await inbox.has(b"frame")

    async def test_a_receiver_that_does_not_keep_up_loses_frames_and_counts_them(
        self, bus: Bus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bus_module, "SUBSCRIPTION_PENDING_MESSAGES_MAX", 10)
        released, others = asyncio.Event(), Inbox()

        async def busy(_message: Msg) -> None:
            await released.wait()

        await bus.subscribe_audio("slow", busy)
        await bus.subscribe_audio("other", others.take)
        before = counted("trunkline_bus_slow_consumer_total", connection="audio")
        publisher = await nats.connect(nats_server.url)
        for _ in range(31):
            await publisher.publish("slow", FRAME)
        await publisher.publish("other", b"last")
        await publisher.close()
        await others.has(b"last")

        # Ten wait, and one may be in the handler's hands.
        lost = counted("trunkline_bus_slow_consumer_total", connection="audio") - before
        assert lost in (20, 21)
        released.set()


class TestRequests:
    async def test_are_answered(self, connect: Connect) -> None:
        asking, answering = await connect(), await connect()
        await answering.subscribe("call.v1.CA1.own", echo)

        assert await asking.request("call.v1.CA1.own", b"who", LIMIT_S) == b"who"

    async def test_to_nobody_fail_at_once(self, bus: Bus) -> None:
        with pytest.raises(NobodyListensError, match=r"call\.v1\.CA1\.own"):
            await bus.request("call.v1.CA1.own", b"who", timeout_s=60)

    async def test_to_somebody_who_is_silent_fail_otherwise(self, bus: Bus) -> None:
        inbox = Inbox()
        await bus.subscribe("call.v1.CA1.own", inbox.take)

        with pytest.raises(NoAnswerError, match="no answer in"):
            await bus.request("call.v1.CA1.own", b"who", timeout_s=50 * MS)

        assert inbox.messages == [b"who"]

    async def test_to_everybody_bring_every_answer_in_time(self, connect: Connect) -> None:
        asker, *others = [await connect() for _ in range(3)]
        for other in others:
            await other.subscribe("call.v1.by.1", echo)

        answers = await asker.request_all("call.v1.by.1", b"?", 200 * MS, lambda so_far: False)

        assert answers == [b"?", b"?"]

    async def test_to_everybody_end_with_enough_answers(self, connect: Connect) -> None:
        asker, other = await connect(), await connect()
        await other.subscribe("call.v1.by.1", echo)

        assert await asker.request_all("call.v1.by.1", b"?", LIMIT_S, lambda so_far: len(so_far) == 1) == [
            b"?"
        ]

    async def test_to_everybody_when_there_is_nobody_end_at_once(self, bus: Bus) -> None:
        assert await bus.request_all("call.v1.by.1", b"?", LIMIT_S, lambda so_far: False) == []

    async def test_to_a_queue_group_reach_one_of_its_members(self, connect: Connect) -> None:
        asking, seen = await connect(), Inbox()

        async def take(message: Msg) -> None:
            await seen.take(message)
            await message.respond(b"taken")

        for _ in range(3):
            await (await connect()).subscribe("rt.v1.assign.local", take, subjects.ASSIGN_QUEUE)
        for number in range(10):
            await asking.request("rt.v1.assign.local", str(number).encode(), LIMIT_S)

        assert sorted(seen.messages) == [str(number).encode() for number in range(10)]

    async def test_whose_handler_raises_are_logged_and_counted_and_the_next_is_handled(
        self, bus: Bus, error_logs: ErrorLogs
    ) -> None:
        error_logs.expect("bus-handler-failed")
        before = counted("trunkline_bus_handler_errors_total", connection="control")

        async def divide(message: Msg) -> None:
            await message.respond(str(1 / int(message.data)).encode())

        await bus.subscribe("divide", divide)
        with pytest.raises(NoAnswerError):
            await bus.request("divide", b"0", timeout_s=50 * MS)

        assert await bus.request("divide", b"1", LIMIT_S) == b"1.0"
        assert counted("trunkline_bus_handler_errors_total", connection="control") == before + 1


class TestTheEndOfASubscription:
    async def test_on_return_nobody_listens(self, bus: Bus) -> None:
        subscription = await bus.subscribe("call.v1.CA1.own", echo)

        await subscription.end()

        with pytest.raises(NobodyListensError):
            await bus.request("call.v1.CA1.own", b"who", timeout_s=60)

    async def test_the_handler_that_calls_for_it_still_answers(self, connect: Connect) -> None:
        """A worker leaves the queue group while it takes the call that fills it up."""
        worker, gateway = await connect(), await connect()

        async def take(message: Msg) -> None:
            await queue.end()
            await message.respond(b"taken")

        queue = await worker.subscribe("rt.v1.assign.local", take, subjects.ASSIGN_QUEUE)

        assert await gateway.request("rt.v1.assign.local", b"?", LIMIT_S) == b"taken"
        with pytest.raises(NobodyListensError):
            await gateway.request("rt.v1.assign.local", b"?", timeout_s=60)

    async def test_what_was_on_its_way_is_still_handled(self, connect: Connect) -> None:
        worker, gateway = await connect(), await connect()
        first_came, others_sent = asyncio.Event(), asyncio.Event()

        async def take(message: Msg) -> None:
            first_came.set()
            await others_sent.wait()
            await queue.end()
            await message.respond(b"taken")

        queue = await worker.subscribe("rt.v1.assign.local", take, subjects.ASSIGN_QUEUE)
        marker = Inbox()
        await worker.subscribe("marker", marker.take)
        asking = [asyncio.create_task(gateway.request("rt.v1.assign.local", b"?", LIMIT_S)) for _ in range(5)]
        await first_came.wait()
        await gateway.publish("marker", b"all five came before this")
        await marker.has(b"all five came before this")
        others_sent.set()

        assert await asyncio.gather(*asking) == [b"taken"] * 5

    async def test_twice_is_no_harm(self, bus: Bus) -> None:
        subscription = await bus.subscribe("call.v1.CA1.own", echo)

        await subscription.end()
        await subscription.end()


class TestTheEventStream:
    async def test_is_created_once_however_many_want_it(self, connect: Connect) -> None:
        buses = [await connect() for _ in range(4)]

        await asyncio.gather(*(bus.ensure_event_stream() for bus in buses for _ in range(3)))

        assert [stream.config.name for stream in await buses[0].jetstream.streams_info()] == ["EV"]

    async def test_stores_a_retried_event_once(self, bus: Bus) -> None:
        await bus.ensure_event_stream()

        subject, headers = subjects.event("CA1", "usage"), {"Nats-Msg-Id": "CA1-1.1-0"}
        acks = [await bus.jetstream.publish(subject, b"{}", headers=headers) for _ in range(2)]

        assert [(ack.seq, bool(ack.duplicate)) for ack in acks] == [(1, False), (1, True)]

    async def test_of_an_operator_is_left_as_it_is(self, bus: Bus) -> None:
        await bus.jetstream.add_stream(name="EV", subjects=["ev.v1.>"], max_bytes=4096)

        await bus.ensure_event_stream()

        assert (await bus.jetstream.stream_info("EV")).config.max_bytes == 4096

    async def test_created_with_other_options_at_the_same_moment_is_recognised(self, bus: Bus) -> None:
        await bus.jetstream.add_stream(name="EV", subjects=["ev.v1.>"], max_bytes=4096)

        with pytest.raises(BadRequestError) as refusal:
            await bus.jetstream.add_stream(bus_module._event_stream(replicas=1, gib=1))

        assert refusal.value.err_code == bus_module._STREAM_EXISTS

    async def test_that_cannot_be_created_says_why(self, bus: Bus) -> None:
        with pytest.raises(ServiceError, match="cannot create the JetStream stream EV: replicas > 1"):
            await bus.ensure_event_stream(replicas=3, gib=1)

    async def test_whose_subjects_another_one_has_says_so(self, bus: Bus) -> None:
        await bus.jetstream.add_stream(name="OTHER", subjects=["ev.>"])

        with pytest.raises(ServiceError, match="subjects overlap"):
            await bus.ensure_event_stream()

    async def test_is_waited_for_where_jetstream_is_not_available(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bus_module, "JETSTREAM_RETRY_S", 10 * MS)
        async with (
            NatsServer.start(tmp_path, extra_settings="jetstream: disabled") as server,
            connected(server.url) as (bus, life),
        ):
            ensuring = asyncio.create_task(bus.ensure_event_stream())
            says = await life.until(lambda says: "jetstream" in says)
            ensuring.cancel()
            await asyncio.gather(ensuring, return_exceptions=True)

        assert f"JetStream at {server.url} is not available" in says
