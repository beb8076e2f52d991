"""A link to NATS that is not there yet, breaks, falls silent, comes back, is refused and is closed."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import nats_operator
import pytest
import uvloop
from bus_bench import LIMIT_S, Inbox, Proxy, WatchedLife, at_once, connected, counted, echo
from infra import MS
from nats.aio.msg import Msg

from trunkline_common import link
from trunkline_common.bus import AUDIO_PENDING_BYTES_MAX, Bus, NoAnswerError, NobodyListensError
from trunkline_common.service import ServiceError
from trunkline_common.settings import CommonSettings
from trunkline_local.nats_server import NatsServer

OWNER = "call.v1.CA1.own"
HEARTBEAT = "rt.v1.hb.wk-1"
DOWN = "gw.v1.gw-1.c.CA1.dn"

Run = Callable[[Coroutine[Any, Any, None]], None]

on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
"""Services run on uvloop, whose sockets differ most when they break."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice a dead link after 0.3 s instead of 3 s, and give up after 0.2 s."""
    monkeypatch.setattr(link, "PING_INTERVAL_S", 100 * MS)
    monkeypatch.setattr(link, "CONFIRM_TIMEOUT_S", 200 * MS)
    monkeypatch.setattr(link, "CLOSE_TIMEOUT_S", 200 * MS)


async def fill(bus: Bus) -> None:
    """Send until the kernel's buffers and then ours are full; no single frame may wait for that."""
    for _ in range(10_000):
        if not at_once(bus.publish_audio(DOWN, bytes(AUDIO_PENDING_BYTES_MAX))):
            return
        await asyncio.sleep(0)
    raise AssertionError("it is never full")


class TestConnecting:
    async def test_waits_for_a_server_that_is_not_there_yet_and_says_so(
        self, nats_server: NatsServer
    ) -> None:
        async with Proxy.to(nats_server) as proxy:
            proxy.cut()
            life = WatchedLife()
            settings = CommonSettings(nats_url=proxy.url.replace("//", "//user:canary@"))
            connecting = asyncio.create_task(Bus.connect(settings, life))
            says = await life.until(lambda says: "empty response" in says)
            assert says.startswith(f"nats-control: no link to NATS at {proxy.url}: ")
            assert "canary" not in says

            proxy.mend()
            async with asyncio.timeout(LIMIT_S):
                bus = await connecting
            assert life.says == ""
            await bus.close()

    async def test_can_be_given_up(self, nats_server: NatsServer) -> None:
        """As when SIGTERM comes before NATS does."""
        await nats_server.kill()
        life = WatchedLife()
        connecting = asyncio.create_task(Bus.connect(CommonSettings(nats_url=nats_server.url), life))
        await life.until(lambda says: "Connect call failed" in says)

        connecting.cancel()

        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(asyncio.CancelledError):
                await connecting

    @on_both_loops
    @pytest.mark.parametrize("turns", range(20))
    def test_can_be_given_up_in_any_moment(self, run: Run, turns: int) -> None:
        """Also in the moment in which an attempt is refused, when Python 3.11 swallows the cancellation."""

        async def given_up_after_some_turns_of_the_loop() -> None:
            settings = CommonSettings(nats_url="nats://127.0.0.1:1")
            connecting = asyncio.create_task(Bus.connect(settings, WatchedLife()))
            for _ in range(turns):
                await asyncio.sleep(0)

            connecting.cancel()

            await asyncio.wait([connecting], timeout=LIMIT_S)
            assert connecting.cancelled()

        run(given_up_after_some_turns_of_the_loop())

    async def test_shows_services_and_connections_by_name(self, nats_server: NatsServer) -> None:
        async with (
            connected(nats_server.url),
            httpx.AsyncClient(base_url=nats_server.monitoring_url, trust_env=False, verify=False) as client,
        ):
            found = (await client.get("/connz")).json()["connections"]

        assert sorted(connection["name"] for connection in found) == ["test-audio", "test-control"]

    async def test_with_wrong_credentials_is_an_error_with_a_hint(self, tmp_path: Path) -> None:
        settings = "authorization: { user: bus, password: open }"
        async with NatsServer.start(tmp_path, extra_settings=settings) as server:
            async with connected(server.url.replace("//", "//bus:open@")) as (bus, _):
                await bus.subscribe("echo", echo)
            for url in (server.url, server.url.replace("//", "//bus:canary@")):
                with pytest.raises(ServiceError, match=r"refuses our credentials.*NATS_CREDS") as refusal:
                    await Bus.connect(CommonSettings(nats_url=url), WatchedLife())
                assert "canary" not in str(refusal.value)

    async def test_with_a_credentials_file(self, tmp_path: Path) -> None:
        user, path = nats_operator.User.new(), tmp_path / "nats.creds"

        async def connect_with(credentials: str) -> None:
            path.write_text(credentials)
            async with connected(server.url, nats_creds=str(path)) as (bus, _):
                await bus.subscribe("echo", echo)

        async with NatsServer.start(tmp_path / "nats", extra_settings=user.server_settings) as server:
            await connect_with(user.credentials)
            with pytest.raises(ServiceError, match="seed in the file named by NATS_CREDS") as refusal:
                await connect_with(user.credentials.replace(user.seed, "SUCANARY"))
            assert "CANARY" not in str(refusal.value)
            with pytest.raises(ServiceError, match="refuses our credentials"):
                await connect_with(nats_operator.User.new().credentials)


