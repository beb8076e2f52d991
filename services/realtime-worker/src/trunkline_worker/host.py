"""Shell of the process: takes calls while there is room, finds the call of each frame, drains.

Being in the queue group *is* the offer of capacity. A worker that is full or stopping leaves the group, and
when no worker is left a gateway hears "no responders" within a millisecond instead of waiting.
"""

import asyncio
import secrets
import socket
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg

from trunkline_common import control, frames, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, Subscription
from trunkline_common.call_events import Verdict
from trunkline_common.control import (
    AssignReply,
    AssignRequest,
    OwnerReply,
    OwnerRequest,
    OwnerState,
    PingReply,
)
from trunkline_common.frames import Fence
from trunkline_common.service import Life
from trunkline_worker import events, metrics, placement, session
from trunkline_worker.budget_watch import BudgetWatch
from trunkline_worker.downlink import Downlink
from trunkline_worker.event_log import EventLog
from trunkline_worker.model_access import ModelAccess
from trunkline_worker.prices import PriceList
from trunkline_worker.profile_watch import WatchedProfiles
from trunkline_worker.queue_places import QueuePlaces
from trunkline_worker.runner import CallRunner
from trunkline_worker.settings import WorkerSettings
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_runner import ToolRunner
from trunkline_worker.treatment_desk import TreatmentDesk

HEARTBEAT_S: Final = 1.0

TOMBSTONE_S: Final = 90.0
"""An ended call answers for this long: longer than a stream's token lives, so that none can be used again,
and longer than Twilio takes to ask what comes next."""

TOMBSTONES_MAX: Final = 10_000

GOODBYE_S: Final = 5.0
"""Left of the drain deadline for telling the remaining calls and for flushing the event log."""

_log = log.get(__name__)


@dataclass(slots=True)
class _Held:
    """A call of this worker, live or ended, and its subscription."""

    runner: CallRunner
    owner: Subscription
    by_caller: Subscription | None
    """Answers who counts this caller's live calls; None for a withheld number."""
    attach_seen: int = 0
    """Highest attach number that was used; a stream's token works once because of it."""


