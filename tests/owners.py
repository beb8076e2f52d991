"""The gateway's half of a change of owners, played: whom it asks, what it tells them, and what it plays back."""

import asyncio
import contextlib

import nats.errors
from integration.test_worker import CALL, LIMIT_S, Gateway

from trunkline_common import control, frames, subjects
from trunkline_common.control import AssignKind, AssignReply, AssignRequest
from trunkline_common.frames import REPLAYED, Fence, Frame, FrameKind
from trunkline_simulators import g711, recordings

FRAME_BYTES = 160
FRAME_MS = 20
SILENCE = b"\xff" * FRAME_BYTES


async def ask(gateway: Gateway, kind: AssignKind, fence: Fence, call_id: str = CALL) -> AssignReply:
    """Ask the queue group of workers to go on with a live call."""
    request = AssignRequest(
        call_id=call_id,
        fence=fence,
        started_at_ms=1_000,
        caller="+12025550123",
        called="+12025550147",
        kind=kind,
        gateway=gateway.name,
    )
    answer = await gateway.client.request(subjects.assign("local"), control.encode(request), timeout=5)
    return control.decode(answer.data, AssignReply)


class Owner:
    """One owner of the call, as its gateway sees it: marks are played as soon as they come."""

    def __init__(self, gateway: Gateway, worker: str, fence: Fence, call_id: str = CALL) -> None:
        self.worker = worker
        self.fence = fence
        self.checkpoint = b""
        """The newest."""
        self.mark_sent = ""
        self.generation = 0
        self._gateway = gateway
        self._call_id = call_id
        self._seq = 0

    async def send(self, kind: FrameKind, payload: bytes = b"", t_ms: int = 0, flags: int = 0) -> None:
        """Send the next frame up."""
        frame = Frame(kind, self.fence, self._seq, t_ms, 0, payload, flags)
        self._seq += 1
        await self._gateway.send(self.worker, frame, self._call_id)

    async def own(self, before: "Owner | None" = None, *, is_final: bool = False) -> None:
        """Say that the call is this worker's from now on."""
        own = control.Own(
            gateway=self._gateway.name,
            stream_sid="MZ1",
            generation=before.generation if before else 0,
            mark_sent=before.mark_sent if before else "",
            mark_played=before.mark_sent if before else "",
            checkpoint=before.checkpoint if before else b"",
            is_final=is_final,
        )
        await self.send(FrameKind.OWN, control.encode(own))

    async def caller_says(self, utterance: str, t_ms: int, flags: int = REPLAYED) -> None:
        """Send what the caller said and a second of silence, all at once."""
        voice = g711.encode(recordings.samples(utterance, 8_000))
        whole = voice + SILENCE * 50
        for place in range(0, len(whole) - FRAME_BYTES + 1, FRAME_BYTES):
            await self.send(
                FrameKind.AUDIO, whole[place : place + FRAME_BYTES], t_ms + place // 8, flags=flags
            )

    async def next_frame(self, kind: FrameKind) -> Frame:
        """Return the next frame of this owner's of a kind; keep and play what comes before it."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                frame = await self._gateway.frames.get()
                if frame.fence != self.fence:
                    continue
                await self.note(frame)
                if frame.kind == kind:
                    return frame

    async def note(self, frame: Frame) -> None:
        """Play what it sends, and keep the newest of what the next owner must know."""
        self.generation = max(self.generation, frame.generation)
        if frame.kind == FrameKind.MARK:
            self.mark_sent = frame.payload.decode()
            await self.send(FrameKind.MARK, frame.payload)
        elif frame.kind == FrameKind.CHECKPOINT:
            self.checkpoint = control.decode(frame.payload, control.Checkpoint).state


async def attached(gateway: Gateway, call_id: str = CALL) -> Owner:
    """Bring a new call to the point where its agent speaks."""
    taken = await gateway.offer(call_id)
    reply = await gateway.attach(taken.worker, call_id=call_id)
    owner = Owner(gateway, taken.worker, reply.fence, call_id)
    await owner.next_frame(FrameKind.AUDIO)
    return owner


async def until_nobody_owns(gateway: Gateway, call_id: str = CALL) -> None:
    """Wait until no worker answers for the call."""
    probe = control.encode(control.OwnerRequest(op="who"))
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(nats.errors.TimeoutError):
                # The owner may have given the call up, and not yet its place to be asked.
                await gateway.client.request(subjects.owner(call_id), probe, timeout=0.2)


def unreadable(fence: Fence, seq: int) -> bytes:
    """Return an OWN frame that says nothing."""
    return frames.encode(Frame(FrameKind.OWN, fence, seq, 0, 0, b"{}"))
