"""Finds the worker that owns a call, or one that will: who, assign, attach.

The gateway with the live Twilio socket is the arbiter. It numbers the assignments of one attach, and those of
the webhook and of the stream are numbered apart, so that a fence is never given twice.
"""

import asyncio
import random
import time
from typing import Final, NamedTuple

from nats.aio.msg import Msg

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.control import (
    AssignKind,
    AssignReply,
    AssignRequest,
    ControlError,
    Heartbeat,
    NextStep,
    OwnerReply,
    OwnerRequest,
    Transfer,
)
from trunkline_common.frames import Fence
from trunkline_common.pulse import RECONNECT_GRACE_S
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics
from trunkline_gateway.ownership import Owner
from trunkline_gateway.reasons import Ending, Rejection
from trunkline_gateway.roster import Roster
from trunkline_gateway.stream_token import Facts

ASSIGN_TIMEOUT_S: Final = 0.15
"""A worker answers in 3 ms; one that hangs would swallow the request, so ask the next."""

ASSIGN_TRIES_MAX: Final = 3
"""Three hung workers in a row mean that something else is wrong, and the caller has waited half a second."""

OWNER_TIMEOUT_S: Final = 0.5
"""Longer than for an assignment: the owner holds the conversation, another worker would begin anew."""

WEBHOOK_ASSIGN_FIRST: Final = 1
STREAM_ASSIGN_FIRST: Final = WEBHOOK_ASSIGN_FIRST + ASSIGN_TRIES_MAX

LOOK_AGAIN_S: Final = 0.1
"""Between two questions while those who serve a subject are on their way back to NATS."""

NOBODY: Final = "nobody"
"""In the place of the worker that keeps a call when the others give it up; no worker has this name."""

PUT_THROUGH: Final = frozenset({"completed", "answered"})
"""Values of DialCallStatus after which the caller has spoken to somebody (Twilio: TwiML <Dial>)."""

FULL: Final = "full"
"""A worker's word for having no room."""

_log = log.get(__name__)


class Ready(NamedTuple):
    """A worker expects the stream with this attach number, of the call that began at `started_at_ms`."""

    attach: int
    started_at_ms: int


class Over(NamedTuple):
    """The call has ended; Twilio should do this."""

    next: NextStep


class Transferring(NamedTuple):
    """The agent has put the caller through to somebody; no stream carries the call meanwhile."""

    transfer: Transfer
    attach: int
    started_at_ms: int


class SendingDigits(NamedTuple):
    """The agent wants DTMF played, and a stream with this attach number after it."""

    digits: str
    attach: int
    started_at_ms: int


class Full(NamedTuple):
    """No worker has room."""


class Failed(NamedTuple):
    """Workers have room, but none took the call."""


class Refusal(NamedTuple):
    """The stream has no owner; `rejection` where its `start` was at fault."""

    ending: Ending
    rejection: Rejection | None = None


