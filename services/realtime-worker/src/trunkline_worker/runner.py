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

from trunkline_common import call_events, control, log, subjects
from trunkline_common.call_events import (
    CallEnded,
    CallEvent,
    Envelope,
    ModelConnected,
    ModelLost,
    ToolReturned,
    TurnLatency,
    Verdict,
)
from trunkline_common.control import AssignRequest, NextStep
from trunkline_common.frames import LATE_MS_MAX, Fence, Frame, FrameKind, Lateness, encode
from trunkline_worker import commands, events, metrics, realtime_refusals, usage_metrics
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call, State
from trunkline_worker.downlink import Downlink
from trunkline_worker.event_log import EventLog
from trunkline_worker.model_access import ModelAccess
from trunkline_worker.prices import PriceList
from trunkline_worker.session import Session
from trunkline_worker.settings import WorkerSettings
from trunkline_worker.tool_runner import ToolRunner

_log = log.get(__name__)

_FAULT_NEXT: Final = NextStep.FALLBACK


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
        on_finish: Callable[["CallRunner"], None],
    ) -> None:
        self.call_id = request.call_id
        self.started_at_ms = request.started_at_ms
        self.fence = request.fence
        self.next_step = NextStep.HANG_UP
        """What Twilio should be told once the call has ended."""
        self.finished = False
        self.verdict: Verdict | None = None
        self.gateway = ""
        self.consumed_seq = -1
        self._request = request
        self._agent = agent
        self._settings = settings
        self._downlink = downlink
        self._event_log = event_log
        self._access = access
        self._tool_runner = tool_runner
        self._tools: dict[str, asyncio.Task[None]] = {}
        """Requests of tools under way, by the model's id of the call; the core bounds them."""
        self.transfer: control.Transfer | None = None
        self.digits = ""
        self._on_finish = on_finish
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
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._received_at = 0.0
        self._attached_at = self._loop.time()
        self._down_subject = ""
        self._down_seq = 0
        self._lateness = Lateness()
        self._event_number = 0
        self._unattached: list[Envelope] | None = []
        """Events that wait for the first stream: a worker whose offer was not taken up leaves no trace."""
        self._log = _log.bind(call_id=self.call_id)

    @property
    def leaving(self) -> bool:
        """Twilio is to do `next_step` before the call comes back."""
        return self._call.state is State.LEAVING

    def start(self) -> None:
        """Begin: open the model's session while Twilio is still setting up the stream."""
        self._log.info("call-offered", fence=str(self.fence))
        self._received_at = time.perf_counter()
        self._guarded(lambda: self._call.start(self._loop.time()))

    def attach(self, fence: Fence, gateway: str, stream_sid: str) -> None:
        """A stream of this call is open at `gateway`; the one before it, if any, is told to go."""
        if self.gateway:
            self._send(FrameKind.HANG_UP, 0, control.encode(control.HangUp(next=NextStep.HANG_UP)))
        self._write_waiting_events()
        self.fence = fence
        self.gateway = gateway
        self.consumed_seq = -1
        self._attached_at = self._loop.time()
        self._down_subject = subjects.gateway_down(gateway, self.call_id)
        self._down_seq = 0
        self._lateness = Lateness()
        self._log.info("call-attached", fence=str(fence), gateway=gateway)
        self.apply(events.Attached(gateway, stream_sid))

    def give_up(self) -> None:
        """Another worker carries this call: end without a word, a verdict or an event."""
        self._log.info("call-given-up")
        self._unattached = None
        self.finished = True
        self._stop()

    def take_frame(self, frame: Frame) -> None:
        """Apply a frame from the gateway; refuse one of another owner, or one that is too late to matter."""
        if frame.fence != self.fence:
            metrics.FRAMES_REFUSED.labels("old-fence" if frame.fence < self.fence else "future-fence").inc()
            return
        missing = frame.seq - self.consumed_seq - 1
        if missing < 0:
            metrics.FRAMES_REFUSED.labels("repeated").inc()
            return
        if missing:
            metrics.FRAMES_LOST.inc(missing)
        self.consumed_seq = frame.seq
        event = _event_of(frame)
        if event is None:
            metrics.FRAMES_REFUSED.labels("unreadable").inc()
            return
        if frame.kind == FrameKind.AUDIO and self._lateness.of(frame.t_ms, self._loop.time()) > LATE_MS_MAX:
            metrics.FRAMES_REFUSED.labels("late").inc()
            return
        if isinstance(event, events.StreamStopped):
            self.gateway = ""
        self.apply(event)

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
            self._arm_timer()
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
                self._send(FrameKind.AUDIO, generation, ulaw)
            case commands.PutMark(generation, name):
                self._send(FrameKind.MARK, generation, name.encode())
            case commands.ClearPlayback(generation):
                self._send(FrameKind.CLEAR, generation, b"")
            case commands.Record(event):
                self._record(event)
            case commands.RecordLatency(latency):
                self._record_latency(latency)
            case commands.Count(measure, amount, detail):
                metrics.MEASURES[measure].inc(amount)
                if detail:
                    self._log.warning(measure.value, detail=detail)
            case commands.OpenSession(number):
                self._open_session(number)
            case commands.UseSession(number):
                self._session_in_use = number
            case commands.CloseSession(number):
                self._sessions.pop(number).close()
            case commands.RunTool(tool_call_id, request):
                task = self._tool_runner.start(tool_call_id, request, self.apply)
                self._tools[tool_call_id] = task
                task.add_done_callback(lambda _: self._tools.pop(tool_call_id, None))
            case commands.CancelTool(tool_call_id):
                running = self._tools.get(tool_call_id)
                if running is not None:
                    running.cancel()
            case commands.HangUp(next_step, transfer, digits):
                self.next_step, self.transfer, self.digits = next_step, transfer, digits
                self._send(FrameKind.HANG_UP, 0, control.encode(control.HangUp(next=next_step)))
            case commands.Finish(verdict, next_step):
                self._finish(verdict, next_step)

    def _send(self, kind: FrameKind, generation: int, payload: bytes) -> None:
        if not self.gateway:
            return
        t_ms = int((self._loop.time() - self._attached_at) * 1000)
        frame = Frame(kind, self.fence, self._down_seq, t_ms, generation, payload)
        self._down_seq += 1
        self._downlink.send(self._down_subject, encode(frame), kind, self._received_at)

    def _record(self, event: CallEvent) -> None:
        match event:
            case ModelConnected(connect_ms=connect_ms, cause=cause):
                metrics.MODEL_CONNECT_SECONDS.labels(cause).observe(connect_ms / 1000)
                self._access.session_began()
            case ModelLost():
                self._report_lost_model(event)
            case ToolReturned(outcome=outcome, duration_ms=duration_ms):
                metrics.TOOL_CALLS.labels(outcome).inc()
                if duration_ms:
                    metrics.TOOL_SECONDS.labels(outcome).observe(duration_ms / 1000)
            case CallEnded():
                event = msgspec.structs.replace(event, events_expected=self._event_number + 1)
        usage_metrics.count(event, self._agent.name)
        envelope = call_events.seal(
            event,
            call_id=self.call_id,
            call_started_at_ms=self._request.started_at_ms,
            # Of the owner, not of the stream: a call that Twilio attaches again goes on counting.
            fence=self._request.fence,
            n=self._event_number,
            at_ms=time.time_ns() // 1_000_000,
        )
        self._event_number += 1
        if self._unattached is None:
            self._event_log.append(envelope)
        else:
            self._unattached.append(envelope)

    def _write_waiting_events(self) -> None:
        waiting, self._unattached = self._unattached, None
        for envelope in waiting or ():
            self._event_log.append(envelope)

    def _record_latency(self, latency: TurnLatency) -> None:
        metrics.MODEL_SECONDS.observe(latency.model_ms / 1000)
        metrics.RESPONSE_SECONDS.observe(latency.response_ms / 1000)
        worker_ms = (time.perf_counter() - self._received_at) * 1000
        self._record(msgspec.structs.replace(latency, worker_ms=worker_ms))

    def _report_lost_model(self, lost: ModelLost) -> None:
        metrics.MODEL_LOST.labels("fatal" if lost.fatal else "passing").inc()
        self._access.session_lost(lost, self._agent.name, served=lost.session == self._session_in_use)
        advice = realtime_refusals.advice(lost.reason)
        if lost.fatal:
            self._log.error("model-refused", reason=lost.reason, do=advice)
        else:
            self._log.warning("model-lost", reason=lost.reason, do=advice)

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
        self._send(FrameKind.HANG_UP, 0, control.encode(control.HangUp(next=_FAULT_NEXT)))
        self._close_sessions()
        ended = CallEnded(
            outcome=Verdict.WORKER_ERROR.outcome,
            reason=Verdict.WORKER_ERROR.reason,
            duration_ms=self._call.duration_ms,
            interruptions=self._call.interruptions,
            events_expected=0,
        )
        self._record(ended)
        self._finish(Verdict.WORKER_ERROR, _FAULT_NEXT)

    def _finish(self, verdict: Verdict, next_step: NextStep) -> None:
        if self.finished:
            return
        self.finished = True
        self.verdict = verdict
        self.next_step = next_step
        self._write_waiting_events()
        metrics.CALLS_ENDED.labels(verdict.outcome, verdict.reason).inc()
        self._log.info("call-ended", outcome=verdict.outcome, reason=verdict.reason)
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._close_sessions()
        for task in self._tools.values():
            task.cancel()
        self._on_finish(self)

    def _arm_timer(self) -> None:
        """Keep one timer, at or before the time that the core asked for; an early one only asks again."""
        wake_at = None if self.finished else self._call.wake_at()
        if wake_at is None or (self._timer is not None and self._timer_at <= wake_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = self._loop.call_at(wake_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.apply(events.Tick())


def _event_of(frame: Frame) -> events.Event | None:
    """Return what a frame from the gateway means, or None when it means nothing to this version."""
    try:
        match frame.kind:
            case FrameKind.AUDIO:
                return events.CallerAudio(frame.t_ms, frame.payload)
            case FrameKind.MARK:
                return events.MarkPlayed(frame.payload.decode("ascii"))
            case FrameKind.DTMF:
                return events.KeyPressed(frame.payload.decode("ascii"))
            case FrameKind.STOP:
                return events.StreamStopped(_stop_reason(frame.payload.decode("ascii")))
            case FrameKind.LINE:
                report = control.decode(frame.payload, control.LineReport)
                return events.LineMeasured(report.twilio_rtt_ms, report.bus_rtt_ms)
    except (ValueError, control.ControlError):
        return None
    return None


def _stop_reason(word: str) -> control.StopReason:
    try:
        return control.StopReason(word)
    except ValueError:
        # From a newer gateway. The stream is over in any case; Twilio may attach the call again.
        return control.StopReason.STREAM_LOST
