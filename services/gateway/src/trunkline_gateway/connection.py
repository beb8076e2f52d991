"""Shell of one media stream: websocket ↔ `Stream` ↔ NATS.

Three kinds of tasks: the reader (also the short way of the caller's audio), the one writer, and the search for
the call's owner. Frames, pings and the end come from tasks that serve other calls too, through `on_frame` and
`feed`. Performing a command never waits for Twilio: what goes there passes through the outbox.
"""

import asyncio
import time
from typing import Final, assert_never

from trunkline_common import log, service, subjects
from trunkline_common.frames import Frame, FrameKind
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics, twilio, twiml
from trunkline_gateway.assignment import Refusal
from trunkline_gateway.events import (
    Abandon,
    Attached,
    AttachFailed,
    BinaryReceived,
    Close,
    Command,
    DropFrame,
    EndDecided,
    Ended,
    Event,
    FindOwner,
    FramesLost,
    LineMeasured,
    Publish,
    Reject,
    Send,
    SendClear,
    SocketClosed,
    Wake,
)
from trunkline_gateway.gateway import Gateway, Link
from trunkline_gateway.outbox import Closing, Outbox
from trunkline_gateway.reasons import Drop, Ending, Rejection
from trunkline_gateway.stream import State, Stream

WRITE_STALL_S_MAX: Final = 10.0
"""Twilio reads what it is sent; a write that takes so long goes to a dead peer."""

TIMER_SLACK_S: Final = 0.001
"""The event loop's timers count whole milliseconds and may fire early."""

NORMAL_CLOSE_MISSING: Final = 1005

_log = log.get(__name__)
_UP_AUDIO: Final = metrics.FRAMES_UP_BY_KIND[FrameKind.AUDIO]
_MUST_ARRIVE: Final = frozenset({FrameKind.DTMF, FrameKind.STOP})
"""Late is better than never for these: they wait for the link where audio is dropped."""