class Assignment:
    """Asks the workers of one region on behalf of one gateway."""

    def __init__(self, bus: Bus, region: str, gateway: str) -> None:
        self._bus = bus
        self._assign_subject = subjects.assign(region)
        self._roster = Roster(region)
        self._gateway = gateway

    async def calls_of(self, caller: str, but: str, enough: int, wait_s: float) -> int:
        """Count the live calls of one caller on all workers, except the call `but`.

        Counting ends at `enough` or after `wait_s`; at once when there are none, which is the usual case.

        A withheld number counts as none, and so does everything while NATS does not answer: a limit on callers is
        no reason to turn callers away.
        """
        caller_hash = subjects.caller_hash(caller)
        if caller_hash is None:
            return 0

        def others(answers: list[bytes]) -> set[bytes]:
            return set(answers) - {but.encode()}

        try:
            answers = await self._bus.request_all(
                subjects.caller(caller_hash),
                b"",
                wait_s,
                lambda so_far: len(others(so_far)) >= enough,
            )
        except NoAnswerError:
            _log.warning("caller-uncounted", call_id=but)
            return 0
        return len(others(answers))

    async def offer(self, facts: Facts) -> Ready | Over | Transferring | SendingDigits | Full | Failed:
        """Make sure that a worker expects the call, asking first whether one has it; at most 1 s."""
        owner = await self._ask_owner(facts.call_id, OwnerRequest(op="who"), is_new=facts.attach == 1)
        if owner is None:
            return await self._assign(facts, WEBHOOK_ASSIGN_FIRST)
        if owner.state != "leaving":
            return _go_on(owner, facts)
        # It carries no stream now, whatever number the last one had.
        attach, started_at_ms = _next_attach(owner, facts), owner.started_at_ms or facts.started_at_ms
        if owner.next is NextStep.TRANSFER and owner.transfer is not None:
            return Transferring(owner.transfer, attach, started_at_ms)
        if owner.next is NextStep.SEND_DIGITS:
            return SendingDigits(owner.digits, attach, started_at_ms)
        return Over(owner.next)

    async def dialed(self, facts: Facts, dial_status: str) -> Ready | Over:
        """Tell the call's owner what came of its transfer, and return what it wants; at most 1 s."""
        owner = await self._ask_owner(facts.call_id, OwnerRequest(op="dialed", dial_status=dial_status))
        # An owner that would dial once more has not understood; without a limit somebody's telephone rings for ever.
        if owner is None and dial_status not in PUT_THROUGH:
            # Its worker is lost, and the caller is back from a transfer that came to nothing: another one goes on.
            found = await self._assign(facts, WEBHOOK_ASSIGN_FIRST)
            return found if isinstance(found, Ready) else Over(NextStep.FALLBACK)
        if owner is None or owner.state == "leaving":
            return Over(NextStep.HANG_UP if dial_status in PUT_THROUGH else NextStep.FALLBACK)
        return _go_on(owner, facts)

    async def on_heartbeat(self, message: Msg) -> None:
        """Note who has room."""
        try:
            self._roster.heard(control.decode(message.data, Heartbeat), time.monotonic())
        except ControlError as error:
            _log.warning("heartbeat-malformed", why=str(error))

    async def ask(
        self, facts: Facts, kind: AssignKind, assign: int, but: str, lost: str = ""
    ) -> Owner | Full | Failed:
        """Ask one worker to take a live call over, or to get ready for that, and not the owner `but`; at most 0.15 s.

        `lost` is the owner once more where its whole process seems lost.
        """
        request = self._request(facts, assign, kind, lost)
        started_at = time.perf_counter()
        reply = await self._ask_workers(request, self._other_worker(frozenset({but})))
        if not isinstance(reply, AssignReply):
            return reply
        if not reply.ok or reply.kind is not kind:
            if reply.ok:
                # Of an older release: it expects a stream now that will never come.
                await self.let_go(facts.call_id)
            metrics.ASSIGNS.labels("refused").inc()
            why = reply.reason or "it knows new calls only"
            _log.info("assign-refused", fence=str(request.fence), worker=reply.worker, why=why)
            return Failed()
        metrics.ASSIGNS.labels("taken").inc()
        metrics.ASSIGN_SECONDS.observe(time.perf_counter() - started_at)
        return Owner(reply.worker, request.fence)

    async def let_go(self, call_id: str) -> None:
        """Have whoever expects the call's first stream give the call up: the caller is gone, and no stream will come."""
        request = OwnerRequest(op="attach", worker=NOBODY, gateway=self._gateway)
        await self._bus.publish(subjects.owner(call_id), control.encode(request))

    async def attach(self, facts: Facts, stream_sid: str) -> Owner | Refusal:
        """Give the stream to the call's owner, or to a new one where there is none; at most 2.5 s."""
        owner = await self._attach_to_owner(facts, stream_sid)
        if owner is None and isinstance(await self._assign(facts, STREAM_ASSIGN_FIRST), Ready):
            owner = await self._attach_to_owner(facts, stream_sid)
        if owner is None:
            metrics.ATTACHES.labels("no-worker").inc()
            return Refusal(Ending.NO_WORKER)
        if owner.ok:
            metrics.ATTACHES.labels("attached").inc()
            return Owner(owner.worker, owner.fence)
        metrics.ATTACHES.labels("refused").inc()
        return Refusal(Ending.REFUSED, None if owner.state == "ended" else Rejection.TOKEN_USED)

    async def _attach_to_owner(self, facts: Facts, stream_sid: str) -> OwnerReply | None:
        """Name one owner: an offer that was answered late may have left the call with a second worker."""
        owner = await self._ask_owner(facts.call_id, OwnerRequest(op="who"))
        if owner is None:
            return None
        request = OwnerRequest(
            op="attach",
            worker=owner.worker,
            fence=Fence(facts.attach, 0),
            gateway=self._gateway,
            stream_sid=stream_sid,
        )
        return await self._ask_owner(facts.call_id, request)

    async def _ask_owner(
        self, call_id: str, request: OwnerRequest, *, is_new: bool = False
    ) -> OwnerReply | None:
        """Return the owner's answer; None when there is no owner, or one that does not answer.

        A new call has one only when Twilio asks twice: nothing is waited for.
        """
        try:
            ask = self._bus.request if is_new else self._ask_with_patience
            answer = await ask(subjects.owner(call_id), control.encode(request), OWNER_TIMEOUT_S)
            reply = control.decode(answer, OwnerReply)
            subjects.token(reply.worker)
        except NobodyListensError:
            return None
        except (NoAnswerError, ControlError, InvalidTokenError) as error:
            _log.warning("owner-did-not-answer", op=request.op, why=str(error))
            return None
        return reply

    async def _ask_with_patience(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask as `Bus.request` does, but believe that nobody listens only when all had time to come back to NATS."""
        while True:
            try:
                return await self._bus.request(subject, payload, timeout_s)
            except NobodyListensError:
                if not self._bus.has_just_returned(RECONNECT_GRACE_S):
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    def _other_worker(self, but: frozenset[str]) -> str | None:
        """Return a worker that lives, by its heartbeat, and has room."""
        draw = random.random()  # noqa: S311 - it spreads load, it keeps no secret
        return self._roster.choose(but, time.monotonic(), draw)

    async def _assign(self, facts: Facts, first: int) -> Ready | Full | Failed:
        started_at = time.perf_counter()
        other: str | None = None
        is_full = True
        for assign in range(first, first + ASSIGN_TRIES_MAX):
            request = self._request(facts, assign, AssignKind.NEW)
            reply = await self._ask_workers(request, other)
            if isinstance(reply, AssignReply) and reply.ok:
                metrics.ASSIGNS.labels("taken").inc()
                metrics.ASSIGN_SECONDS.observe(time.perf_counter() - started_at)
                return Ready(facts.attach, facts.started_at_ms)
            if isinstance(reply, AssignReply):
                metrics.ASSIGNS.labels("refused").inc()
                _log.info("assign-refused", fence=str(request.fence), worker=reply.worker, why=reply.reason)
                is_full = is_full and reply.reason == FULL
            elif other is None:
                # What one worker does not answer says nothing of the others.
                is_full = is_full and isinstance(reply, Full)
            # Whom the group would choose next may be the one that hangs; a heartbeat may be older than the last room.
            other = self._other_worker(frozenset())
            if isinstance(reply, Full) and other is None:
                break
        return Full() if is_full else Failed()

    def _request(self, facts: Facts, assign: int, kind: AssignKind, lost: str = "") -> AssignRequest:
        return AssignRequest(
            call_id=facts.call_id,
            fence=Fence(facts.attach, assign),
            started_at_ms=facts.started_at_ms,
            caller=facts.caller,
            called=facts.called,
            kind=kind,
            gateway=self._gateway,
            lost=lost,
        )

    async def _ask_workers(self, request: AssignRequest, other: str | None) -> AssignReply | Full | Failed:
        """Ask the queue group, or this worker. A live call's gateway asks again by itself: for it nothing is waited for."""
        subject = self._assign_subject if other is None else subjects.worker_assign(other)
        ask = (
            self._ask_with_patience if other is None and request.kind is AssignKind.NEW else self._bus.request
        )
        try:
            answer = await ask(subject, control.encode(request), ASSIGN_TIMEOUT_S)
            reply = control.decode(answer, AssignReply)
            subjects.token(reply.worker)
        except NobodyListensError:
            if other is not None:
                # It has ended since its last heartbeat, or is of a release that is asked through the group only.
                self._roster.forget(other)
                return Failed()
            metrics.ASSIGNS.labels("full").inc()
            return Full()
        except (NoAnswerError, ControlError, InvalidTokenError) as error:
            if other is not None:
                self._roster.forget(other)
            metrics.ASSIGNS.labels("no-answer").inc()
            _log.warning("assign-unanswered", fence=str(request.fence), why=str(error))
            return Failed()
        return reply


def _go_on(owner: OwnerReply, facts: Facts) -> Ready | Over:
    if owner.state == "ended":
        return Over(owner.next)
    attach = facts.attach if owner.state == "offered" else _next_attach(owner, facts)
    return Ready(attach, owner.started_at_ms or facts.started_at_ms)


def _next_attach(owner: OwnerReply, facts: Facts) -> int:
    """A call that carried a stream before: only a higher number attaches another one."""
    return max(facts.attach, owner.fence.attach + 1)
