"""Shell of the process: takes calls while there is room, finds the call of each frame, drains.

Being in the queue group *is* the offer of capacity. A worker that is full or stopping leaves the group, and
when no worker is left a gateway hears "no responders" within a millisecond instead of waiting.
"""

import asyncio
import secrets
import socket
from collections.abc import Coroutine
from typing import Any, Final

from nats.aio.msg import Msg

from trunkline_common import control, frames, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, Subscription
from trunkline_common.control import (
    AssignKind,
    AssignReply,
    AssignRequest,
    PingReply,
)
from trunkline_common.service import Life, ServiceError
from trunkline_common.verdict import Verdict
from trunkline_worker import events, metrics, placement, session
from trunkline_worker.budget_watch import BudgetWatch
from trunkline_worker.downlink import Downlink
from trunkline_worker.event_log import EventLog, Tap
from trunkline_worker.gateways import Gateways
from trunkline_worker.logged_once import LoggedOnce
from trunkline_worker.model_access import ModelAccess
from trunkline_worker.owned import Held, Owned
from trunkline_worker.past import Past
from trunkline_worker.prices import PriceList
from trunkline_worker.profile_watch import WatchedProfiles
from trunkline_worker.queue_places import QueuePlaces
from trunkline_worker.runner import CallRunner
from trunkline_worker.settings import WorkerSettings
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_runner import ToolRunner
from trunkline_worker.treatment_desk import TreatmentDesk

HEARTBEAT_S: Final = 1.0

PAUSE_S: Final = 1.0
"""A heartbeat that is so late was held up: the process was stopped, or its machine. Gateways do not wait so long."""

LOG_READ_S: Final = 0.1
"""While a gateway waits for our answer, 0.15 s."""

TOMBSTONE_S: Final = 90.0
"""An ended call answers for this long: longer than a stream's token lives, so that none can be used again,
and longer than Twilio takes to ask what comes next."""

TOMBSTONES_MAX: Final = 10_000

GOODBYE_S: Final = 5.0
"""Left of the drain deadline for telling the remaining calls and for flushing the event log."""

_NOT_OVER: Final = frozenset({None, Verdict.WORKER_STOPPED, Verdict.GATEWAY_LOST})
"""A call that this worker gave up or leaves may live elsewhere, or go on: another worker answers for it."""

_log = log.get(__name__)