class Connection:
    """One accepted websocket."""

    def __init__(self, gateway: Gateway, link: Link, receive: service.Receive, send: service.Send) -> None:
        self.attach = 0
        """The attach number of its token; 0 until that was checked."""
        self._gateway = gateway
        self._link = link
        self._receive = receive
        self._send = send
        self._stream = Stream(time.monotonic())
        self._outbox = Outbox()
        self._log = _log
        self._call_id = ""
        self._worker = ""
        self._up_subject = ""
        self._close_code = NORMAL_CLOSE_MISSING
        self._opened_at = time.monotonic()
        self._writing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Carry the stream until its socket is closed and its worker was told."""
        self._gateway.streams.enter(self)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                writer = self._tasks.create_task(self._write(), name="stream-writer")
                self._reader = self._tasks.create_task(self._read(), name="stream-reader")
                self._set_timer()
                await asyncio.wait([self._reader])
                await self.feed(SocketClosed(self._close_code))
                writer.cancel()
        finally:
            await self.feed(SocketClosed(self._close_code))
            if self._timer:
                self._timer.cancel()
            self._gateway.streams.leave(self._call_id, self)

    async def on_frame(self, frame: Frame, received_at: float) -> None:
        """Take a frame of the worker; agent audio goes the short way."""
        text = self._stream.agent_audio(frame, time.monotonic())
        if text is None:
            await self.feed(frame)
        elif not self._outbox.put(text, len(frame.payload), received_at):
            metrics.FRAMES_DROPPED.labels(Drop.OUTBOX_FULL).inc()

    async def feed(self, event: Event) -> None:
        """Apply one event and perform everything that follows.

        The callers serve other streams as well, so a fault in here ends this stream and nothing else.
        """
        try:
            for command in self._stream.handle(event, time.monotonic()):
                await self._perform(command)
            self._set_timer()
        except Exception:  # noqa: BLE001 - see above
            self._log.exception("stream-broken", cause=type(event).__name__)
            if isinstance(event, EndDecided):
                self._reader.cancel()
            else:
                await self.feed(EndDecided(Ending.GATEWAY_ERROR))

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            received_at = time.perf_counter()
            if message["type"] == "websocket.disconnect":
                self._close_code = message.get("code") or NORMAL_CLOSE_MISSING
                return
            text = message.get("text")
            if text is None:
                await self.feed(BinaryReceived())
                continue
            event = twilio.decode(text)
            if type(event) is twilio.Media:
                frame = self._stream.caller_audio(event, time.monotonic())
                if frame is not None:
                    if await self._link.bus.publish_audio(self._up_subject, frame):
                        _UP_AUDIO.inc()
                    metrics.UP_SECONDS.observe(time.perf_counter() - received_at)
                    continue
            await self.feed(event)

    async def _write(self) -> None:
        while True:
            item = await self._outbox.next()
            self._writing_since = time.monotonic()
            try:
                if isinstance(item, Closing):
                    await self._send({"type": "websocket.close", "code": item.code, "reason": item.reason})
                    return
                await self._send({"type": "websocket.send", "text": item.text})
            except (OSError, RuntimeError):
                # The socket is gone, or uvicorn has closed it and refuses more; the reader hears of it.
                return
            self._writing_since = None
            if item.received_at:
                metrics.DOWN_SECONDS.observe(time.perf_counter() - item.received_at)

    async def _perform(self, command: Command) -> None:
        match command:
            case Publish(kind, frame):
                await self._publish(kind, frame)
            case Send(text, audio_bytes):
                if not self._outbox.put(text, audio_bytes):
                    metrics.FRAMES_DROPPED.labels(Drop.OUTBOX_FULL).inc()
            case SendClear(text):
                dropped = self._outbox.put_instead(text)
                metrics.FRAMES_DROPPED.labels(Drop.CLEARED_GENERATION).inc(dropped)
            case Close(code, reason, after_queued):
                self._outbox.close(code, reason, after_queued=after_queued)
            case Abandon():
                self._log.warning("socket-did-not-close")
                self._reader.cancel()
            case FindOwner(start):
                self._tasks.create_task(self._attach(start), name="stream-attach")
            case Reject(rejection, is_first):
                self._gateway.rejections.note(rejection, log_it=is_first, **self._call_fields())
            case DropFrame(drop):
                metrics.FRAMES_DROPPED.labels(drop).inc()
            case FramesLost(frames):
                metrics.FRAMES_LOST.inc(frames)
            case LineMeasured(round_trip_s):
                metrics.MARK_ROUND_TRIP_SECONDS.observe(round_trip_s)
            case Ended(ending):
                self._on_ended(ending)
            case _:
                assert_never(command)

    async def _publish(self, kind: FrameKind, frame: bytes) -> None:
        sent = await self._link.bus.publish_audio(self._up_subject, frame)
        if not sent and kind in _MUST_ARRIVE:
            await self._link.bus.publish(self._up_subject, frame)
            sent = True
        if sent:
            metrics.FRAMES_UP_BY_KIND[kind].inc()

    async def _attach(self, start: twilio.Start) -> None:
        """Check the token, find the owner; one of `Attached` and `AttachFailed` follows."""
        began = time.perf_counter()
        body = start.start
        try:
            call_id = subjects.token(body.call_sid)
        except InvalidTokenError:
            await self.feed(AttachFailed(Ending.REFUSED, Rejection.BAD_START))
            return
        account = self._gateway.settings.twilio_account_sid
        if account and body.account_sid != account:
            await self.feed(AttachFailed(Ending.REFUSED, Rejection.WRONG_ACCOUNT))
            return
        facts = self._gateway.tokens.redeem(
            body.custom_parameters.get(twiml.TOKEN_PARAMETER, ""),
            call_id=call_id,
            account_sid=body.account_sid,
            caller=body.custom_parameters.get(twiml.CALLER_PARAMETER, ""),
            called=body.custom_parameters.get(twiml.CALLED_PARAMETER, ""),
            now_ms=time.time_ns() // 1_000_000,
        )
        if isinstance(facts, Rejection):
            await self.feed(AttachFailed(Ending.REFUSED, facts))
            return
        self._call_id, self.attach = call_id, facts.attach
        self._log = _log.bind(call_id=call_id, attach=facts.attach)
        log.bind_call(call_id)
        self._gateway.streams.attaching(call_id, self)
        result = await self._link.assignment.attach(facts, start.stream_sid)
        if isinstance(result, Refusal):
            await self.feed(AttachFailed(result.ending, result.rejection))
            return
        self._up_subject = subjects.worker_up(result.worker, call_id)
        if self._stream.state is not State.ATTACHING:
            await self.feed(Attached(result.fence))
            return
        self._worker = result.worker
        self._link.workers.hold(result.worker, self)
        older = self._gateway.streams.attached(call_id, self)
        await self.feed(Attached(result.fence))
        attach_s = time.perf_counter() - began
        metrics.ATTACH_SECONDS.observe(attach_s)
        self._log.info(
            "stream-started",
            stream_sid=start.stream_sid,
            worker=result.worker,
            fence=str(result.fence),
            attach_ms=round(attach_s * 1000, 1),
        )
        if older is not None:
            await older.feed(EndDecided(Ending.REPLACED))

    def _on_ended(self, ending: Ending) -> None:
        if self._worker:
            self._link.workers.release(self._worker, self)
        metrics.STREAMS_ENDED.labels(ending.label).inc()
        self._log.info(
            "stream-ended",
            reason=ending.label,
            code=self._close_code,
            seconds=round(time.monotonic() - self._opened_at, 1),
        )

    def _call_fields(self) -> dict[str, str]:
        return {"call_id": self._call_id} if self._call_id else {}

    def _set_timer(self) -> None:
        wake_at = self._stream.wake_at()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            delay_s = max(wake_at - time.monotonic(), 0) + TIMER_SLACK_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._tasks.create_task(self._wake(), name="stream-wake")

    async def _wake(self) -> None:
        if self._writing_since and time.monotonic() > self._writing_since + WRITE_STALL_S_MAX:
            await self.feed(EndDecided(Ending.STREAM_LOST))
        await self.feed(Wake())
