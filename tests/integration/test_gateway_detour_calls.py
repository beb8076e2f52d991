"""Whole calls that leave their stream for a while: the simulated Twilio, a real gateway, a played worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway_driver import ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL, Gateway
from played_worker import LIMIT_S, Worker

from trunkline_common import control
from trunkline_common.control import HangUp, NextStep, Transfer
from trunkline_common.frames import Fence, FrameKind
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

pytest_plugins = ["gateway_fixtures"]

LISTENS = Conversation("listens until it is hung up on", (), patience_ms=60_000)
COLLEAGUE = Transfer(number="+12025550177", timeout_s=1)


@asynccontextmanager
async def calling(gateway: Gateway, callee: Callee) -> AsyncIterator[asyncio.Task[CallResult]]:
    settings = CallSettings(
        webhook=f"{PUBLIC_URL}/voice",
        auth_token=AUTH_TOKEN,
        account_sid=ACCOUNT_SID,
        conversation=LISTENS,
        connect_to=ConnectTo("calls.example.com", "127.0.0.1", gateway.port),
        callee=callee,
        word_ms=0,
    )
    async with asyncio.timeout(LIMIT_S * 2), asyncio.TaskGroup() as tasks:
        yield tasks.create_task(place_call(settings))


async def let_go(worker: Worker, next_step: NextStep) -> str:
    """Take the call's first stream and end it for something else; return the call's id."""
    await worker.frame(FrameKind.AUDIO)
    (request,) = worker.assigned
    worker.states[request.call_id], worker.next = "leaving", next_step
    await worker.send(request.call_id, FrameKind.HANG_UP, control.encode(HangUp(next=next_step)))
    return request.call_id


async def end(worker: Worker, call_id: str) -> Fence:
    """Take the call's second stream, hang up on it, and return its fence."""
    while (frame := await worker.frame(FrameKind.AUDIO)).fence.attach == 1:
        pass
    worker.states[call_id], worker.next = "ended", NextStep.HANG_UP
    await worker.send(call_id, FrameKind.HANG_UP, control.encode(HangUp(next=NextStep.HANG_UP)))
    return frame.fence


async def test_a_caller_is_put_through(gateway: Gateway, worker: Worker) -> None:
    worker.transfer, worker.after_dial = COLLEAGUE, "ended"
    async with calling(gateway, Callee(after_s=0.1, talk_s=0.1)) as placed:
        await let_go(worker, NextStep.TRANSFER)
    result = placed.result()

    assert (result.dialled, worker.dialed) == ([COLLEAGUE.number], ["completed"])
    assert (result.attaches, result.end_reason) == (1, "hangup")


async def test_nobody_answers_and_the_caller_is_back_with_the_agent(gateway: Gateway, worker: Worker) -> None:
    worker.transfer = COLLEAGUE
    async with calling(gateway, Callee("busy", after_s=0)) as placed:
        call_id = await let_go(worker, NextStep.TRANSFER)
        fence = await end(worker, call_id)
    result = placed.result()

    assert worker.dialed == ["busy"]
    assert fence == Fence(2, 1)
    assert (result.attaches, result.end_reason) == (2, "hangup")


async def test_keys_are_sent_and_the_agent_goes_on(gateway: Gateway, worker: Worker) -> None:
    worker.digits = "1#"
    async with calling(gateway, Callee()) as placed:
        call_id = await let_go(worker, NextStep.SEND_DIGITS)
        fence = await end(worker, call_id)
    result = placed.result()

    assert result.digits == ["1#"]
    assert fence == Fence(2, 1)
    assert (result.attaches, result.end_reason) == (2, "hangup")
