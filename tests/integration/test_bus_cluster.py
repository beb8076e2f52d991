"""What becomes of audio, of control messages and of events when servers of a NATS cluster fail.

The servers fail for real and in real time: a client needs milliseconds to find another one, JetStream 4 to 9 s to
elect another leader.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from bus_bench import LIMIT_S, Inbox, connected, echo
from bus_talk import CALL, OUTAGE_LIMIT_S, Listener, Speaker, event, writing
from infra import MS

from trunkline_common import link
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.frames import LATE_MS_MAX
from trunkline_local.nats_server import NatsCluster, NatsServer
from trunkline_worker import call_log

OWNER = "call.v1.CA1.own"

Ends = tuple[Bus, Bus]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice a dead link after 0.3 s instead of 3 s."""
    monkeypatch.setattr(link, "PING_INTERVAL_S", 100 * MS)


@pytest.fixture
async def ends(nats_cluster: NatsCluster) -> AsyncIterator[Ends]:
    """Two processes, the first at server 0, the second at server 1; they learn of the others from these."""
    async with (
        connected(nats_cluster.servers[0].url) as (first, _),
        connected(nats_cluster.servers[1].url) as (second, _),
    ):
        yield first, second


async def leader(bus: Bus, cluster: NatsCluster) -> int:
    """Make the event stream, on all three, and return which server leads it."""
    await bus.ensure_event_stream(replicas=3)
    found = (await bus.jetstream.stream_info("EV")).cluster
    assert found is not None
    assert found.leader is not None
    return cluster.number_of(found.leader)


async def ask_until_answered(bus: Bus, question: bytes) -> bytes:
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(NoAnswerError, NobodyListensError):
                return await bus.request(OWNER, question, timeout_s=100 * MS)
            await asyncio.sleep(0)


class TestTheCluster:
    async def test_a_stream_waits_for_the_servers_that_are_to_keep_it(self, tmp_path: Path) -> None:
        """As when a whole cluster starts: it may be asked before all of it are there."""
        async with NatsCluster.start(tmp_path, size=2) as cluster, connected(cluster.url) as (bus, life):
            ensuring = asyncio.create_task(bus.ensure_event_stream(replicas=3))

            says = await life.until(lambda says: "jetstream" in says)

            assert "no suitable peers" in says
            ensuring.cancel()
            await asyncio.wait([ensuring])


class TestAServerThatIsKilled:
    @pytest.mark.parametrize("whose", [0, 1], ids=["speaker's", "listener's"])
    async def test_is_replaced_and_audio_flows_again(
        self, nats_cluster: NatsCluster, ends: Ends, whose: int
    ) -> None:
        listener = await Listener.on(ends[1])
        async with Speaker.on(ends[0]) as speaker:
            await listener.hears(speaker)

            await nats_cluster.kill(whose)

            await listener.hears(speaker)
        assert listener.late == listener.repeated == []

    async def test_swallows_no_question_that_is_asked_again(
        self, nats_cluster: NatsCluster, ends: Ends
    ) -> None:
        inbox = Inbox()
        await ends[1].subscribe("rt.v1.w.wk-1.ping", inbox.take)
        await ends[1].subscribe(OWNER, echo)
        await ask_until_answered(ends[0], b"the routes know of it")
        killing = asyncio.create_task(nats_cluster.kill(0))

        answers = [await ask_until_answered(ends[0], b"%d" % number) for number in range(300)]

        await killing
        assert answers == [b"%d" % number for number in range(300)]

    async def test_takes_no_event_with_it_and_another_one_leads(self, nats_cluster: NatsCluster) -> None:
        async with connected(nats_cluster.url) as (other, _):
            led_by = await leader(other, nats_cluster)
            async with (
                connected(nats_cluster.servers[led_by].url) as (worker, _),
                writing(worker) as log,
            ):
                for n in range(100):
                    log.append(event(n))
                assert await log.drained(LIMIT_S)
                for n in range(100, 200):
                    log.append(event(n))
                await nats_cluster.kill(led_by)

                # While there is no leader, the log can be read: what was acknowledged is there.
                assert len(await call_log.read(other, CALL, LIMIT_S)) >= 100
                assert await log.drained(OUTAGE_LIMIT_S)
            assert await call_log.read(other, CALL, LIMIT_S) == [event(n) for n in range(200)]


