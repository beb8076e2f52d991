"""Plays a worker over NATS: what a gateway sees of one, and nothing of calls or models."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final, Self

from infra import MS
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from trunkline_common import control, frames, subjects
from trunkline_common.control import (
    AssignReply,
    AssignRequest,
    LineTreatment,
    LineTreatmentRequest,
    NextStep,
    OwnerReply,
    OwnerRequest,
    OwnerState,
    Redirect,
    RedirectReply,
    Transfer,
)
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_common.link import MendedClient

LIMIT_S: Final = 30_000 * MS
"""For anything that happens within milliseconds when all is well."""


class Worker:
    """A worker as the gateway sees one: takes every call and answers pings."""

    def __init__(self, client: Client) -> None:
        self.name = f"wk-test-{secrets.token_hex(3)}"
        self.assigned: list[AssignRequest] = []
        self.attached: list[OwnerRequest] = []
        self.states: dict[str, OwnerState] = {}
        """Of each call, set by what happens or by the test."""
        self.next = NextStep.HANG_UP
        self.transfer: Transfer | None = None
        self.digits = ""
        self.dialed: list[str] = []
        """What came of transfers, as the gateway told."""
        self.after_dial: OwnerState = "active"
        self.taking = True
        self.given_up: asyncio.Queue[str] = asyncio.Queue()
        """Calls that were given to another worker, or to nobody."""
        self.line: LineTreatment | None = None
        """What callers get who get no agent; None: this worker does not say."""
        self.asked_lines: list[str] = []
        self.silent = False
        self.mistakes = 0
        """How many live calls it will take for new ones, as an older version does."""
        self.stuck = False
        """Alive, but its calls consume nothing."""
        self.fences: dict[str, Fence] = {}
        self.gateways: dict[str, str] = {}
        self.over: asyncio.Queue[str] = asyncio.Queue()
        """Calls that Twilio does not know any more, as the gateway told."""
        self._client = client
        self._asked: asyncio.Queue[AssignRequest] = asyncio.Queue()
        self.resumed = asyncio.Semaphore(0)
        """Counts the gateway's requests to send again what was lost; nothing is, they are only answered."""
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._owned: list[Subscription] = []
        self._seq: dict[str, int] = {}
        self._consumed: dict[str, int] = {}
        self._offers: Subscription | None = None
        self._pings: Subscription | None = None
        self._is_back = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, nats_url: str, reconnect_wait_s: float = 0.1) -> AsyncIterator[Self]:
        client = MendedClient()
        worker = cls(client)
        await client.connect(
            nats_url,
            reconnect_time_wait=reconnect_wait_s,  # type: ignore[arg-type]  # it is only slept
            max_reconnect_attempts=-1,
            error_cb=_ignore,
            reconnected_cb=worker._on_reconnected,
        )
        await worker.have_room()
        await client.subscribe(
            subjects.treatment("local"), queue=subjects.TREATMENT_QUEUE, cb=worker._on_line_request
        )
        await client.subscribe(subjects.every_worker_up(worker.name), cb=worker._on_frame)
        worker._pings = await client.subscribe(subjects.worker_ping(worker.name), cb=worker._on_ping)
        await client.flush()
        try:
            yield worker
        finally:
            await client.close()

    async def frame(self, *kinds: FrameKind, limit_s: float = LIMIT_S) -> Frame:
        """Return the next frame of these kinds; without any, of every kind but line reports."""
        async with asyncio.timeout(limit_s):
            while True:
                frame = await self._frames.get()
                if frame.kind in kinds or (not kinds and frame.kind != FrameKind.LINE):
                    return frame

    async def send(
        self,
        call_id: str,
        kind: FrameKind,
        payload: bytes = b"",
        *,
        generation: int = 0,
        fence: Fence | None = None,
        flags: int = 0,
    ) -> None:
        """Send a frame to the gateway that holds the call's stream."""
        seq = self._seq.get(call_id, 0)
        if fence is None or fence == self.fences[call_id]:
            self._seq[call_id] = seq + 1
        frame = Frame(kind, fence or self.fences[call_id], seq, 0, generation, payload, flags)
        await self._client.publish(
            subjects.gateway_down(self.gateways[call_id], call_id), frames.encode(frame)
        )

    async def ask_for_redirect(self, call_id: str, attach: int, detours: int = 0, worker: str = "") -> bool:
        """Have the call attached again, and return whether a gateway asks Twilio."""
        redirect = Redirect(
            call_id=call_id, attach=attach, started_at_ms=1_000, detours=detours, worker=worker
        )
        answer = await self._client.request(subjects.REDIRECT, control.encode(redirect), timeout=LIMIT_S)
        return control.decode(answer.data, RedirectReply).ok

    async def ping(self, gateway: str) -> bytes:
        """Return what a gateway answers to a ping."""
        return (await self._client.request(subjects.gateway_ping(gateway), b"", timeout=LIMIT_S)).data

    async def reconnected(self) -> None:
        """Wait until NATS knows this worker again after an outage."""
        async with asyncio.timeout(LIMIT_S):
            await self._is_back.wait()
        await self._client.flush()

    async def asked(self, kind: control.AssignKind) -> AssignRequest:
        """Wait until the gateway asks for a worker that takes a call in this way."""
        async with asyncio.timeout(LIMIT_S):
            while (request := await self._asked.get()).kind is not kind:
                continue
        return request

    async def own(self) -> tuple[Frame, control.Own]:
        """Wait until the gateway gives this worker a live call; return the frame and what it says."""
        frame = await self.frame(FrameKind.OWN)
        return frame, control.decode(frame.payload, control.Own)

    async def checkpoint(
        self, call_id: str, needed_from_ms: int, state: bytes = b"state", *, flags: int = 0
    ) -> None:
        """Send a checkpoint of the call."""
        checkpoint = control.Checkpoint(needed_from_ms=needed_from_ms, state=state)
        await self.send(call_id, FrameKind.CHECKPOINT, control.encode(checkpoint), flags=flags)

    async def leave(self) -> None:
        """Take no further calls, as a worker that is full or about to stop."""
        if self._offers is not None:
            await self._offers.unsubscribe()
            self._offers = None
        await self._client.flush()

    async def disappear(self) -> None:
        """Stop listening for pings and offers, as a process that died."""
        assert self._pings is not None
        await self._pings.unsubscribe()
        await self.leave()

    async def disown(self) -> None:
        """Forget every call, as a worker that came back from a crash."""
        for subscription in self._owned:
            await subscription.unsubscribe()
        await self._client.flush()

    async def have_calls_of(self, caller: str, *call_ids: str) -> None:
        """Answer for live calls of one caller, as every worker does that has some."""
        caller_hash = subjects.caller_hash(caller)
        assert caller_hash is not None

        async def on_count(message: Msg) -> None:
            for call_id in call_ids:
                await message.respond(call_id.encode())

        self._owned.append(await self._client.subscribe(subjects.caller(caller_hash), cb=on_count))
        await self._client.flush()

    async def be_full(self) -> None:
        """Leave the queue of those that take calls, as a worker without room."""
        assert self._offers is not None
        await self._offers.unsubscribe()
        await self._client.flush()

    async def have_room(self) -> None:
        """Take calls."""
        self._offers = await self._client.subscribe(
            subjects.assign("local"), queue=subjects.ASSIGN_QUEUE, cb=self._on_assign
        )
        await self._client.flush()

    async def given_up_call(self, limit_s: float) -> str:
        """Return the next call that was given to another worker, or to nobody."""
        async with asyncio.timeout(limit_s):
            return await self.given_up.get()

    async def _on_line_request(self, message: Msg) -> None:
        self.asked_lines.append(control.decode(message.data, LineTreatmentRequest).called)
        if self.line is not None:
            await message.respond(control.encode(self.line))

    async def _on_assign(self, message: Msg) -> None:
        request = control.decode(message.data, AssignRequest)
        self.assigned.append(request)
        self._asked.put_nowait(request)
        if self.silent:
            return
        if self.taking:
            self._consumed[request.call_id] = -1
            self._seq[request.call_id] = 0
            self.gateways[request.call_id] = request.gateway
            self.fences[request.call_id] = request.fence
            self.states[request.call_id] = "offered"
            subject = subjects.owner(request.call_id)
            self._owned.append(await self._client.subscribe(subject, cb=self._on_owner_request))
            await self._client.flush()
        reason = "" if self.taking else "model"
        kind = control.AssignKind.NEW if self.mistakes else request.kind
        self.mistakes = max(self.mistakes - 1, 0)
        reply = AssignReply(ok=self.taking, worker=self.name, reason=reason, kind=kind)
        await message.respond(control.encode(reply))

    async def _on_owner_request(self, message: Msg) -> None:
        request = control.decode(message.data, OwnerRequest)
        call_id = message.subject.split(".")[2]
        if request.op == "over":
            self.over.put_nowait(call_id)
            return
        fence, ok = self.fences[call_id], True
        if request.op == "attach" and request.worker != self.name:
            self.given_up.put_nowait(call_id)
            return
        if request.op == "attach":
            seen = 0 if self.states[call_id] == "offered" else fence.attach
            ok = self.states[call_id] != "ended" and request.fence.attach > seen
            if ok:
                self.attached.append(request)
                self.gateways[call_id] = request.gateway
                self.states[call_id] = "active"
                self._seq[call_id] = 0
                self._consumed[call_id] = -1
                if request.fence.attach > fence.attach:
                    fence = self.fences[call_id] = Fence(request.fence.attach, 1)
        if request.op == "dialed":
            self.dialed.append(request.dial_status)
            self.states[call_id], self.next = self.after_dial, NextStep.HANG_UP
        reply = OwnerReply(
            ok=ok,
            worker=self.name,
            fence=fence,
            state=self.states[call_id],
            next=self.next,
            transfer=self.transfer,
            digits=self.digits,
        )
        await message.respond(control.encode(reply))

    async def _on_frame(self, message: Msg) -> None:
        frame = frames.decode(message.data)
        call_id = subjects.call_of_up(message.subject)
        if frame.fence == self.fences.get(call_id) and not self.stuck:
            self._consumed[call_id] = max(frame.seq, self._consumed[call_id])
        if frame.kind == FrameKind.RESUME:
            await self.send(call_id, FrameKind.RESUME, b"%d" % frame.seq)
            self.resumed.release()
        else:
            self._frames.put_nowait(frame)

    async def _on_reconnected(self) -> None:
        self._is_back.set()

    async def _on_ping(self, message: Msg) -> None:
        if not self.silent:
            reply = control.PingReply(worker=self.name, consumed=dict(self._consumed))
            await message.respond(control.encode(reply))


async def _ignore(_error: Exception) -> None:
    """A link that breaks is what some tests are about."""
