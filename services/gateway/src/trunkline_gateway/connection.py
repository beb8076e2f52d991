"""Shell of one media stream: websocket ↔ `Stream` ↔ NATS.

Three kinds of tasks: the reader (also the short way of the caller's audio), the one writer, and the searches for
an owner of the call. Frames, pings and the end come from tasks that serve other calls too, through `on_frame` and
`feed`. Performing a command never waits for Twilio: what goes there passes through the outbox.
"""

import asyncio
import time
from typing import Final, assert_never

from trunkline_common import frames, log, service, subjects
from trunkline_common.frames import Frame, FrameKind
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics, twilio, twiml
from trunkline_gateway.assignment import Full, Refusal
from trunkline_gateway.events import (
    Abandon,
    AgentHeard,
    AskWorkers,
    Assigned,
    Attached,
    AttachFailed,
    BinaryReceived,
    ChangeOwner,
    Close,
    ComfortPlayed,
    DropFrame,
    EndDecided,
    Ended,
    Event,
    FindOwner,
    FramesLost,
    HandoverOver,
    LineMeasured,
    LinkLost,
    NotAssigned,
    OtherCommand,
    Publish,
    Reject,
    Revoke,
    Send,
    SendClear,
    SocketClosed,
    TakeoverOver,
    Unwatch,
    Wake,
    Watch,
)
from trunkline_gateway.gateway import Gateway, Link
from trunkline_gateway.outbox import Closing, Outbox
from trunkline_gateway.ownership import Owner
from trunkline_gateway.reasons import REFUSALS, Drop, Ending, Rejection
from trunkline_gateway.stream import State, Stream
from trunkline_gateway.stream_token import Facts

WRITE_STALL_S_MAX: Final = 10.0
"""Twilio reads what it is sent; a write that takes so long goes to a dead peer."""

TIMER_SLACK_S: Final = 0.001
"""The event loop's timers count whole milliseconds and may fire early."""

NORMAL_CLOSE_MISSING: Final = 1005

_log = log.get(__name__)
_UP_AUDIO: Final = metrics.FRAMES_UP_BY_KIND[FrameKind.AUDIO]


