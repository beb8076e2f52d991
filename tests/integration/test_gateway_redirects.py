"""A gateway that is asked to have Twilio attach a call again: real gateway and NATS, the simulated Twilio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_driver import ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL, Gateway, new_call_id
from nats.errors import NoRespondersError
from played_worker import LIMIT_S, Worker
from simulated_calls import HANGS_UP, TONE

from trunkline_common.frames import Fence, FrameKind
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import free_port
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

WAITS = Conversation("says nothing", HANGS_UP.steps, patience_ms=20_000)


class Scene:
    """A gateway with a worker, and Twilio on its other side."""

    def __init__(self, gateway: Gateway, worker: Worker, twilio: RestServer) -> None:
        self.gateway, self.worker, self.twilio = gateway, worker, twilio

    @asynccontextmanager
    async def call(self, **settings: Any) -> AsyncIterator[tuple[str, "asyncio.Task[CallResult]"]]:
        """Have somebody call, wait for the first stream, and yield its call id."""
        placed = replace(self.twilio.settings.call, **settings)
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(self.twilio.place_inbound(placed))
            await self.worker.frame(FrameKind.AUDIO)
            assigned = self.worker.assigned[-1]
            yield assigned.call_id, calling

    async def redirects(self, result: str) -> float:
        return await self.gateway.metric("trunkline_gateway_redirects_total", result=result)


@pytest.fixture
async def scene(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    api_port = free_port()
    api_url = f"http://127.0.0.1:{api_port}"
    async with (
        Gateway.start(nats_server.url, tmp_path, TWILIO_API_URL=api_url) as gateway,
        Worker.start(nats_server.url) as worker,
    ):
        call = CallSettings(
            webhook=f"{PUBLIC_URL}/voice",
            auth_token=AUTH_TOKEN,
            account_sid=ACCOUNT_SID,
            conversation=WAITS,
            connect_to=ConnectTo("calls.example.com", "127.0.0.1", gateway.port),
        )
        settings = RestSettings(Account(ACCOUNT_SID, AUTH_TOKEN, {}), call, port=api_port)
        async with RestServer(settings).running() as twilio:
            yield Scene(gateway, worker, twilio)


async def test_a_call_that_lost_its_stream_is_attached_again_once(scene: Scene) -> None:
    async with scene.call() as (call_id, calling):
        assert await scene.worker.ask_for_redirect(call_id, attach=2)
        while (await scene.worker.frame(FrameKind.AUDIO)).fence != Fence(2, 1):
            continue
        # As a gateway does that was stopped for a while and finds the request waiting.
        assert await scene.worker.ask_for_redirect(call_id, attach=2)
        await scene.gateway.wait_for_metric(1, "trunkline_gateway_redirects_total", result="not-needed")
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)
        result = await calling

    assert [each.fence.attach for each in scene.worker.attached] == [1, 2]
    assert (result.attaches, result.end_reason) == (2, "caller-hung-up")
    assert await scene.redirects("redirected") == 1


async def test_detours_do_not_count_as_lost_streams(scene: Scene) -> None:
    async with scene.call() as (call_id, calling):
        # Its fence stands for that: seven streams, of which six ended for a detour.
        scene.worker.fences[call_id] = Fence(7, 1)
        assert await scene.worker.ask_for_redirect(call_id, attach=8, detours=6)
        while (await scene.worker.frame(FrameKind.AUDIO)).fence != Fence(8, 1):
            continue
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)
        result = await calling

    assert result.attaches == 2
    assert not result.said, "no fallback"


async def test_the_worker_hears_that_a_call_is_over_at_twilio(scene: Scene) -> None:
    async with scene.call() as (call_id, calling):
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)
        await calling

        assert await scene.worker.ask_for_redirect(call_id, attach=2)

        assert await scene.worker.over.get() == call_id
    assert await scene.redirects("over") == 1


async def test_twilio_is_not_asked_about_a_call_that_nobody_owns(scene: Scene) -> None:
    assert await scene.worker.ask_for_redirect(new_call_id(), attach=2)

    await scene.gateway.wait_for_metric(1, "trunkline_gateway_redirects_total", result="not-needed")


async def test_a_worker_that_does_not_own_the_call_any_more_is_not_heard(scene: Scene) -> None:
    async with scene.call() as (call_id, calling):
        assert await scene.worker.ask_for_redirect(call_id, attach=2, worker="wk-before")
        await scene.gateway.wait_for_metric(1, "trunkline_gateway_redirects_total", result="not-needed")
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)
        result = await calling

    assert result.attaches == 1


async def test_a_failing_twilio_is_asked_once(scene: Scene) -> None:
    async with scene.call() as (call_id, calling):
        scene.twilio.fault = "unavailable"
        assert await scene.worker.ask_for_redirect(call_id, attach=2)
        await scene.gateway.wait_for_metric(1, "trunkline_gateway_redirects_total", result="failed")
        scene.twilio.fault = "none"
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)
        result = await calling

    assert result.attaches == 1


async def test_a_gateway_answers_pings(scene: Scene) -> None:
    async with scene.call() as (call_id, _):
        (attached,) = scene.worker.attached
        assert await scene.worker.ping(attached.gateway) == b""
        await scene.worker.send(call_id, FrameKind.AUDIO, TONE)


async def test_without_an_account_a_gateway_says_so_and_takes_no_request(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path, TWILIO_ACCOUNT_SID="") as gateway,
        Worker.start(nats_server.url) as worker,
    ):
        await gateway.process.wait_for_line("redirects-off")
        with pytest.raises(NoRespondersError):
            await worker.ask_for_redirect(new_call_id(), attach=2)
