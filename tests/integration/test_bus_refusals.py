"""What becomes of events when JetStream has no room, and of a process whose connection the server refuses."""

import asyncio
import signal
from pathlib import Path

import pytest
from bus_bench import LIMIT_S, Inbox, at_once, connected, counted, echo
from bus_talk import CALL, DOWN, Listener, Speaker, event, writing
from infra import MS
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, StreamConfig

from trunkline_common.bus import Bus
from trunkline_common.frames import LATE_MS_MAX
from trunkline_common.service import ServiceError
from trunkline_local.nats_server import NatsServer
from trunkline_worker import call_log, event_log

OWNER = "call.v1.CA1.own"
EVENTS = [event(n) for n in range(60)]
SMALL = StreamConfig(
    name="EV", subjects=["ev.v1.>"], discard=DiscardPolicy.NEW, max_bytes=4096, allow_direct=True
)
NO_LIMIT = StreamConfig(name="EV", subjects=["ev.v1.>"], discard=DiscardPolicy.NEW, allow_direct=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "RETRY_MAX_S", 100 * MS)


async def until_refused(bus: Bus) -> None:
    """Wait until an event was refused, and see that all else goes on as before."""
    before = counted("trunkline_worker_events_retried_total")
    async with asyncio.timeout(LIMIT_S):
        while counted("trunkline_worker_events_retried_total") < before + 3:
            assert await bus.request(OWNER, b"who", LIMIT_S) == b"who"
    inbox = Inbox()
    await bus.subscribe_audio(DOWN, inbox.take)
    assert at_once(bus.publish_audio(DOWN, b"frame"))
    await inbox.has(b"frame")


class TestWithoutRoom:
    async def test_in_the_stream_events_wait_until_there_is(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, _), writing(bus) as log:
            await bus.jetstream.add_stream(SMALL)
            await bus.subscribe(OWNER, echo)
            for envelope in EVENTS:
                log.append(envelope)
            await until_refused(bus)

            await bus.jetstream.update_stream(SMALL.evolve(max_bytes=2**20))

            assert await log.drained(LIMIT_S)
            assert await call_log.read(bus, CALL, LIMIT_S) == EVENTS

    async def test_in_the_servers_store_events_wait_until_there_is(self, tmp_path: Path) -> None:
        store = f'jetstream: {{ store_dir: "{tmp_path}", max_file_store: 8192 }}'
        async with (
            NatsServer.start(tmp_path / "nats", extra_settings=store) as server,
            connected(server.url) as (bus, _),
            writing(bus) as log,
        ):
            await bus.jetstream.add_stream(NO_LIMIT)
            await bus.subscribe(OWNER, echo)
            for envelope in EVENTS:
                log.append(envelope)
            await until_refused(bus)
            stored = await call_log.read(bus, CALL, LIMIT_S)
            assert 0 < len(stored) < len(EVENTS)

            await bus.jetstream.purge_stream("EV")

            assert await log.drained(LIMIT_S)
            assert stored + await call_log.read(bus, CALL, LIMIT_S) == EVENTS

    async def test_for_the_stream_itself_the_reason_is_told(self, tmp_path: Path) -> None:
        store = f'jetstream: {{ store_dir: "{tmp_path}", max_file_store: 8192 }}'
        async with (
            NatsServer.start(tmp_path / "nats", extra_settings=store) as server,
            connected(server.url) as (bus, _),
        ):
            with pytest.raises(
                ServiceError, match="cannot create the JetStream stream EV: insufficient storage"
            ):
                await bus.ensure_event_stream()


class TestAReceiverThatIsStuck:
    async def test_drops_what_became_too_old_meanwhile_and_goes_on(self, nats_server: NatsServer) -> None:
        released = asyncio.Event()

        class Stuck(Listener):
            async def take(self, message: Msg) -> None:
                await super().take(message)
                await released.wait()

        async with connected(nats_server.url) as (bus, _), Speaker.on(bus) as speaker:
            listener = await Stuck.on(bus)
            await listener.until(lambda listener: bool(listener.heard))
            await speaker.lasts(LATE_MS_MAX + 300)

            released.set()

            await listener.hears(speaker)
        assert listener.late
        assert listener.heard[-1] > listener.late[-1]


class TestRefusedByTheServer:
    async def test_for_revoked_credentials_the_process_says_so_or_ends(self, tmp_path: Path) -> None:
        """nats-py ends the connection for good when it reads the server's word before the end of the socket."""
        settings = "authorization: { user: bus, password: open }"
        async with (
            NatsServer.start(tmp_path, extra_settings=settings) as server,
            connected(server.url.replace("//", "//bus:open@")) as (bus, life),
        ):
            failed = asyncio.create_task(life.failed())
            await reload(server, tmp_path, "password: open", "password: other")

            said = asyncio.create_task(life.until(lambda says: "Authorization Violation" in says))
            await asyncio.wait([failed, said], timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)

            assert said.done() or "Authorization" in str(failed.exception())
            said.cancel()
            failed.cancel()
            await asyncio.wait([said, failed])
            assert not at_once(bus.publish_audio(DOWN, b"frame"))

    async def test_for_a_message_larger_than_it_takes_the_process_ends(self, tmp_path: Path) -> None:
        """As when an operator lowers the limit: the server closes, and would again on the next such message."""
        async with (
            NatsServer.start(tmp_path, extra_settings="max_payload: 1MB") as server,
            connected(server.url) as (bus, life),
        ):
            await reload(server, tmp_path, "max_payload: 1MB", "max_payload: 1KB")
            failed = asyncio.create_task(life.failed())
            async with asyncio.timeout(LIMIT_S):
                while not failed.done():
                    await bus.publish("subject", bytes(10_000))
                    await asyncio.wait([failed], timeout=10 * MS)

            with pytest.raises(
                ServiceError, match=r"closed the control connection for good: .*maximum payload"
            ):
                await failed

    async def test_what_is_larger_than_it_ever_took_is_dropped_and_counted(self, tmp_path: Path) -> None:
        async with (
            NatsServer.start(tmp_path, extra_settings="max_payload: 1KB") as server,
            connected(server.url) as (bus, _),
        ):
            messages = counted("trunkline_bus_messages_dropped_total")
            frames = counted("trunkline_bus_frames_dropped_total")

            await bus.publish("subject", bytes(10_000))
            assert not at_once(bus.publish_audio(DOWN, bytes(10_000)))

            assert counted("trunkline_bus_messages_dropped_total") == messages + 1
            assert counted("trunkline_bus_frames_dropped_total") == frames + 1
            assert bus.is_connected

    async def test_for_permissions_that_were_taken_away_it_is_told_and_counted(self, tmp_path: Path) -> None:
        settings = "authorization: { users: [{ user: bus, password: open }] }"
        async with (
            NatsServer.start(tmp_path, extra_settings=settings) as server,
            connected(server.url.replace("//", "//bus:open@")) as (bus, _),
        ):
            before = counted("trunkline_bus_errors_total", connection="control")
            await reload(
                server, tmp_path, "password: open", 'password: open, permissions: { publish: "none" }'
            )

            async with asyncio.timeout(LIMIT_S):
                while counted("trunkline_bus_errors_total", connection="control") == before:
                    await bus.publish("subject", b"message")
                    await asyncio.sleep(0)


async def reload(server: NatsServer, folder: Path, old: str, new: str) -> None:
    path = folder / "nats-server.conf"
    path.write_text(path.read_text().replace(old, new))
    server.send_signal(signal.SIGHUP)
