"""One call's events, read back out of the stream by another worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from bus_bench import LIMIT_S, Proxy, connected, counted
from bus_talk import CALL, event
from infra import MS
from nats.aio.msg import Msg

from trunkline_common import call_events, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import Envelope
from trunkline_local.nats_server import NatsServer
from trunkline_worker import call_log
from trunkline_worker.call_log import CallLogError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "PAGE_TIMEOUT_S", 100 * MS)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with connected(nats_server.url) as (bus, _):
        await bus.ensure_event_stream()
        yield bus


async def write(bus: Bus, *envelopes: Envelope) -> None:
    for envelope in envelopes:
        subject = subjects.event(envelope.call_id, envelope.kind)
        await bus.jetstream.publish(subject, call_events.encode(envelope))


class TestReading:
    async def test_brings_all_events_in_the_order_of_the_stream(self, bus: Bus) -> None:
        written = [event(0), event(2), event(1), event(0, assign=2)]
        await write(bus, *written)

        assert await call_log.read(bus, CALL, LIMIT_S) == written

    async def test_of_a_call_without_events_brings_none(self, bus: Bus) -> None:
        assert await call_log.read(bus, CALL, LIMIT_S) == []

    async def test_never_brings_another_calls_events(self, bus: Bus) -> None:
        others = [event(0, call_id) for call_id in ("CA", "CA12", "CA2", "ca1")]
        await write(bus, others[0], event(0), *others[1:], event(1))

        assert await call_log.read(bus, CALL, LIMIT_S) == [event(0), event(1)]

    @pytest.mark.parametrize("call_id", ["*", ">", "CA1.>", ""])
    async def test_of_what_is_no_call_id_is_refused(self, bus: Bus, call_id: str) -> None:
        with pytest.raises(subjects.InvalidTokenError):
            await call_log.read(bus, call_id, LIMIT_S)

    async def test_leaves_out_and_counts_what_cannot_be_read(self, bus: Bus) -> None:
        before = counted("trunkline_worker_events_unreadable_total")
        newer = json.loads(call_events.encode(event(1))) | {"v": call_events.VERSION + 1}
        await write(bus, event(0))
        for garbage in (b"", b"{}", json.dumps(newer).encode(), call_events.encode(event(0, "CA2"))):
            await bus.jetstream.publish(subjects.event(CALL, "dtmf"), garbage)
        await write(bus, event(2))

        assert await call_log.read(bus, CALL, LIMIT_S) == [event(0), event(2)]
        assert counted("trunkline_worker_events_unreadable_total") == before + 4

    async def test_makes_no_consumer(self, bus: Bus) -> None:
        await write(bus, event(0))

        await call_log.read(bus, CALL, LIMIT_S)

        assert (await bus.jetstream.stream_info("EV")).state.consumer_count == 0


class TestALongLog:
    @pytest.mark.parametrize("limit", [("PAGE_EVENTS_MAX", 3), ("PAGE_BYTES_MAX", 400)])
    @pytest.mark.parametrize("events", [1, 3, 4, 20])
    async def test_comes_in_pages(
        self, bus: Bus, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int], events: int
    ) -> None:
        monkeypatch.setattr(call_log, *limit)
        written = [event(n) for n in range(events)]
        await write(bus, *written)

        assert await call_log.read(bus, CALL, LIMIT_S) == written

    async def test_that_grows_meanwhile_has_no_hole(self, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(call_log, "PAGE_EVENTS_MAX", 3)
        await write(bus, *(event(n) for n in range(20)))
        writing = asyncio.create_task(write(bus, *(event(n) for n in range(20, 100))))

        found = await call_log.read(bus, CALL, LIMIT_S)
        await writing

        assert found == [event(n) for n in range(len(found))]
        assert len(found) >= 20

    @pytest.mark.parametrize(
        "limit", [("EVENTS_MAX", 2), ("BYTES_MAX", 2 * len(call_events.encode(event(0))))]
    )
    async def test_is_cut_at_its_beginning(
        self, bus: Bus, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]
    ) -> None:
        monkeypatch.setattr(call_log, *limit)
        before = counted("trunkline_worker_events_left_out_total")
        await write(bus, *(event(n) for n in range(5)))

        assert await call_log.read(bus, CALL, LIMIT_S) == [event(3), event(4)]
        assert counted("trunkline_worker_events_left_out_total") == before + 3


class TestWhenJetStreamDoesNotAnswer:
    async def test_a_missing_stream_is_an_error(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, _):
            with pytest.raises(CallLogError, match=r"CA1 could not be read in .*NobodyListens"):
                await call_log.read(bus, CALL, 100 * MS)

    async def test_a_server_that_is_gone_is_an_error(self, bus: Bus, nats_server: NatsServer) -> None:
        await write(bus, event(0))
        await nats_server.kill()

        with pytest.raises(CallLogError, match="NoAnswer"):
            await call_log.read(bus, CALL, 200 * MS)

    async def test_a_server_that_comes_back_in_time_is_asked_again(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        await write(bus, event(0))
        await nats_server.kill()
        reading = asyncio.create_task(call_log.read(bus, CALL, LIMIT_S))
        await nats_server.restart()

        assert await reading == [event(0)]

    async def test_a_server_that_goes_away_in_the_middle_leaves_no_hole(
        self, bus: Bus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(call_log, "PAGE_EVENTS_MAX", 3)
        written = [event(n) for n in range(10)]
        await write(bus, *written)
        async with Proxy.to(nats_server) as proxy, connected(proxy.url) as (reader, _):
            pages = PagesOf(reader, after_two=proxy.cut)
            reading = asyncio.create_task(call_log.read(pages, CALL, LIMIT_S))
            await pages.two_came.wait()
            proxy.mend()

            assert await reading == written

    async def test_a_page_with_a_hole_is_asked_for_again(self, bus: Bus) -> None:
        """As when the link breaks and comes back while the page is sent."""
        written = [event(n) for n in range(4)]
        await write(bus, *written)

        for lost in range(4):
            assert await call_log.read(LosesOne(bus, lost), CALL, LIMIT_S) == written


class PagesOf(Bus):
    """A bus that lets something happen when the second page has come."""

    def __init__(self, bus: Bus, after_two: Callable[[], None]) -> None:
        self.two_came = asyncio.Event()
        self._bus = bus
        self._after_two = after_two
        self._pages = 0

    async def request_page(
        self, subject: str, payload: bytes, timeout_s: float, is_last: Callable[[Msg], bool], answers_max: int
    ) -> list[Msg]:
        page = await self._bus.request_page(subject, payload, timeout_s, is_last, answers_max)
        self._pages += 1
        if self._pages == 2:
            self._after_two()
            self.two_came.set()
        return page


class LosesOne(Bus):
    """A bus that loses one message of the first page."""

    def __init__(self, bus: Bus, lost: int) -> None:
        self._bus = bus
        self._lost: int | None = lost

    async def request_page(
        self, subject: str, payload: bytes, timeout_s: float, is_last: Callable[[Msg], bool], answers_max: int
    ) -> list[Msg]:
        page = await self._bus.request_page(subject, payload, timeout_s, is_last, answers_max)
        if self._lost is not None:
            del page[self._lost]
            self._lost = None
        return page