class Connection:
    """One accepted websocket."""

    def __init__(self, gateway: Gateway, link: Link, receive: service.Receive, send: service.Send) -> None:
        self.attach = 0
        """The attach number of its token; 0 until that was checked."""
        self._gateway = gateway
        self._link = link
        self._receive = receive
        self._send = send
        self._stream = Stream(time.monotonic(), gateway.gateway_id)
        self._outbox = Outbox()
        self._log = _log
        self.call_id = ""
        """Of the call, once its token was checked."""
        self._facts: Facts | None = None
        self._worker = ""
        self._watched: set[str] = set()
        self._refused: set[Drop] = set()
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
            self._gateway.streams.leave(self.call_id, self)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of ours is left to play at Twilio."""
        return self._stream.is_quiet(time.monotonic())

    def newest_seq_at(self, worker: str) -> int | None:
        """Return the number of the newest frame that this worker was sent; None while frames wait, or it has none."""
        return self._stream.newest_seq if worker == self._worker else None

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
            unsent: bytes | None = None
            for command in self._stream.handle(event, time.monotonic()):
                if not isinstance(command, Publish):
                    await self._perform(command)
                elif unsent is None and not await self._publish(command):
                    # What is behind it must not overtake it.
                    unsent = command.frame
            self._set_timer()
            if unsent is not None:
                await self.feed(LinkLost(frames.decode(unsent).seq))
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
                    else:
                        await self.feed(LinkLost(frames.decode(frame).seq))
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

    async def _perform(self, command: OtherCommand) -> None:
        match command:
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
            case AskWorkers():
                self._tasks.create_task(self._ask_workers(command), name="stream-ask-workers")
            case Watch(worker):
                self._watch(worker)
            case Unwatch(worker):
                self._unwatch(worker)
            case ChangeOwner():
                self._on_owner_changed(command)
            case Revoke(worker, frame):
                await self._link.bus.publish(subjects.worker_up(worker, self.call_id), frame)
            case Reject(rejection, is_first):
                self._gateway.rejections.note(rejection, log_it=is_first, **self._call_fields())
            case DropFrame(drop):
                self._on_dropped(drop)
            case FramesLost(frames):
                metrics.FRAMES_LOST.inc(frames)
            case LineMeasured() | AgentHeard() | ComfortPlayed() | TakeoverOver() | HandoverOver():
                _count(command)
            case Ended(ending):
                self._on_ended(ending)
            case _:
                assert_never(command)

    async def _publish(self, command: Publish) -> bool:
        sent = await self._link.bus.publish_audio(self._up_subject, command.frame)
        if not sent and command.kind == FrameKind.STOP:
            # Late is better than never, and nothing follows it.
            await self._link.bus.publish(self._up_subject, command.frame)
            sent = True
        if sent:
            metrics.FRAMES_UP_BY_KIND[command.kind].inc()
            if command.is_replayed:
                metrics.FRAMES_REPLAYED.inc()
        return sent

    async def _ask_workers(self, command: AskWorkers) -> None:
        """Ask once for a worker that goes on with the live call; one of `Assigned` and `NotAssigned` follows."""
        assert self._facts is not None
        result = await self._link.assignment.ask(
            self._facts, command.kind, command.fence.assign, self._worker, command.lost
        )
        if isinstance(result, Owner):
            await self.feed(Assigned(command.fence, result.worker))
        else:
            await self.feed(NotAssigned(command.fence, is_full=isinstance(result, Full)))

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
        self._facts, self.call_id, self.attach = facts, call_id, facts.attach
        self._log = _log.bind(call_id=call_id, attach=facts.attach)
        log.bind_call(call_id)
        self._gateway.streams.attaching(call_id, self)
        result = await self._link.assignment.attach(facts, start.stream_sid)
        if isinstance(result, Refusal):
            await self.feed(AttachFailed(result.ending, result.rejection))
            return
        self._up_subject = subjects.worker_up(result.worker, call_id)
        if self._stream.state is not State.ATTACHING:
            await self.feed(Attached(result.fence, result.worker))
            return
        self._worker = result.worker
        self._watch(result.worker)
        older = self._gateway.streams.attached(call_id, self)
        await self.feed(Attached(result.fence, result.worker))
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

    def _on_dropped(self, drop: Drop) -> None:
        metrics.FRAMES_DROPPED.labels(drop).inc()
        if drop in REFUSALS and drop not in self._refused:
            self._refused.add(drop)
            self._log.warning("frames-refused", reason=drop.value, owner=str(self._stream.fence))

    def _on_owner_changed(self, change: ChangeOwner) -> None:
        self._up_subject = subjects.worker_up(change.worker, self.call_id)
        self._worker = change.worker
        self._watch(change.worker)
        if change.before != change.worker:
            self._unwatch(change.before)
        if change.loss:
            metrics.TAKEOVER_SECONDS.observe(change.seconds)
        self._log.info(
            "owner-changed",
            from_worker=change.before,
            to_worker=change.worker,
            fence=str(change.fence),
            why=change.loss or "handover",
            seconds=round(change.seconds, 3),
            frames=change.frames,
        )

    def _watch(self, worker: str) -> None:
        # Once it is over, nothing would end the watch.
        if self._stream.state is State.ATTACHING or self._stream.state is State.ACTIVE:
            self._watched.add(worker)
            self._link.workers.hold(worker, self)

    def _unwatch(self, worker: str) -> None:
        self._watched.discard(worker)
        self._link.workers.release(worker, self)

    def _on_ended(self, ending: Ending) -> None:
        for worker in tuple(self._watched):
            self._unwatch(worker)
        metrics.STREAMS_ENDED.labels(ending.label).inc()
        self._log.info(
            "stream-ended",
            reason=ending.label,
            code=self._close_code,
            seconds=round(time.monotonic() - self._opened_at, 1),
        )

    def _call_fields(self) -> dict[str, str]:
        return {"call_id": self.call_id} if self.call_id else {}

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


def _count(command: LineMeasured | AgentHeard | ComfortPlayed | TakeoverOver | HandoverOver) -> None:
    match command:
        case LineMeasured(round_trip_s):
            metrics.MARK_ROUND_TRIP_SECONDS.observe(round_trip_s)
        case AgentHeard(seconds):
            metrics.AGENT_BACK_SECONDS.observe(seconds)
        case ComfortPlayed(seconds):
            metrics.COMFORT_SECONDS.inc(seconds)
        case TakeoverOver(loss, result):
            metrics.TAKEOVERS.labels(loss, result).inc()
        case HandoverOver(result):
            metrics.HANDOVERS.labels(result).inc()
        case _:
            assert_never(command)
