"""Shell: the calls that this worker owns: who asks for them is answered, and who else claims them is heard.

Only the owner subscribes to its call's subject, so a question that nobody hears means that nobody owns the call. After
a pause (the process was stopped, or without a link) a worker may believe that it owns a call which others have taken
over meanwhile: the new owner says so, and the old one asks.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, Subscription
from trunkline_common.control import OwnerReply, OwnerRequest, OwnerState
from trunkline_common.frames import Fence
from trunkline_worker import events, metrics
from trunkline_worker.logged_once import LoggedOnce
from trunkline_worker.runner import CallRunner

MOVES_PER_S: Final = 5.0
"""Calls that a stopping worker hands over: 50 in ten seconds, without a herd of connects at the model."""

MOVE_AGAIN_S: Final = 3.0

_log = log.get(__name__)


@dataclass(slots=True)
class Held:
    """A call of this worker, live or ended, and its subscription."""

    runner: CallRunner
    owner: Subscription
    by_caller: Subscription | None
    """Answers who counts this caller's live calls; None for a withheld number."""
    attach_seen: int = 0
    """Highest attach number that was used; a stream's token works once because of it."""


class Owned:
    """The calls of one worker, live and just ended."""

    def __init__(self, worker: str, bus: Bus) -> None:
        self.live: dict[str, Held] = {}
        self.ended: OrderedDict[str, Held] = OrderedDict()
        """Answered for until nobody can ask any more."""
        self._worker = worker
        self._bus = bus
        self._logged = LoggedOnce()

    async def claim(self, runner: CallRunner) -> None:
        """A live call is ours: whoever still takes it for theirs, after a pause, is told."""
        owned = OwnerRequest(op="owned", worker=self._worker, fence=runner.fence)
        await self._bus.publish(subjects.owner(runner.call_id), control.encode(owned))

    async def ask_others(self) -> None:
        """After a time without a link, or without running: give up the calls that others own by now."""
        question = control.encode(OwnerRequest(op="owner", worker=self._worker))
        for call_id in [*self.live, *self.ended]:
            await self._bus.publish(subjects.owner(call_id), question)

    async def move_all(self) -> None:
        """Ask the gateways to give each call to another worker, a few a second: each opens a model session.

        A gateway that has heard it takes no harm from hearing it again; one that is new to the call has not.
        """
        asked_at: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            long_ago = loop.time() - MOVE_AGAIN_S
            for call_id, held in self.live.items():
                if held.runner.can_move and asked_at.get(call_id, long_ago) <= long_ago:
                    asked_at[call_id] = loop.time()
                    held.runner.move()
                    break
            await asyncio.sleep(1 / MOVES_PER_S)

    async def on_request(self, message: Msg) -> None:
        """Answer a question to the owner of a call."""
        call_id = message.subject.split(".")[2]
        held = self.live.get(call_id) or self.ended.get(call_id)
        try:
            request = control.decode(message.data, OwnerRequest)
            if request.op == "attach":
                subjects.token(request.gateway)
        except (control.ControlError, subjects.InvalidTokenError) as error:
            self._refused("malformed", call_id, str(error))
            return
        if held is None or held.runner.stands_by:
            return
        match request.op:
            case "owned":
                await self._on_owned(held, request)
            case "owner":
                if request.worker != self._worker:
                    await self.claim(held.runner)
            case "who":
                await message.respond(control.encode(self._reply(held, held.runner.fence, ok=True)))
            case "over":
                held.runner.apply(events.OverAtTwilio())
            case "dialed":
                held.runner.apply(events.Dialed(request.dial_status))
                await message.respond(control.encode(self._reply(held, held.runner.fence, ok=True)))
            case "attach" if request.worker in {"", self._worker}:
                await self._attach(held, request, message)
            case "attach" if not held.attach_seen:
                # Our answer to the offer came too late, and another worker was chosen.
                held.runner.give_up("another worker was chosen")

    def _refused(self, reason: str, call_id: str, why: str) -> None:
        metrics.OWNER_REQUESTS_REFUSED.labels(reason).inc()
        if self._logged.is_first(reason, call_id):
            _log.warning("owner-request-refused", call_id=call_id, reason=reason, why=why)

    async def _on_owned(self, held: Held, request: OwnerRequest) -> None:
        runner = held.runner
        if request.worker == self._worker:
            return
        if request.fence > runner.fence:
            metrics.CALLS_SUPERSEDED.inc()
            runner.give_up("another worker owns it")
            if self.ended.pop(runner.call_id, None) is not None:
                # What it was told here of its end is not true.
                await held.owner.end()
        elif request.fence < runner.fence and not runner.finished:
            # It asked while nobody heard it: after an outage not all links are back at once.
            await self.claim(runner)

    async def _attach(self, held: Held, request: OwnerRequest, message: Msg) -> None:
        """Let the newest stream of a call carry it; refuse one whose number was used already."""
        attach = request.fence.attach
        runner = held.runner
        if runner.finished or attach <= held.attach_seen or attach < runner.fence.attach:
            self._refused("attach-used", runner.call_id, f"attach {attach}, owned under {runner.fence}")
            await message.respond(control.encode(self._reply(held, runner.fence, ok=False)))
            return
        held.attach_seen = attach
        fence = runner.fence if runner.fence.attach == attach else Fence(attach, 1)
        # Before the agent speaks: the gateway buffers little of what comes ahead of this answer.
        await message.respond(control.encode(self._reply(held, fence, ok=True)))
        runner.attach(fence, request.gateway, request.stream_sid)
        await self.claim(runner)

    def _reply(self, held: Held, fence: Fence, *, ok: bool) -> OwnerReply:
        runner = held.runner
        state: OwnerState = "active" if held.attach_seen else "offered"
        if runner.finished:
            state = "ended"
        elif runner.leaving:
            state = "leaving"
        return OwnerReply(
            ok=ok,
            worker=self._worker,
            fence=fence,
            state=state,
            next=runner.next_step,
            transfer=runner.transfer,
            digits=runner.digits,
            started_at_ms=runner.started_at_ms,
        )
