"""A worker whose gateway dies, comes back, or is asked to bring a call back: the test plays the gateways."""

import asyncio
from pathlib import Path

import pytest
from integration.test_worker import CALL, LIMIT_S, Gateway, gateway, worker_process
from nats.aio.msg import Msg

from trunkline_common import call_events, control, subjects
from trunkline_common.control import OwnerReply, OwnerRequest, Redirect, RedirectReply
from trunkline_common.frames import Frame, FrameKind
from trunkline_local.nats_server import NatsServer

__all__ = ["gateway"]

SILENCE = b"\xff" * 160


@pytest.fixture
async def redirects(gateway: Gateway) -> "asyncio.Queue[Redirect]":
    """What the worker asks the gateways for; each request is taken."""
    asked: asyncio.Queue[Redirect] = asyncio.Queue()

    async def on_request(message: Msg) -> None:
        asked.put_nowait(control.decode(message.data, Redirect))
        await message.respond(control.encode(RedirectReply(ok=True)))

    await gateway.client.subscribe(subjects.REDIRECT, subjects.REDIRECT_QUEUE, cb=on_request)
    await gateway.client.flush()
    return asked


async def attached(gateway: Gateway) -> OwnerReply:
    """Bring a call to the point where its agent speaks."""
    reply = await gateway.attach((await gateway.offer()).worker)
    await gateway.next_frame(FrameKind.AUDIO)
    return reply


async def test_a_call_whose_gateway_is_gone_is_asked_back_and_goes_on(
    nats_server: NatsServer, gateway: Gateway, redirects: "asyncio.Queue[Redirect]", tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path), asyncio.timeout(LIMIT_S):
        call = await attached(gateway)
        await gateway.disappear()
        redirect = await redirects.get()
        again = await gateway.attach(call.worker, attach=redirect.attach)
        said_again = await gateway.next_frame(FrameKind.AUDIO)
        while said_again.fence != again.fence:
            said_again = await gateway.next_frame(FrameKind.AUDIO)

    assert (redirect.call_id, redirect.attach, redirect.started_at_ms) == (CALL, 2, 1_000)
    assert said_again.generation > 0


async def test_a_call_that_is_over_at_twilio_ends_at_once(
    nats_server: NatsServer, gateway: Gateway, redirects: "asyncio.Queue[Redirect]", tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path), asyncio.timeout(LIMIT_S):
        await attached(gateway)
        await gateway.disappear()
        await redirects.get()
        await gateway.client.publish(subjects.owner(CALL), control.encode(OwnerRequest(op="over")))
        ended = await gateway.next_event(call_events.CallEnded)

    assert isinstance(ended, call_events.CallEnded)
    assert ended.reason == "stream-lost"


async def test_a_gateway_that_comes_back_goes_on_with_its_stream(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with worker_process(nats_server, tmp_path) as worker, asyncio.timeout(LIMIT_S):
        call = await attached(gateway)
        await gateway.disappear()
        await worker.wait_for_line("gateway-lost")
        await gateway.send(call.worker, Frame(FrameKind.AUDIO, call.fence, 0, 0, 0, SILENCE))
        # It was only slow; of the greeting nothing had come to Twilio.
        await gateway.send(call.worker, Frame(FrameKind.RESUME, call.fence, 1, 0, 0, b""))
        resumed = await gateway.next_frame(FrameKind.RESUME)
        said_again = await gateway.next_frame(FrameKind.AUDIO)

    assert resumed.payload == b"1"
    assert (said_again.fence, said_again.generation) == (call.fence, 0)


async def test_a_line_that_is_silent_is_not_lost_while_its_gateway_answers(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    pinged = asyncio.Semaphore(0)

    async def on_ping(_message: Msg) -> None:
        pinged.release()

    async with worker_process(nats_server, tmp_path), asyncio.timeout(LIMIT_S):
        await attached(gateway)
        # Beside the played gateway, which answers.
        await gateway.client.subscribe(subjects.gateway_ping(gateway.name), cb=on_ping)
        for _ in range(8):
            await pinged.acquire()
        while not gateway.frames.empty():
            assert gateway.frames.get_nowait().kind != FrameKind.CLEAR