def worker_id() -> str:
    """Return a new name for this process, fit for a subject."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:40]
    return f"wk-{host}-{secrets.token_hex(3)}"


class Host:
    """All calls of one worker process."""

    def __init__(
        self,
        settings: WorkerSettings,
        bus: Bus,
        profiles: WatchedProfiles,
        prices: PriceList,
        tap: Tap | None = None,
    ) -> None:
        self.worker = worker_id()
        self._settings = settings
        self._bus = bus
        self._profiles = profiles
        self._prices = prices
        self._downlink = Downlink(bus)
        self._event_log = EventLog(bus, tap)
        self._access = ModelAccess(settings.model_connects_per_s)
        self._tool_runner = ToolRunner(ToolHosts.parse(settings.tool_hosts))
        self._budget = BudgetWatch(settings.daily_budget_usd, bus)
        self._owned = Owned(self.worker, bus)
        self._gateways = Gateways(bus, self._runners)
        self._places = QueuePlaces(
            bus, subjects.assign(settings.trunkline_region), self._on_assign, self._places_wanted
        )
        self._taking: set[str] = set()
        self._draining = False
        self._logged = LoggedOnce()
        self._hears = True
        """The audio link is up: without one, no call can be carried."""
        self._changed = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    async def run(self, life: Life) -> None:
        """Serve calls until asked to stop, then drain."""
        metrics.CAPACITY.set(self._settings.worker_capacity)
        metrics.tell_states(lambda: [runner.state for runner in self._runners()])
        await self._bus.subscribe_audio(subjects.every_worker_up(self.worker), self._on_frame)
        await self._bus.subscribe(subjects.worker_ping(self.worker), self._on_ping)
        await self._bus.subscribe(subjects.worker_assign(self.worker), self._places.on_request)
        await self._bus.subscribe(subjects.EVERY_HEARTBEAT, self._on_heartbeat)
        self._bus.on_audio_link(self._on_audio_link)
        await TreatmentDesk(self.worker, self._profiles).open(self._bus, self._settings.trunkline_region)
        background = [
            asyncio.create_task(self._downlink.run(), name="downlink"),
            asyncio.create_task(self._event_log.run(), name="event-log"),
            asyncio.create_task(self._heartbeat(), name="heartbeat"),
            asyncio.create_task(self._profiles.run(), name="profiles"),
            asyncio.create_task(self._gateways.run(), name="gateways"),
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
        """Leave the queue first, then hand the calls over; those that nobody takes are given back to Twilio."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._draining = True
        metrics.DRAINING.set(1)
        await self._match_queue_to_room()
        moving = asyncio.create_task(self._owned.move_all(), name="move-calls")
        self._endings.add(moving)
        while (self._owned.live or self._taking) and loop.time() < deadline:
            _log.info(
                "worker-draining", calls=len(self._owned.live), seconds_left=round(deadline - loop.time())
            )
            self._changed.clear()
            try:
                async with asyncio.timeout(min(5.0, max(deadline - loop.time(), 0))):
                    await self._changed.wait()
            except TimeoutError:
                continue
        moving.cancel()
        for held in list(self._owned.live.values()):
            held.runner.apply(events.WorkerStopping())
        if not await self._event_log.drained(max(GOODBYE_S, deadline - loop.time())):
            raise ServiceError(
                "events of calls were not acknowledged in time, and are lost; is JetStream well? See nats stream info EV"
            )

    def _on_audio_link(self, is_up: bool) -> None:
        self._hears = is_up
        self._in_background(self._match_queue_to_room(), "match-queue")
        for held in list(self._owned.live.values()):
            held.runner.apply(events.BusChanged(is_up))
        if is_up:
            self._in_background(self._owned.ask_others(), "ask-for-owners")

    # --- NATS handlers: quick, and they never raise

    async def _on_frame(self, message: Msg) -> None:
        try:
            frame = frames.decode(message.data)
        except frames.FrameError:
            metrics.FRAMES_REFUSED.labels("unreadable").inc()
            self._log_once("unreadable", subjects.call_of_up(message.subject))
            return
        held = self._owned.live.get(subjects.call_of_up(message.subject))
        if held is None:
            metrics.FRAMES_REFUSED.labels("unknown-call").inc()
            self._log_once("unknown-call", subjects.call_of_up(message.subject))
            return
        held.runner.take_frame(frame)

    async def _on_ping(self, message: Msg) -> None:
        consumed = {call_id: held.runner.consumed_seq for call_id, held in self._owned.live.items()}
        await message.respond(control.encode(PingReply(worker=self.worker, consumed=consumed)))

    async def _on_assign(self, message: Msg) -> None:
        try:
            request = control.decode(message.data, AssignRequest)
            subjects.token(request.call_id)
            if request.kind is AssignKind.HANDOVER:
                subjects.token(request.gateway)
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
        reply = AssignReply(ok=not reason, worker=self.worker, reason=reason, kind=request.kind)
        await message.respond(control.encode(reply))
        await self._match_queue_to_room()

    async def _take(self, request: AssignRequest) -> str:
        """Take the call; return an empty string, or why not."""
        held = self._owned.live.get(request.call_id)
        if held is not None and (request.kind is AssignKind.NEW or held.runner.request == request):
            # The same question again, because our answer was late: the answer is still yes.
            return ""
        if held is not None:
            is_well = request.kind is AssignKind.HANDOVER or request.lost == self.worker
            if (is_well and not held.runner.stands_by) or request.fence <= held.runner.fence:
                # Asked to take it over from itself: still in the queue, or paused with the request, whose asker is gone.
                return "owner"
        if request.call_id in self._taking:
            return "taking"
        refusal = self._refusal(calls_given_up=held is not None)
        if refusal:
            return refusal
        self._taking.add(request.call_id)
        try:
            if held is not None:
                held.runner.give_up("the gateway gave it up for lost")
            past = None if _is_first(request) else Past()
            if past is not None and request.kind is AssignKind.NEW:
                await past.read(self._bus, request, LOG_READ_S)
            owner = await self._bus.subscribe(subjects.owner(request.call_id), self._owned.on_request)
            by_caller = await self._answer_for_caller(request)
        finally:
            self._taking.discard(request.call_id)
            self._changed.set()
        previous = self._owned.ended.pop(request.call_id, None)
        if previous is not None:
            await previous.owner.end()
        runner = self._new_runner(request)
        self._owned.live[request.call_id] = Held(runner, owner, by_caller)
        metrics.CALLS_ACTIVE.set(len(self._owned.live))
        self._access.took_call()
        runner.start(past)
        if past is not None and not past.is_read:
            self._in_background(past.read(self._bus, request), "read-past")
        return ""

    def _refusal(self, *, calls_given_up: int) -> str:
        """Return why no call can be taken; `calls_given_up` make room."""
        if self._draining:
            return "draining"
        if not self._hears:
            return "no-audio-link"
        if self._budget.is_spent:
            return "budget-spent"
        calls = len(self._owned.live) + len(self._taking) - calls_given_up
        if calls >= self._settings.worker_capacity:
            return "full"
        return "" if self._access.allows_new_call() else "model"

    def _new_runner(self, request: AssignRequest) -> CallRunner:
        return CallRunner(
            request,
            self.worker,
            self._profiles.agent_for(request.called),
            self._settings,
            self._prices,
            self._downlink,
            self._event_log,
            self._access,
            self._tool_runner,
            self._gateways,
            self._on_finish,
            self._on_owned,
        )

    def _on_owned(self, runner: CallRunner) -> None:
        self._owned.live[runner.call_id].attach_seen = runner.fence.attach
        self._in_background(self._owned.claim(runner), "claim")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

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

    def _log_once(self, reason: str, call_id: str) -> None:
        if self._logged.is_first(reason, call_id):
            _log.warning("frames-refused", call_id=call_id, reason=reason)

    # --- Bookkeeping

    def _runners(self) -> list[CallRunner]:
        return [held.runner for held in self._owned.live.values()]

    def _on_finish(self, runner: CallRunner) -> None:
        held = self._owned.live[runner.call_id]
        if held.runner is not runner:
            return
        del self._owned.live[runner.call_id]
        if runner.verdict not in _NOT_OVER:
            self._owned.ended[runner.call_id] = held
        metrics.CALLS_ACTIVE.set(len(self._owned.live))
        self._changed.set()
        self._in_background(self._bury(held), "bury")

    async def _bury(self, held: Held) -> None:
        """Offer the room again at once; forget the call once nobody can ask for it any more.

        A call that this worker gave up, or leaves because it stops, is another worker's to answer for.
        """
        await self._match_queue_to_room()
        if held.by_caller is not None:
            await held.by_caller.end()
        if held.runner.call_id not in self._owned.ended:
            await held.owner.end()
            return
        while len(self._owned.ended) > TOMBSTONES_MAX:
            _, oldest = self._owned.ended.popitem(last=False)
            await oldest.owner.end()
        await asyncio.sleep(TOMBSTONE_S)
        if self._owned.ended.get(held.runner.call_id) is held:
            del self._owned.ended[held.runner.call_id]
            await held.owner.end()

    async def _match_queue_to_room(self) -> None:
        """Be in the queue group as much as there is room, and money."""
        await self._places.match()

    def _places_wanted(self) -> int:
        capacity = self._settings.worker_capacity
        return placement.places(
            capacity - len(self._owned.live),
            capacity,
            may_take=self._hears
            and not self._draining
            and not self._budget.is_spent
            and self._access.allows_new_call(),
            on_trial=self._access.is_on_trial,
        )

    async def _heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        subject = subjects.heartbeat(self.worker)
        reconnects = self._bus.reconnects
        while True:
            beat = control.Heartbeat(
                worker=self.worker,
                active=len(self._owned.live),
                capacity=self._settings.worker_capacity,
                draining=self._draining or not self._places_wanted(),
                region=self._settings.trunkline_region,
            )
            await self._bus.publish(subject, control.encode(beat))
            await self._match_queue_to_room()
            if self._bus.reconnects != reconnects:
                reconnects = self._bus.reconnects
                await self._owned.ask_others()
            due = loop.time() + HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)
            if loop.time() > due + PAUSE_S:
                _log.warning(
                    "worker-was-paused", seconds=round(loop.time() - due, 1), calls=len(self._owned.live)
                )
                await self._owned.ask_others()


def _is_first(request: AssignRequest) -> bool:
    """Return whether nobody can have owned the call before."""
    return request.kind is AssignKind.NEW and request.fence.attach == 1