class TestWithoutALink:
    async def test_audio_is_dropped_at_once_and_counted(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, life):
            before = counted("trunkline_bus_frames_dropped_total")
            await nats_server.kill()
            await life.until_down()

            assert not at_once(bus.publish_audio(DOWN, b"frame"))
            assert counted("trunkline_bus_frames_dropped_total") == before + 1

    async def test_control_beyond_the_buffer_is_dropped_and_counted(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, life):
            await nats_server.kill()
            await life.until_down()
            before = counted("trunkline_bus_messages_dropped_total")

            for _ in range(3):
                await bus.publish(HEARTBEAT, bytes(1024 * 1024 - 100))

            assert counted("trunkline_bus_messages_dropped_total") == before + 1

    async def test_a_subscription_is_refused_and_does_not_come_back_with_the_link(
        self, nats_server: NatsServer
    ) -> None:
        async with connected(nats_server.url) as (bus, life):
            await nats_server.kill()
            await life.until_down()

            with pytest.raises(NoAnswerError, match="did not confirm"):
                await bus.subscribe(OWNER, echo)
            await nats_server.restart()
            await life.until_ready()

            with pytest.raises(NobodyListensError):
                await bus.request(OWNER, b"who", LIMIT_S)

    async def test_the_end_of_a_subscription_is_kept_too(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, life):
            subscription = await bus.subscribe(OWNER, echo)
            await nats_server.kill()
            await life.until_down()

            await subscription.end()
            await nats_server.restart()
            await life.until_ready()

            with pytest.raises(NobodyListensError):
                await bus.request(OWNER, b"who", LIMIT_S)

    async def test_a_request_that_could_not_leave_in_time_never_arrives(
        self, nats_server: NatsServer
    ) -> None:
        seen: list[bytes] = []

        async def take(message: Msg) -> None:
            seen.append(message.data)
            await message.respond(b"taken")

        async with (
            connected(nats_server.url) as (worker, _),
            Proxy.to(nats_server) as proxy,
            connected(proxy.url) as (gateway, life),
        ):
            await worker.subscribe("rt.v1.assign.local", take)
            proxy.cut()
            await life.until_down()
            with pytest.raises(NoAnswerError):
                await gateway.request("rt.v1.assign.local", b"first", timeout_s=50 * MS)
            proxy.mend()

            # Asked without a link as well, but this one has the time.
            assert await gateway.request("rt.v1.assign.local", b"second", LIMIT_S) == b"taken"

        assert seen == [b"second"]

    @on_both_loops
    def test_closing_is_prompt_and_fails_nobody(self, nats_server: NatsServer, run: Run) -> None:
        async def scenario() -> None:
            async with connected(nats_server.url) as (bus, life):
                await bus.subscribe("echo", echo)
                await nats_server.kill()
                await life.until_down()
                await bus.publish(HEARTBEAT, b"never sent")

                await closed_without_failure(bus, life)

        run(scenario())