class TestAServerThatIsStoppedInOrder:
    async def test_hands_its_clients_and_its_streams_over(self, nats_cluster: NatsCluster) -> None:
        """As when a cluster is upgraded, server by server: no process of ours may end because of it."""
        async with connected(nats_cluster.url) as (other, _):
            led_by = await leader(other, nats_cluster)
            listener = await Listener.on(other)
            async with (
                connected(nats_cluster.servers[led_by].url) as (worker, life),
                Speaker.on(worker) as speaker,
                writing(worker) as log,
            ):
                failed = asyncio.create_task(life.failed())
                await listener.hears(speaker)
                stopping = asyncio.create_task(nats_cluster.servers[led_by].stop())
                for n in range(100):
                    log.append(event(n))
                await stopping

                await listener.hears(speaker)
                assert await log.drained(OUTAGE_LIMIT_S)
                assert not failed.done()
                failed.cancel()
            assert await call_log.read(other, CALL, LIMIT_S) == [event(n) for n in range(100)]


class TestAServerThatHangs:
    async def test_for_longer_than_the_pings_allow_is_left_and_what_it_swallowed_is_never_heard(
        self, nats_cluster: NatsCluster, ends: Ends
    ) -> None:
        """What it swallowed arrives behind frames that went another way, and may be too young to be dropped by age."""
        listener = await Listener.on(ends[1])
        told = asyncio.Queue[bool]()
        ends[0].on_audio_link(told.put_nowait)
        async with Speaker.on(ends[0]) as speaker:
            await listener.hears(speaker)

            nats_cluster.send_signal(0, signal.SIGSTOP)
            async with asyncio.timeout(OUTAGE_LIMIT_S):
                assert [await told.get(), await told.get()] == [False, True]
            await listener.hears(speaker)
            nats_cluster.send_signal(0, signal.SIGCONT)

            await nats_cluster.until_whole()
            await listener.hears(speaker)
        assert listener.heard == sorted(set(listener.heard))
        assert max(after - before for before, after in pairwise(listener.heard)) > 10

    async def test_for_a_shorter_time_hands_on_what_it_swallowed_and_what_is_too_old_is_dropped(
        self, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link, "PING_INTERVAL_S", 60)
        async with connected(nats_server.url) as (bus, _), Speaker.on(bus) as speaker:
            listener = await Listener.on(bus)
            await listener.hears(speaker)

            nats_server.send_signal(signal.SIGSTOP)
            first_swallowed = speaker.next_seq
            await speaker.lasts(LATE_MS_MAX + 300)
            nats_server.send_signal(signal.SIGCONT)

            await listener.hears(speaker)
        assert listener.late[0] in range(first_swallowed - 5, first_swallowed + 5)
        assert listener.late == list(range(listener.late[0], listener.late[-1] + 1))
        assert listener.heard[-1] > listener.late[-1]

    async def test_loses_no_event_and_stores_none_twice(self, nats_cluster: NatsCluster) -> None:
        async with connected(nats_cluster.url) as (other, _):
            led_by = await leader(other, nats_cluster)
            async with (
                connected(nats_cluster.servers[led_by].url) as (worker, _),
                writing(worker) as log,
            ):
                for n in range(50):
                    log.append(event(n))
                assert await log.drained(LIMIT_S)
                nats_cluster.send_signal(led_by, signal.SIGSTOP)
                for n in range(50, 100):
                    log.append(event(n))
                assert await log.drained(OUTAGE_LIMIT_S)

                # It still believes that it leads.
                nats_cluster.send_signal(led_by, signal.SIGCONT)
                for n in range(100, 150):
                    log.append(event(n))
                assert await log.drained(OUTAGE_LIMIT_S)
            await nats_cluster.until_whole()

            for server in nats_cluster.servers:
                async with connected(server.url) as (reader, _):
                    assert await call_log.read(reader, CALL, LIMIT_S) == [event(n) for n in range(150)]


class TestAllServersDown:
    async def test_nothing_old_is_said_and_no_event_is_lost(
        self, nats_cluster: NatsCluster, ends: Ends
    ) -> None:
        await leader(ends[0], nats_cluster)
        listener = await Listener.on(ends[1])
        told: list[bool] = []
        ends[0].on_audio_link(told.append)
        async with Speaker.on(ends[0]) as speaker, writing(ends[0]) as log:
            await listener.hears(speaker)

            await asyncio.gather(*(nats_cluster.kill(number) for number in range(3)))
            for n in range(100):
                log.append(event(n))
            await speaker.lasts(1000)
            await nats_cluster.restart(0, 1, 2)

            await listener.hears(speaker)
            assert await log.drained(OUTAGE_LIMIT_S)
        assert speaker.refused
        assert set(listener.heard).isdisjoint(speaker.refused)
        assert listener.late == []
        assert told == [False, True]
        assert await call_log.read(ends[1], CALL, LIMIT_S) == [event(n) for n in range(100)]
