"""Shell of one call: hands events to the core, performs its commands, keeps one timer.

Performing never waits: sockets, NATS and the event log each have a bounded outbox with its own task. So the
commands of one event are always performed before the next event is applied. A fault of ours ends this call
with a verdict and an error in the log, and no other call.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from trunkline_common import control, log, subjects
from trunkline_common.control import AssignKind, AssignRequest, NextStep
from trunkline_common.frames import FINAL, Fence, Frame, FrameKind
from trunkline_common.verdict import Verdict
from trunkline_worker import commands, events, metrics, usage_metrics
from trunkline_worker.agent import Agent
from trunkline_worker.alarm import Alarm
from trunkline_worker.call import Call
from trunkline_worker.call_life import STOPPED_FOR_GOOD, State, ended
from trunkline_worker.call_record import CallRecord
from trunkline_worker.checkpoint import encode
from trunkline_worker.downlink import Downlink
from trunkline_worker.event_log import EventLog
from trunkline_worker.gateway_line import GatewayLine
from trunkline_worker.gateways import Gateways
from trunkline_worker.model_access import ModelAccess
from trunkline_worker.model_link import STAND_BY_S
from trunkline_worker.past import Past
from trunkline_worker.prices import PriceList
from trunkline_worker.session import Session
from trunkline_worker.settings import WorkerSettings
from trunkline_worker.tool_runner import ToolRunner

_log = log.get(__name__)

TAKEOVER_STAND_BY_S: Final = 3.0
"""The gateway says at once that the call is ours, or has given it to somebody else."""

WRITTEN_S: Final = 1.0
"""For the log to acknowledge what a call that is handed over has written; the caller's words wait meanwhile."""

_FAULT_NEXT: Final = NextStep.FALLBACK

_DETOURS: Final = {NextStep.TRANSFER, NextStep.SEND_DIGITS}