class TestAfterARestart:
    @on_both_loops
    def test_everything_works_again(self, nats_server: NatsServer, run: Run) -> None:
        async def scenario() -> None:
            async with connected(nats_server.url) as (bus, life):
                inbox = Inbox()
                await bus.subscribe(HEARTBEAT, inbox.take)
                await bus.subscribe_audio(DOWN, inbox.take)

                await nats_server.kill()
                says = await life.until_down()
                assert f"no link to NATS at {nats_server.url}" in says
                await bus.publish(HEARTBEAT, b"sent without a link")
                await nats_server.restart()
                await life.until_ready()

                await inbox.has(b"sent without a link")
                assert await bus.publish_audio(DOWN, b"frame")
                await inbox.has(b"frame")
                assert bus.reconnects == 1

        run(scenario())


class TestALinkThatFallsSilent:
    @on_both_loops
    def test_is_replaced_and_never_waited_for(self, nats_server: NatsServer, run: Run) -> None:
        async def scenario() -> None:
            async with Proxy.to(nats_server) as proxy, connected(proxy.url) as (bus, life):
                inbox = Inbox()
                await bus.subscribe_audio(DOWN, inbox.take)
                dropped = counted("trunkline_bus_frames_dropped_total")

                proxy.silence()
                await fill(bus)
                assert counted("trunkline_bus_frames_dropped_total") == dropped + 1
                await life.until(lambda says: "nats-audio" in says)
                await life.until_ready()

                assert await bus.publish_audio(DOWN, b"fresh")
                await inbox.has(b"fresh")

        run(scenario())

    @on_both_loops
    def test_is_closed_all_the_same(
        self, nats_server: NatsServer, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # So that closing meets it before the pings do.
        monkeypatch.setattr(link, "PING_INTERVAL_S", 60)

        async def scenario() -> None:
            async with Proxy.to(nats_server) as proxy, connected(proxy.url) as (bus, life):
                proxy.silence()
                await fill(bus)

                await closed_without_failure(bus, life)

        run(scenario())


class TestSubscribing:
    async def test_is_confirmed_by_a_ping_that_follows_it(self, nats_server: NatsServer) -> None:
        """nats-py's first PING overtakes the SUB, and proves nothing."""
        async with Proxy.to(nats_server) as proxy, connected(proxy.url) as (bus, _):
            await bus.subscribe(OWNER, echo)

            assert proxy.sent.rindex(b"PING\r\n") > proxy.sent.index(f"SUB {OWNER}".encode())

    async def test_can_be_cancelled_without_harm_to_others(
        self, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """nats-py's read loop ended when the answer came, and nothing was received until the pings noticed."""
        monkeypatch.setattr(link, "PING_INTERVAL_S", 60)
        async with connected(nats_server.url) as (bus, _):
            await bus.subscribe("echo", echo)
            subscribing = asyncio.create_task(bus.subscribe(OWNER, echo))
            await asyncio.sleep(0)
            subscribing.cancel()
            await asyncio.gather(subscribing, return_exceptions=True)

            assert await bus.request("echo", b"still here", LIMIT_S) == b"still here"


class TestTheEnd:
    async def test_a_connection_that_nats_closes_for_good_ends_the_process(self, tmp_path: Path) -> None:
        async with (
            NatsServer.start(tmp_path, extra_settings="max_subscriptions: 2") as server,
            connected(server.url) as (bus, life),
        ):
            for number in range(3):
                with contextlib.suppress(NoAnswerError):
                    await bus.subscribe(f"subject.{number}", echo)

            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(
                    ServiceError, match=r"closed the control connection for good: .*maximum subscriptions"
                ):
                    await life.failed()

    async def test_closing_sends_what_is_pending_and_fails_nobody(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (receiver, _), connected(nats_server.url) as (bus, life):
            inbox = Inbox()
            await receiver.subscribe(">", inbox.take)
            await bus.publish(HEARTBEAT, b"control")
            await bus.publish_audio(DOWN, b"audio")

            await closed_without_failure(bus, life)

            await inbox.has(b"control")
            await inbox.has(b"audio")

    async def test_afterwards_everything_is_dropped(self, nats_server: NatsServer) -> None:
        async with connected(nats_server.url) as (bus, _):
            await bus.close()

            assert not at_once(bus.publish_audio(DOWN, b"frame"))
            await bus.publish(HEARTBEAT, b"late")
            with pytest.raises(NoAnswerError):
                await bus.request(OWNER, b"who", timeout_s=50 * MS)


async def closed_without_failure(bus: Bus, life: WatchedLife) -> None:
    failed = asyncio.create_task(life.failed())
    async with asyncio.timeout(LIMIT_S):
        await bus.close()
    await asyncio.sleep(0)
    assert not failed.done()
    failed.cancel()