def worker_id() -> str:
    """Return a new name for this process, fit for a subject."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:40]
    return f"wk-{host}-{secrets.token_hex(3)}"


class Host:
    """All calls of one worker process."""

    def __init__(
        self, settings: WorkerSettings, bus: Bus, profiles: WatchedProfiles, prices: PriceList
    ) -> None:
        self.worker = worker_id()
        self._settings = settings
        self._bus = bus
        self._profiles = profiles
        self._prices = prices
        self._downlink = Downlink(bus)
        self._event_log = EventLog(bus)
        self._access = ModelAccess(settings.model_connects_per_s)
        self._tool_runner = ToolRunner(ToolHosts.parse(settings.tool_hosts))
        self._budget = BudgetWatch(settings.daily_budget_usd, bus)
        self._live: dict[str, _Held] = {}
        self._ended: OrderedDict[str, _Held] = OrderedDict()
        self._places = QueuePlaces(
            bus, subjects.assign(settings.trunkline_region), self._on_assign, self._places_wanted
        )
        self._taking: set[str] = set()
        self._draining = False
        self._changed = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    async def run(self, life: Life) -> None:
        """Serve calls until asked to stop, then drain."""
        metrics.CAPACITY.set(self._settings.worker_capacity)
        await self._bus.subscribe_audio(subjects.every_worker_up(self.worker), self._on_frame)
        await self._bus.subscribe(subjects.worker_ping(self.worker), self._on_ping)
        await self._bus.subscribe(subjects.EVERY_HEARTBEAT, self._on_heartbeat)
        await TreatmentDesk(self.worker, self._profiles).open(self._bus, self._settings.trunkline_region)
        background = [
            asyncio.create_task(self._downlink.run(), name="downlink"),
            asyncio.create_task(self._event_log.run(), name="event-log"),
            asyncio.create_task(self._heartbeat(), name="heartbeat"),
            asyncio.create_task(self._profiles.run(), name="profiles"),
        ]
        try:
            await self._budget.catch_up()
            background.append(asyncio.create_task(self._budget.run(), name="budget"))
            session.prepare(self._settings)
            await self._match_queue_to_room()
            life.started()
            _log.info("worker-ready", worker=self.worker, capacity=self._settings.worker_capacity)
            stop = asyncio.create_task(life.stop_requested.wait(), name="stop")
            done, _ = await asyncio.wait([stop, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
            await self._drain(self._settings.worker_drain_s)
        finally:
            for task in [*background, *self._endings]:
                task.cancel()
            await asyncio.gather(*background, *self._endings, return_exceptions=True)
            await self._tool_runner.close()

    async def _drain(self, seconds: float) -> None:
        """Leave the queue first, then let the calls end; those that do not are given back to Twilio."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._draining = True
        metrics.DRAINING.set(1)
        await self._match_queue_to_room()
        while self._live and loop.time() < deadline:
            _log.info("worker-draining", calls=len(self._live), seconds_left=round(deadline - loop.time()))
            self._changed.clear()
            try:
                async with asyncio.timeout(min(5.0, max(deadline - loop.time(), 0))):
                    await self._changed.wait()
            except TimeoutError:
                continue
        for held in list(self._live.values()):
            held.runner.apply(events.WorkerStopping())
        await self._event_log.drained(GOODBYE_S)

    # --- NATS handlers: quick, and they never raise

    async def _on_frame(self, message: Msg) -> None:
        try:
            frame = frames.decode(message.data)
        except frames.FrameError:
            metrics.FRAMES_REFUSED.labels("unreadable").inc()
            return
        held = self._live.get(subjects.call_of_up(message.subject))
        if held is None:
            metrics.FRAMES_REFUSED.labels("unknown-call").inc()
            return
        held.runner.take_frame(frame)

    async def _on_ping(self, message: Msg) -> None:
        consumed = {call_id: held.runner.consumed_seq for call_id, held in self._live.items()}
        await message.respond(control.encode(PingReply(worker=self.worker, consumed=consumed)))

    async def _on_assign(self, message: Msg) -> None:
        try:
            request = control.decode(message.data, AssignRequest)
            subjects.token(request.call_id)
        except (control.ControlError, subjects.InvalidTokenError) as error:
            metrics.ASSIGNMENTS.labels("malformed").inc()
            _log.warning("assign-malformed", why=str(error))
            return
        try:
            reason = await self._take(request)
        except NoAnswerError as error:
            _log.warning("assign-not-possible", why=str(error))
            reason = "bus"
        metrics.ASSIGNMENTS.labels(reason or "taken").inc()
        await message.respond(control.encode(AssignReply(ok=not reason, worker=self.worker, reason=reason)))
        await self._match_queue_to_room()

    async def _take(self, request: AssignRequest) -> str:
        """Take the call; return an empty string, or why not."""
        if request.call_id in self._live:
            # The same question again, because our answer was late: the answer is still yes.
            return ""
        if self._draining:
            return "draining"
        if self._budget.is_spent:
            return "budget-spent"
        if len(self._live) + len(self._taking) >= self._settings.worker_capacity:
            return "full"
        if not self._access.allows_new_call():
            return "model"
        if request.call_id in self._taking:
            return "taking"
        runner = CallRunner(
            request,
            self.worker,
            self._profiles.agent_for(request.called),
            self._settings,
            self._prices,
            self._downlink,
            self._event_log,
            self._access,
            self._tool_runner,
            self._on_finish,
        )
        self._taking.add(request.call_id)
        try:
            owner = await self._bus.subscribe(subjects.owner(request.call_id), self._on_owner_request)
            by_caller = await self._answer_for_caller(request)
        finally:
            self._taking.discard(request.call_id)
        previous = self._ended.pop(request.call_id, None)
        if previous is not None:
            await previous.owner.end()
        self._live[request.call_id] = _Held(runner, owner, by_caller)
        metrics.CALLS_ACTIVE.set(len(self._live))
        self._access.took_call()
        runner.start()
        return ""

    async def _on_heartbeat(self, message: Msg) -> None:
        try:
            beat = control.decode(message.data, control.Heartbeat)
        except control.ControlError as error:
            _log.warning("heartbeat-malformed", why=str(error))
            return
        self._access.limiter.heard(beat.worker, asyncio.get_running_loop().time())

    async def _answer_for_caller(self, request: AssignRequest) -> Subscription | None:
        caller_hash = subjects.caller_hash(request.caller)
        if caller_hash is None:
            return None

        async def on_count(message: Msg) -> None:
            await message.respond(request.call_id.encode())

        try:
            return await self._bus.subscribe(subjects.caller(caller_hash), on_count)
        except NoAnswerError as error:
            # A call that is not counted is better than one that is not taken.
            _log.warning("call-uncounted", why=str(error))
            return None

    async def _on_owner_request(self, message: Msg) -> None:
        call_id = message.subject.split(".")[2]
        held = self._live.get(call_id) or self._ended.get(call_id)
        try:
            request = control.decode(message.data, OwnerRequest)
        except control.ControlError as error:
            _log.warning("owner-request-malformed", call_id=call_id, why=str(error))
            return
        if held is None:
            return
        if request.op == "who":
            await message.respond(control.encode(self._owner_reply(held, held.runner.fence, ok=True)))
        elif request.op == "dialed":
            held.runner.apply(events.Dialed(request.dial_status))
            await message.respond(control.encode(self._owner_reply(held, held.runner.fence, ok=True)))
        elif request.worker in {"", self.worker}:
            await self._attach(held, request, message)
        elif not held.attach_seen:
            # Our answer to the offer came too late, and another worker was chosen.
            held.runner.give_up()

    async def _attach(self, held: _Held, request: OwnerRequest, message: Msg) -> None:
        """Let the newest stream of a call carry it; refuse one whose number was used already."""
        attach = request.fence.attach
        runner = held.runner
        if runner.finished or attach <= held.attach_seen or attach < runner.fence.attach:
            await message.respond(control.encode(self._owner_reply(held, runner.fence, ok=False)))
            return
        held.attach_seen = attach
        fence = runner.fence if runner.fence.attach == attach else Fence(attach, 1)
        # Before the agent speaks: the gateway buffers little of what comes ahead of this answer.
        await message.respond(control.encode(self._owner_reply(held, fence, ok=True)))
        runner.attach(fence, subjects.token(request.gateway), request.stream_sid)

    def _owner_reply(self, held: _Held, fence: Fence, *, ok: bool) -> OwnerReply:
        runner = held.runner
        state: OwnerState = "active" if held.attach_seen else "offered"
        if runner.finished:
            state = "ended"
        elif runner.leaving:
            state = "leaving"
        return OwnerReply(
            ok=ok,
            worker=self.worker,
            fence=fence,
            state=state,
            next=runner.next_step,
            transfer=runner.transfer,
            digits=runner.digits,
            started_at_ms=runner.started_at_ms,
        )

    # --- Bookkeeping

    def _on_finish(self, runner: CallRunner) -> None:
        held = self._live.pop(runner.call_id)
        if runner.verdict not in {None, Verdict.WORKER_STOPPED}:
            self._ended[runner.call_id] = held
        metrics.CALLS_ACTIVE.set(len(self._live))
        self._changed.set()
        task = asyncio.create_task(self._bury(held), name="bury")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _bury(self, held: _Held) -> None:
        """Offer the room again at once; forget the call once nobody can ask for it any more.

        A call that this worker gave up, or leaves because it stops, is another worker's to answer for.
        """
        await self._match_queue_to_room()
        if held.by_caller is not None:
            await held.by_caller.end()
        if held.runner.call_id not in self._ended:
            await held.owner.end()
            return
        while len(self._ended) > TOMBSTONES_MAX:
            _, oldest = self._ended.popitem(last=False)
            await oldest.owner.end()
        await asyncio.sleep(TOMBSTONE_S)
        if self._ended.get(held.runner.call_id) is held:
            del self._ended[held.runner.call_id]
            await held.owner.end()

    async def _match_queue_to_room(self) -> None:
        """Be in the queue group as much as there is room, and money."""
        await self._places.match()

    def _places_wanted(self) -> int:
        capacity = self._settings.worker_capacity
        return placement.places(
            capacity - len(self._live),
            capacity,
            may_take=not self._draining and not self._budget.is_spent and self._access.allows_new_call(),
            on_trial=self._access.is_on_trial,
        )

    async def _heartbeat(self) -> None:
        subject = subjects.heartbeat(self.worker)
        while True:
            beat = control.Heartbeat(
                worker=self.worker,
                active=len(self._live),
                capacity=self._settings.worker_capacity,
                draining=self._draining,
            )
            await self._bus.publish(subject, control.encode(beat))
            await self._match_queue_to_room()
            await asyncio.sleep(HEARTBEAT_S)