class CallRunner:
    """One live call."""

    def __init__(
        self,
        request: AssignRequest,
        worker: str,
        agent: Agent,
        settings: WorkerSettings,
        prices: PriceList,
        downlink: Downlink,
        event_log: EventLog,
        access: ModelAccess,
        tool_runner: ToolRunner,
        gateways: Gateways,
        on_finish: Callable[["CallRunner"], None],
        on_owned: Callable[["CallRunner"], None],
    ) -> None:
        self.call_id = request.call_id
        self.started_at_ms = request.started_at_ms
        self.next_step = NextStep.HANG_UP
        """What Twilio should be told once the call has ended."""
        self.finished = False
        self.verdict: Verdict | None = None
        self.line = GatewayLine(request.call_id, request.fence, downlink)
        self.request = request
        self._worker = worker
        self._agent = agent
        self._settings = settings
        self._event_log = event_log
        self._record = CallRecord(request, agent, event_log, access)
        self._last_words = b""
        self._letting_go: asyncio.Task[None] | None = None
        self._access = access
        self._tool_runner = tool_runner
        self._gateways = gateways
        self._detours = 0
        """How often Twilio was told to do something else before the call came back."""
        self._tools: dict[str, asyncio.Task[None]] = {}
        """Requests of tools under way, by the model's id of the call; the core bounds them."""
        self.transfer: control.Transfer | None = None
        self.digits = ""
        self._on_finish = on_finish
        self._on_owned = on_owned
        self._loop = asyncio.get_running_loop()
        self._call = Call(
            request.call_id,
            request.caller,
            request.called,
            worker,
            agent,
            settings.resampler,
            settings.session_max_s,
            prices,
        )
        self._sessions: dict[int, Session] = {}
        self._session_in_use = 0
        self._alarm = Alarm(lambda: self.apply(events.Tick()))
        self._received_at = 0.0
        self._past: Past | None = None
        """Of a live call that this worker is to go on with."""
        self._log = _log.bind(call_id=self.call_id)

    @property
    def fence(self) -> Fence:
        """Under which this worker owns the call, or would."""
        return self.line.fence

    @property
    def consumed_seq(self) -> int:
        """Of the last frame that the call has taken; a call that only stands by takes none."""
        return -1 if self.stands_by else self.line.consumed_seq

    @property
    def state(self) -> State:
        """Where the call is in its life."""
        return self._call.state

    @property
    def can_move(self) -> bool:
        """A stream carries the call, so its gateway could give it to another worker."""
        return self._call.state is State.TALKING and bool(self.line.gateway)

    @property
    def stands_by(self) -> bool:
        """Another worker owns the call."""
        return self._call.state is State.STANDING_BY

    @property
    def leaving(self) -> bool:
        """Twilio is to do `next_step` before the call comes back."""
        return self._call.state is State.LEAVING

    @property
    def is_talking(self) -> bool:
        """A stream carries the call, as far as it is known."""
        return self._call.state is State.TALKING

    def start(self, past: Past | None = None) -> None:
        """Begin: open the model's session while Twilio is still setting up the stream.

        `past` belongs to a call that had an owner before; that of a live one may still be on its way.
        """
        self._log.info("call-offered", fence=str(self.fence))
        self._received_at = time.perf_counter()
        now = self._loop.time()
        if past is None:
            self._guarded(lambda: self._call.start(now))
        elif self.request.kind is AssignKind.NEW:
            self._guarded(lambda: self._call.start_again(past.of_log, now))
        else:
            if self.request.kind is AssignKind.HANDOVER:
                self.line.send_to(subjects.token(self.request.gateway))
            self._past = past
            past.when_complete(self._take_over)
            limit_s = STAND_BY_S if self.request.kind is AssignKind.HANDOVER else TAKEOVER_STAND_BY_S
            self._guarded(lambda: self._call.stand_by(now, limit_s))

    def attach(self, fence: Fence, gateway: str, stream_sid: str) -> None:
        """A stream of this call is open at `gateway`; the one before it, if any, is told to go."""
        if self.line.gateway:
            self._send(FrameKind.HANG_UP, control.encode(control.HangUp(next=NextStep.HANG_UP)))
        self._record.release()
        self.line.open(fence, gateway)
        self._log.info("call-attached", fence=str(fence), gateway=gateway)
        self.apply(events.Attached(gateway, stream_sid))

    def give_up(self, why: str) -> None:
        """Another worker carries this call: end without a word, a verdict or an event."""
        if self.finished:
            return
        self._log.info("call-given-up", why=why)
        self._record.forget()
        self.finished = True
        self._stop()

    def lose_stream(self) -> None:
        """Take it that the stream is lost; its gateway stays known, for it may only be slow."""
        self.apply(events.StreamStopped(control.StopReason.STREAM_LOST, is_certain=False))

    def note_silence(self) -> None:
        """Its gateway does not answer: what it has to say may come later, and what it is sent be lost."""
        self.line.is_silent = True
        self.apply(events.BusChanged(is_up=False))

    def take_frame(self, frame: Frame) -> None:
        """Apply a frame from the gateway; refuse one of another owner, or one that is too late to matter."""
        if self._past is not None and self._past.misses_own(frame):
            metrics.FRAMES_REFUSED.labels("unowned").inc()
            return
        if not self.line.admits(frame):
            return
        if frame.kind == FrameKind.REVOKE:
            self.give_up("the gateway chose another worker")
        elif self._past is not None and self._past.takes(frame):
            return
        else:
            self._apply_frame(frame)

    def move(self) -> None:
        """Ask the gateway to give the call to another worker."""
        self._send(FrameKind.MOVE)

    def _apply_frame(self, frame: Frame) -> None:
        for event in self.line.events_of(frame):
            if isinstance(event, events.StreamStopped):
                if self._letting_go is not None:
                    self._stop_letting_go(event.reason)
                self.line.close()
            self.apply(event)

    async def _let_go(self, last_words: bytes, why: str) -> None:
        """Say the last words once the call's events are in its log: what came after a new owner's would not count."""
        if not await self._event_log.written(self.call_id, WRITTEN_S):
            self._log.warning(
                "event-log-behind", do="see whether JetStream is well; the next owner goes on without"
            )
        if self.finished:
            # Another worker took the call meanwhile.
            return
        self._send(FrameKind.CHECKPOINT, last_words, flags=FINAL)
        self.give_up(why)

    def _stop_letting_go(self, reason: control.StopReason) -> None:
        """The stream ended before another worker could go on: the call ends here."""
        assert self._letting_go is not None
        self._letting_go.cancel()
        verdict = STOPPED_FOR_GOOD.get(reason, Verdict.STREAM_LOST)
        self._record.write(ended(verdict, self._call.duration_ms, self._call.interruptions))
        self._finish(verdict, NextStep.HANG_UP)

    def _take_over(self) -> None:
        past = self._past
        if past is None or past.own is None or self.finished:
            return
        self._past = None
        self._record.release()
        self.line.send_to(past.own.gateway)
        self._on_owned(self)
        owned = past.owned(self.request)
        metrics.CALLS_TAKEN_OVER.labels(owned.cause).inc()
        items = len(owned.known.items)
        self._log.info("call-taken-over", fence=str(self.fence), cause=owned.cause, items=items)
        self._detours = owned.known.detours
        self.apply(owned)
        for frame in past.waiting:
            self._apply_frame(frame)

    def apply(self, event: events.Event) -> None:
        """Hand one event to the core and perform what follows."""
        if self.finished:
            return
        if isinstance(event, events.RateLimits):
            # About the account, not about this call.
            usage_metrics.tell_rate_limits(event, self._agent.model)
            return
        self._received_at = time.perf_counter()
        self._guarded(lambda: self._call.handle(event, self._loop.time()))

    def _guarded(self, step: Callable[[], list[commands.Command]]) -> None:
        try:
            for command in step():
                self._perform(command)
            self._alarm.ask(None if self.finished else self._call.wake_at())
        except Exception:  # noqa: BLE001 - the boundary of a call: its faults are its own
            metrics.CALL_ERRORS.inc()
            self._log.exception("call-fault")
            self._fail()

    def _perform(self, command: commands.Command) -> None:
        match command:
            case commands.SendToModel(event, number):
                session = self._sessions.get(self._session_in_use if number is None else number)
                if session is not None:
                    is_audio = isinstance(event, commands.AppendAudio)
                    session.send(event, self._received_at if is_audio else 0.0)
            case commands.Play(generation, ulaw):
                self._send(FrameKind.AUDIO, ulaw, generation)
            case commands.PutMark(generation, name):
                self._send(FrameKind.MARK, name.encode(), generation)
            case commands.ClearPlayback(generation):
                self._send(FrameKind.CLEAR, b"", generation)
            case commands.SendCheckpoint(checkpoint, needed_from_ms):
                told = control.Checkpoint(
                    needed_from_ms=needed_from_ms,
                    consumed_seq=self.line.consumed_seq,
                    state=encode(msgspec.structs.replace(checkpoint, detours=self._detours)),
                )
                if command.is_final:
                    self._last_words = control.encode(told)
                else:
                    self._send(FrameKind.CHECKPOINT, control.encode(told))
            case commands.TellReady():
                self._send(FrameKind.READY)
            case commands.TellResumed(number):
                self._send(FrameKind.RESUME, str(number).encode())
            case commands.LetGo(why):
                if self._last_words:
                    self._letting_go = asyncio.create_task(self._let_go(self._last_words, why), name="let-go")
                else:
                    self.give_up(why)
            case commands.Record(event):
                self._record.write(event)
            case commands.RecordLatency(latency):
                self._record.write_latency(latency, time.perf_counter() - self._received_at)
            case commands.Count(measure, amount, detail):
                metrics.count(measure, amount)
                if detail:
                    self._log.warning(measure.value, detail=detail)
            case commands.OpenSession(number):
                self._open_session(number)
            case commands.UseSession(number):
                self._session_in_use = self._record.session_in_use = number
            case commands.CloseSession(number):
                self._sessions.pop(number).close()
            case commands.RunTool(tool_call_id, request):
                task = self._tool_runner.start(tool_call_id, request, self.apply, self.line.heard)
                self._tools[tool_call_id] = task
                task.add_done_callback(lambda _: self._tools.pop(tool_call_id, None))
            case commands.CancelTool(tool_call_id) if tool_call_id in self._tools:
                self._tools[tool_call_id].cancel()
            case commands.HangUp(next_step, transfer, digits):
                self.next_step, self.transfer, self.digits = next_step, transfer, digits
                self._detours += next_step in _DETOURS
                self._send(FrameKind.HANG_UP, control.encode(control.HangUp(next=next_step)))
            case commands.AskForRedirect():
                redirect = control.Redirect(
                    call_id=self.call_id,
                    attach=self.fence.attach + 1,
                    started_at_ms=self.started_at_ms,
                    detours=self._detours,
                    worker=self._worker,
                )
                self._gateways.ask_for_redirect(redirect, self.apply)
            case commands.RecordOrphan(seconds, end):
                metrics.ORPHAN_SECONDS.labels(end).observe(seconds)
            case commands.Finish(verdict, next_step):
                self._finish(verdict, next_step)

    def _send(self, kind: FrameKind, payload: bytes = b"", generation: int = 0, flags: int = 0) -> None:
        self.line.send(kind, payload, generation=generation, flags=flags, received_at=self._received_at)

    def _open_session(self, number: int) -> None:
        delay_s = self._access.connect_delay_s()
        self._sessions[number] = Session(number, self._agent.model, self._settings, self.apply, delay_s)

    def _close_sessions(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _fail(self) -> None:
        if self.finished:
            return
        if self.stands_by:
            self.give_up("a fault")
            return
        self._send(FrameKind.HANG_UP, control.encode(control.HangUp(next=_FAULT_NEXT)))
        self._close_sessions()
        self._record.write(ended(Verdict.WORKER_ERROR, self._call.duration_ms, self._call.interruptions))
        self._finish(Verdict.WORKER_ERROR, _FAULT_NEXT)

    def _finish(self, verdict: Verdict, next_step: NextStep) -> None:
        if self.finished:
            return
        self.finished = True
        self.verdict = verdict
        self.next_step = next_step
        self._record.release()
        metrics.CALLS_ENDED.labels(verdict.outcome, verdict.reason).inc()
        self._log.info("call-ended", outcome=verdict.outcome, reason=verdict.reason)
        self._stop()

    def _stop(self) -> None:
        self._alarm.cancel()
        self._close_sessions()
        for task in self._tools.values():
            task.cancel()
        self._on_finish(self)
