"""One simulated call from the first webhook to the last callback, as Twilio would conduct it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal, TypeVar, assert_never

import soundfile as sf

from trunkline_simulators import twilio_conversations, twilio_sounds
from trunkline_simulators import twilio_program as program
from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_caller import Caller
from trunkline_simulators.twilio_line import Line
from trunkline_simulators.twilio_program import EndReason
from trunkline_simulators.twilio_queue_stay import QueueStay
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_stream import BROKEN, MediaStream, StreamOf
from trunkline_simulators.twilio_trace import Event, Trace
from trunkline_simulators.twilio_webhooks import Webhooks, call_fields

CallStatus = Literal[
    "ringing", "in-progress", "completed", "busy", "no-answer", "failed", "canceled", "answered"
]
"""(Twilio: Call resource); `answered` is one of `<Dial>` only."""

T = TypeVar("T")


async def place_call(
    settings: CallSettings,
    on_event: Callable[[Event], None] | None = None,
    on_live: Callable[[LiveCall], None] | None = None,
) -> CallResult:
    """Place one call and return how it went; `on_event` sees it live (see `Trace`), `on_live` gets hold of it."""
    lines = await asyncio.to_thread(twilio_conversations.lines, settings.conversation)
    call_sid = settings.outbound.call_sid if settings.outbound else f"CA{secrets.token_hex(16)}"
    trace = Trace(call_sid, on_event)
    # Making a client reads the certificates of the authorities from files.
    webhooks = await asyncio.to_thread(
        Webhooks,
        settings.auth_token,
        settings.connect_to,
        trace,
        wrong_signature=settings.faults.webhook_signature == "wrong",
    )
    try:
        call = LiveCall(settings, call_sid, Caller(settings.conversation, lines), webhooks, trace)
        if on_live is not None:
            on_live(call)
        result = await call.run()
    finally:
        await webhooks.aclose()
    if settings.record is not None:
        result.heard_wav, result.trace = await asyncio.to_thread(trace.write, settings.record)
    return result


class LiveCall:
    """A call under way; what the REST API can do with it is `update` and `end`."""

    def __init__(
        self, settings: CallSettings, call_sid: str, caller: Caller, webhooks: Webhooks, trace: Trace
    ) -> None:
        self._settings = settings
        self._caller = caller
        self._webhooks = webhooks
        self._trace = trace
        self._result = CallResult(call_sid)
        self._line = Line(caller, trace, round(settings.time_limit_s * 1000))
        redirects_are_told = settings.faults.redirects_in_queue == "told"
        self._program = program.Program(
            settings.webhook, settings.fallback_url, settings.after_lost_stream, redirects_are_told
        )
        self._queue = QueueStay(settings.queues, self._result, trace)
        self._tasks = asyncio.TaskGroup()
        self._stream_ended_ms: float | None = None
        self._update: program.Updated | None = None
        self._updated = asyncio.Event()
        self.call_sid = call_sid
        self.direction = "inbound" if settings.outbound is None else "outbound-api"
        self.status: CallStatus = "ringing"
        self._of = StreamOf(
            account_sid=settings.account_sid,
            call_sid=call_sid,
            signature=lambda url: webhooks.signature(url, {}),
            connect_to=settings.connect_to,
            faults=settings.faults,
            seed=settings.seed,
        )

    async def run(self) -> CallResult:
        """Live through the whole call."""
        faults, line, result = self._settings.faults, self._line, self._result
        line.plan(faults.hang_up_at_ms, self._hang_up_early)
        line.plan(faults.reset_at_ms, self._reset)
        line.plan(faults.duplicate_at_ms, self._duplicate)
        async with self._tasks:
            clock = self._tasks.create_task(line.keep_time())
            line.hang_up(await self._ring() or await self._drive())
            result.duration_ms = round(line.call_ms())
            if line.answered.is_set():
                self.status = "completed"
            elif line.end_reason == "reject":
                self.status = self._program.rejected_as
            clock.cancel()
        assert line.end_reason is not None
        result.end_reason = line.end_reason
        result.status = self.status
        self._trace.add("ended", reason=line.end_reason)
        if self._queue.is_waiting:
            await self._drive_out()
        await self._report_end()
        result.script_finished = result.script_finished or self._caller.finished
        result.warnings = self._trace.warnings
        result.reply_ms, result.yielded_ms = line.reply_ms, line.yielded_ms
        result.clock_late_ms = round(line.late_ms_max, 1)
        return result

    def update(self, updated: program.Updated) -> None:
        """Let the call leave what it does for another document; a stream is stopped as by a hang-up."""
        self._update = updated
        self._updated.set()
        self._trace.add("updated", url=updated.url)

    def end(self) -> None:
        """Hang up on both sides."""
        if not self._line.answered.is_set():
            self.status = "canceled"
        self._line.hang_up("ended-by-api")

    async def _ring(self) -> EndReason | None:
        """Let an outbound call ring; return why it ends when nobody answers."""
        outbound, callee = self._settings.outbound, self._settings.callee
        if outbound is None:
            return None
        await self._unless_over(asyncio.sleep(callee.ringing_s(outbound.ring_s)))
        if self._line.end_reason is not None:
            return self._line.end_reason
        status = callee.status(outbound.ring_s)
        if status != "completed":
            self.status = status
            return "not-answered"
        self._answer()
        if outbound.detection_callback is not None:
            self._tasks.create_task(self._detect(outbound.detection_callback))
        return None

    async def _detect(self, url: str) -> None:
        callee = self._settings.callee
        await self._unless_over(asyncio.sleep(callee.detection_s))
        if self._line.over.is_set():
            return
        fields = {
            "AccountSid": self._settings.account_sid,
            "AnsweredBy": callee.answered_by,
            "CallSid": self._result.call_sid,
            "MachineDetectionDuration": str(round(callee.detection_s * 1000)),
        }
        self._trace.add("callee-detected", answered_by=callee.answered_by)
        await self._call_back(url, "POST", fields)

    async def _drive(self) -> EndReason:
        commands = self._program.begin()
        while True:
            for command in commands:
                match command:
                    case twiml.Warned():
                        self._trace.warn(command)
                    case program.Finish(reason):
                        if reason != "reject":
                            self._answer()
                        return reason
                    case _:
                        outcome = await self._perform(command)
            if self._line.end_reason is not None:
                return self._line.end_reason
            if self._update is not None:
                outcome, self._update = self._update, None
                self._updated.clear()
                self._queue.leave("redirected")
            commands = self._program.handle(outcome)

    async def _perform(self, order: program.Order) -> program.Event:
        if isinstance(order, program.Fetch):
            return await self._fetch(order)
        if not (isinstance(order, twiml.Dial) and order.answer_on_bridge):
            self._answer()
        match order:
            case program.JoinQueue(queue):
                return self._queue.join(queue)
            case program.LeaveQueue(result):
                return program.QueueLeft(self._queue.leave(result))
            case twiml.Stream(url=url):
                self._trace.add("twiml", verb="Connect", url=url, parameters=sorted(order.parameters))
                return await self._connect(order)
            case twiml.Say(text, loops):
                self._result.said.append(text)
                self._trace.add("twiml", verb="Say", text=text)
                words = len(text.split()) * loops
                await self._unless_over(asyncio.sleep(words * self._settings.word_ms / 1000))
            case twiml.Play(url, loops):
                self._result.played.append(url)
                self._trace.add("twiml", verb="Play", url=url)
                await self._unless_over(self._play(url, loops))
            case twiml.Pause(length_s):
                self._trace.add("twiml", verb="Pause", length_s=length_s)
                await self._unless_over(asyncio.sleep(length_s))
            case twiml.PlayDigits(digits):
                self._result.digits.append(digits)
                self._trace.add("twiml", verb="Play", digits=len(digits))
                sound = await asyncio.to_thread(twilio_sounds.dtmf, digits)
                await self._unless_over(self._line.let_hear(sound))
            case twiml.Dial(numbers):
                self._result.dialled.extend(numbers)
                self._trace.add("twiml", verb="Dial", numbers=len(numbers))
                return await self._dial(order.ring_s)
            case _:
                assert_never(order)
        return program.VerbDone()

    async def _fetch(self, request: program.Fetch) -> program.Event:
        fields = {**self._fields(), **request.parameters}
        if request.of_queue:
            fields |= self._queue.fields()
        asked = self._webhooks.ask(request.url, request.method, fields)
        outcome = await self._unless_over(asked)
        return outcome or program.Failed("the caller hung up first")

    def _answer(self) -> None:
        self._line.answer()
        if self.status == "ringing":
            self.status = "in-progress"

    async def _dial(self, ring_s: int) -> program.DialEnded:
        callee = self._settings.callee
        talk_s = callee.talk_s if callee.answers_within(ring_s) else 0.0
        await self._unless_over(asyncio.sleep(callee.ringing_s(ring_s) + talk_s))
        status = callee.status(ring_s)
        if status == "completed":
            self._answer()
        self._trace.add("dial-ended", status=status)
        return program.DialEnded(status)

    async def _drive_out(self) -> None:
        """Tell the action of `<Enqueue>` of a caller who hung up; whatever it answers, nobody hears it."""
        for command in self._program.handle(program.QueueLeft(self._queue.leave("hangup"))):
            if isinstance(command, program.Fetch):
                await self._call_back(command.url, command.method, {**self._fields(), **command.parameters})

    async def _play(self, url: str, loops: int) -> None:
        answer = await self._webhooks.ask(url, "GET", {})
        if isinstance(answer, program.Failed):
            self._trace.warn(twiml.Warned(program.HTTP_FAILURE, answer.detail))
            return
        try:
            sound = await asyncio.to_thread(twilio_sounds.telephone_sound, answer.body)
        except sf.LibsndfileError as error:
            self._trace.warn(twiml.Warned(twiml.WRONG_CONTENT_TYPE, f"<Play>: {error.error_string}"))
            return
        for _ in range(loops):
            await self._line.let_hear(sound)

    async def _unless_over(self, work: Coroutine[Any, Any, T]) -> T | None:
        working = asyncio.create_task(work)
        over = asyncio.create_task(self._line.over.wait())
        updated = asyncio.create_task(self._updated.wait())
        tasks = (working, over, updated)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _connect(self, order: twiml.Stream) -> program.StreamEnded:
        stream = MediaStream(order, self._of, self._trace, self._line.call_ms, self._stream_started)
        self._line.stream = stream
        living = self._tasks.create_task(self._live_through(stream))
        left = self._tasks.create_task(self._updated.wait())
        await asyncio.wait((living, left), return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        self._line.stream = None
        self._stream_ended_ms = self._line.call_ms()
        self._trace.add("stream-ended", stream_sid=stream.stream_sid)
        if not living.done():
            # A server that hangs does not keep the call from its new document.
            stream.hang_up()
            return program.StreamEnded(stream.stream_sid, None)
        error = await living
        if error is not None and error.code == BROKEN and stream.started:
            await self._notice()
        return program.StreamEnded(stream.stream_sid, error)

    async def _live_through(self, stream: MediaStream) -> twiml.Warned | None:
        error = await stream.run()
        self._result.add(stream)
        if error is not None:
            self._report_stream(stream, "stream-error", {"StreamError": f"{error.code} {error.detail}"})
        if stream.started:
            self._report_stream(stream, "stream-stopped")
        return error

    async def _notice(self) -> None:
        after_s = self._settings.notices_lost_stream_after_s
        await self._unless_over(asyncio.Event().wait() if after_s is None else asyncio.sleep(after_s))

    def _stream_started(self, stream: MediaStream) -> None:
        self._result.attaches += 1
        if self._stream_ended_ms is not None:
            self._result.reattach_gaps_ms.append(round(self._line.call_ms() - self._stream_ended_ms))
        self._report_stream(stream, "stream-started")

    def _report_stream(self, stream: MediaStream, event: str, more: Mapping[str, str] | None = None) -> None:
        order = stream.order
        if order.status_callback is None:
            return
        fields = {
            "AccountSid": self._settings.account_sid,
            "CallSid": self._result.call_sid,
            "StreamSid": stream.stream_sid,
            "StreamName": order.name or stream.stream_sid,
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **(more or {}),
        }
        self._tasks.create_task(self._call_back(order.status_callback, order.status_callback_method, fields))

    async def _report_end(self) -> None:
        if self._settings.status_callback is None:
            return
        fields = {
            **self._fields(),
            "CallStatus": self.status,
            "CallDuration": str(-(-self._result.duration_ms // 1000)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
            "Timestamp": format_datetime(datetime.now(UTC)),
        }
        await self._call_back(self._settings.status_callback, "POST", fields)

    async def _call_back(self, url: str, method: str, fields: Mapping[str, str]) -> None:
        answer = await self._webhooks.ask(url, method, fields)
        if isinstance(answer, program.Failed):
            self._trace.warn(twiml.Warned(program.HTTP_FAILURE, answer.detail))

    def _fields(self) -> dict[str, str]:
        settings = self._settings
        fields = call_fields(
            settings.account_sid, self._result.call_sid, settings.caller, settings.called, self.status
        )
        return fields if settings.outbound is None else {**fields, "Direction": "outbound-api"}

    def _hang_up_early(self) -> None:
        self._result.script_finished = True  # this was the script
        self._line.hang_up("caller-hung-up")

    def _reset(self) -> None:
        if self._line.stream is not None:
            self._line.stream.reset()

    def _duplicate(self) -> None:
        if self._line.stream is not None:
            self._tasks.create_task(self._connect_duplicate(self._line.stream.order))

    async def _connect_duplicate(self, order: twiml.Stream) -> None:
        # Its messages would only confuse the record of the stream that the caller hears.
        unrecorded = Trace(self._result.call_sid)
        duplicate = MediaStream(order, self._of, unrecorded, self._line.call_ms, lambda _: None)
        self._line.duplicate = duplicate
        if self._line.over.is_set():
            duplicate.hang_up()
        error = await duplicate.run()
        self._line.duplicate = None
        self._trace.add("duplicate-ended", error=None if error is None else f"{error.code} {error.detail}")
