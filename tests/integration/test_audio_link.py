"""How a process learns that its audio link broke and that it is back."""

import asyncio

import pytest
from bus_bench import Inbox, at_once, connected, counted
from conftest import ErrorLogs
from infra import MS

from trunkline_common import link
from trunkline_local.nats_server import NatsServer

DOWN = "gw.v1.gw-1.c.CA1.dn"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice a dead link after 0.3 s instead of 3 s."""
    monkeypatch.setattr(link, "PING_INTERVAL_S", 100 * MS)


async def test_whoever_watches_the_audio_link_is_told_once_that_it_broke_and_once_that_it_is_back(
    nats_server: NatsServer,
) -> None:
    async with connected(nats_server.url) as (bus, life):
        told: list[bool] = []
        bus.on_audio_link(told.append)
        for _ in range(2):
            await nats_server.kill()
            await life.until_down()
            await nats_server.restart()
            await life.until_ready()

    assert told == [False, True, False, True]


async def test_true_means_that_messages_flow_again(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as (bus, life):
        inbox, sent = Inbox(), asyncio.Queue[bool]()

        def send(is_up: bool) -> None:
            if is_up:
                sent.put_nowait(at_once(bus.publish_audio(DOWN, b"held back")))

        await bus.subscribe_audio(DOWN, inbox.take)
        bus.on_audio_link(send)
        await nats_server.kill()
        await life.until_down()
        await nats_server.restart()

        assert await sent.get()
        await inbox.has(b"held back")


async def test_a_callback_may_fail_without_harm_to_the_link(
    nats_server: NatsServer, error_logs: ErrorLogs
) -> None:
    error_logs.expect("bus-handler-failed")
    before = counted("trunkline_bus_handler_errors_total", connection="audio")

    def fail(is_up: bool) -> None:
        raise ValueError(is_up)

    async with connected(nats_server.url) as (bus, life):
        inbox, told = Inbox(), list[bool]()
        await bus.subscribe_audio(DOWN, inbox.take)
        bus.on_audio_link(fail)
        bus.on_audio_link(told.append)
        await nats_server.kill()
        await life.until_down()
        await nats_server.restart()
        await life.until_ready()

        await bus.publish_audio(DOWN, b"frame")
        await inbox.has(b"frame")
        assert told == [False, True]
        assert counted("trunkline_bus_handler_errors_total", connection="audio") == before + 2
