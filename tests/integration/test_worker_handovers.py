"""A worker that stops hands its calls over, one to another, or gives them back; the test plays the gateway."""

import asyncio
import signal
from pathlib import Path

from integration.test_worker import LIMIT_S, Gateway, gateway
from owners import Owner, ask, attached
from running_worker import running_worker

from trunkline_common import control
from trunkline_common.call_events import CallEnded, CallTakenOver
from trunkline_common.control import AssignKind, NextStep
from trunkline_common.frames import FINAL, Fence, Frame, FrameKind
from trunkline_local.nats_server import NatsServer
from trunkline_simulators.openai_server import ServerOptions, run_server

__all__ = ["gateway"]

SECOND = Fence(1, 2)


async def test_a_call_is_handed_over_when_its_worker_stops(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with (
        run_server(ServerOptions()) as model,
        running_worker(
            nats_server, tmp_path, model.url, "stopping", WORKER_CAPACITY="1", WORKER_DRAIN_S="20"
        ) as stopping,
    ):
        old = await attached(gateway)
        async with running_worker(nats_server, tmp_path, model.url, "next", WORKER_CAPACITY="1"):
            stopping.process.send_signal(signal.SIGTERM)
            await old.next_frame(FrameKind.MOVE)
            candidate = Owner(gateway, (await ask(gateway, AssignKind.HANDOVER, SECOND)).worker, SECOND)
            # The old owner goes on meanwhile: its marks come, and are played.
            ready = await candidate_ready(gateway, old, candidate)
            await old.send(FrameKind.YIELD)
            last_words = await old.next_frame(FrameKind.CHECKPOINT)
            while not last_words.flags & FINAL:
                last_words = await old.next_frame(FrameKind.CHECKPOINT)
            await candidate.own(old, is_final=True)
            await candidate.next_frame(FrameKind.CHECKPOINT)
            taken_over = await gateway.next_event(CallTakenOver)
            code = await stopping.process.exited()
            owner = await gateway.who()

    assert ready
    assert code == 0
    assert (owner.worker, owner.fence) == (candidate.worker, SECOND)
    assert isinstance(taken_over, CallTakenOver)
    assert (taken_over.cause, taken_over.previous_fence) == ("handover", "1.1")


async def test_calls_that_nobody_takes_are_given_back_at_the_deadline(
    nats_server: NatsServer, gateway: Gateway, tmp_path: Path
) -> None:
    async with (
        run_server(ServerOptions()) as model,
        running_worker(nats_server, tmp_path, model.url, WORKER_CAPACITY="2") as stopping,
    ):
        owners = [await attached(gateway, "CA" + digit * 32) for digit in "12"]
        stopping.process.send_signal(signal.SIGTERM)
        seen: list[Frame] = []
        async with asyncio.timeout(LIMIT_S):
            while [frame.kind for frame in seen].count(FrameKind.HANG_UP) < 2:
                seen.append(await gateway.frames.get())
        code = await stopping.process.exited()
        ended = await gateway.next_event(CallEnded)

    assert len(owners) == [frame.kind for frame in seen].count(FrameKind.MOVE) == 2, "each is asked for once"
    told = [control.decode(each.payload, control.HangUp) for each in seen if each.kind == FrameKind.HANG_UP]
    assert {each.next for each in told} == {NextStep.FALLBACK}
    assert isinstance(ended, CallEnded)
    assert ended.reason == "worker-stopped"
    assert code == 0


async def candidate_ready(gateway: Gateway, old: Owner, candidate: Owner) -> bool:
    """Take frames of both until the candidate says that it could go on."""
    async with asyncio.timeout(LIMIT_S):
        while (frame := await gateway.frames.get()).fence != candidate.fence:
            await old.note(frame)
    return frame.kind == FrameKind.READY
