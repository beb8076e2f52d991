"""Pure: the rules of one media stream, between Twilio's websocket and the call's owner.

    AWAITING_START ──start──▶ ATTACHING ──owner found──▶ ACTIVE
          └─────────────────────┴── ending decided ───────┴──▶ ENDING ──socket closed──▶ ENDED

* One event in, everything that follows out: `handle(event, now) -> list[Command]`; `wake_at` asks for `Wake`.
* The two kinds of frames that come 50 times a second have a short way each, `caller_audio` and `agent_audio`.
  They answer None, and have done nothing, whenever a frame is not the everyday case: `handle` takes it then.
* Only frames under the stream's own fence pass, in both directions.
* After `clear` nothing of an older playback generation reaches Twilio.
* A stream ends once, for one reason; the worker hears of it once, and never before it was attached.
"""

from collections import deque
from enum import Enum
from typing import Final, assert_never

from trunkline_common import control
from trunkline_common.frames import LATE_MS_MAX, Fence, Frame, FrameKind, Lateness, encode
from trunkline_gateway import twilio
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
    Pinged,
    Publish,
    Reject,
    Send,
    SendClear,
    SocketClosed,
    Wake,
)
from trunkline_gateway.message_rate import MessageRate
from trunkline_gateway.probe import PROBE_PREFIX, LineProbe
from trunkline_gateway.reasons import Drop, Ending, Rejection

START_DEADLINE_S: Final = 5.0
"""Twilio sends `start` right after `connected`."""

CLOSE_DEADLINE_S: Final = 5.0
"""For each step of an end: Twilio closing after `stop`, what is queued being written, the close handshake."""

ATTACH_BUFFER_BYTES_MAX: Final = 2_000 * twilio.BYTES_PER_MS
"""Two seconds of the caller until a worker is found; older words would be answered out of place."""

ATTACH_BUFFER_FRAMES_MAX: Final = 400
"""Bounds it for frames smaller than the usual 20 ms, too."""

EARLY_FRAMES_MAX: Final = 64
"""The owner's first frames may overtake its answer, on another connection; by milliseconds, not by more."""

BAD_MESSAGES_MAX: Final = 5
"""The next one closes the socket: one is an accident, six are no Media Stream."""


NOT_ATTACHED: Final = Fence(0, 0)
"""Below every fence that a call can have."""


class State(Enum):
    """Where the stream is."""

    AWAITING_START = "awaiting-start"
    ATTACHING = "attaching"
    ACTIVE = "active"
    ENDING = "ending"
    ENDED = "ended"


class Stream:
    """One media stream, from the accepted socket to its end."""

    def __init__(self, now: float) -> None:
        self.state = State.AWAITING_START
        self.fence = NOT_ATTACHED
        """What frames of both directions must carry."""
        self._stream_sid = ""
        self._outgoing = twilio.Outgoing("")
        self._deadline = now + START_DEADLINE_S
        self._rate = MessageRate()
        self._rejected: set[Rejection] = set()
        self._bad_messages = 0
        self._probe = LineProbe(now)
        self._lateness = Lateness()
        self._up_seq = 0
        self._down_seq = 0
        self._generation = 0
        self._media_end_ms = 0
        self._waiting: deque[tuple[FrameKind, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._early: deque[Frame] = deque()
        self._ending: Ending | None = None
        self._close_sent = False
        self._worker_told = False

    def caller_audio(self, message: twilio.Media, now: float) -> bytes | None:
        """Return the frame to publish; None when `handle` must look at the message."""
        if (
            self.state is not State.ACTIVE
            or message.stream_sid != self._stream_sid
            or not self._rate.admits(now)
        ):
            return None
        media = message.media
        self._media_end_ms = media.timestamp + len(media.payload) // twilio.BYTES_PER_MS
        return self._frame_up(FrameKind.AUDIO, media.timestamp, media.payload)

    def agent_audio(self, frame: Frame, now: float) -> str | None:
        """Return the message to send to Twilio; None when `handle` must look at the frame."""
        if (
            frame.kind != FrameKind.AUDIO
            or self.state is not State.ACTIVE
            or frame.fence != self.fence
            or frame.seq != self._down_seq
            or frame.generation != self._generation
            or self._lateness.of(frame.t_ms, now) > LATE_MS_MAX
        ):
            return None
        self._down_seq += 1
        self._probe.audio_sent(len(frame.payload), now)
        return self._outgoing.media(frame.payload)

    def wake_at(self) -> float | None:
        """Return when the next `Wake` is due, if one is."""
        if self.state is State.ENDED:
            return None
        if self.state in {State.AWAITING_START, State.ENDING}:
            return self._deadline
        return self._probe.due_at

    def handle(self, event: Event, now: float) -> list[Command]:
        """Apply one event and return everything that follows from it."""
        match event:
            case Frame():
                return self._on_frame(event, now)
            case Attached(fence):
                return self._on_attached(fence, now)
            case AttachFailed(ending, rejection):
                return self._on_attach_failed(ending, rejection, now)
            case Pinged(round_trip_ms):
                self._probe.worker_answered(round_trip_ms)
                return self._report(now)
            case EndDecided(ending):
                return self._end(ending, now)
            case SocketClosed(code):
                return self._on_socket_closed(code)
            case Wake():
                return self._on_wake(now)
            case _:
                return self._on_message(event, now)

    def _on_message(
        self, message: twilio.Message | twilio.Unreadable | BinaryReceived, now: float
    ) -> list[Command]:
        if self.state in {State.ENDING, State.ENDED}:
            return []
        if not self._rate.admits(now):
            return [self._reject(Rejection.FLOOD), *self._end(Ending.BAD_STREAM, now)]
        match message:
            case BinaryReceived():
                return self._on_bad_message(Rejection.BINARY_FRAME, now)
            case twilio.Unreadable.UNKNOWN_EVENT:
                # Twilio may add events; they are no reason to end a call.
                return [self._reject(Rejection.UNKNOWN_EVENT)]
            case twilio.Unreadable():
                return self._on_bad_message(message.value, now)
            case twilio.Connected():
                return []
            case twilio.Start():
                return self._on_start(message, now)
            case twilio.Media() | twilio.Dtmf() | twilio.Mark() | twilio.Stop():
                if self.state is State.AWAITING_START:
                    return self._on_bad_message(Rejection.MEDIA_BEFORE_START, now)
                if message.stream_sid != self._stream_sid:
                    return self._on_bad_message(Rejection.WRONG_STREAM_SID, now)
                return self._on_stream_message(message, now)
            case _:
                assert_never(message)

    def _on_stream_message(
        self, message: twilio.Media | twilio.Dtmf | twilio.Mark | twilio.Stop, now: float
    ) -> list[Command]:
        match message:
            case twilio.Media():
                media = message.media
                self._media_end_ms = media.timestamp + len(media.payload) // twilio.BYTES_PER_MS
                return self._send_up(FrameKind.AUDIO, media.timestamp, media.payload)
            case twilio.Mark():
                return self._on_mark(message.mark.name, now)
            case twilio.Dtmf():
                return self._send_up(FrameKind.DTMF, self._media_end_ms, message.dtmf.digit.encode())
            case twilio.Stop():
                return self._on_stop(now)
            case _:
                assert_never(message)

    def _on_start(self, message: twilio.Start, now: float) -> list[Command]:
        if self.state is not State.AWAITING_START:
            return self._on_bad_message(Rejection.SECOND_START, now)
        start = message.start
        if not twilio.is_stream_sid(message.stream_sid) or start.stream_sid != message.stream_sid:
            return [self._reject(Rejection.BAD_START), *self._end(Ending.REFUSED, now)]
        if start.media_format != twilio.MEDIA_FORMAT:
            return [self._reject(Rejection.WRONG_MEDIA_FORMAT), *self._end(Ending.REFUSED, now)]
        self.state = State.ATTACHING
        self._stream_sid = message.stream_sid
        self._outgoing = twilio.Outgoing(message.stream_sid)
        return [FindOwner(message), *self._send_probe(now)]

    def _on_attached(self, fence: Fence, now: float) -> list[Command]:
        self.fence = fence
        if self.state is not State.ATTACHING:
            # It ended while the owner was looked for, and the owner does not know yet.
            assert self._ending is not None
            return self._stop_worker(self._ending)
        self.state = State.ACTIVE
        commands: list[Command] = [
            Publish(kind, self._frame_up(kind, t_ms, payload)) for kind, t_ms, payload in self._waiting
        ]
        self._waiting.clear()
        commands += self._report(now)
        while self._early:
            commands += self._on_frame(self._early.popleft(), now)
        return commands

    def _on_attach_failed(self, ending: Ending, rejection: Rejection | None, now: float) -> list[Command]:
        if self.state is not State.ATTACHING:
            return []
        commands: list[Command] = [self._reject(rejection)] if rejection else []
        return commands + self._end(ending, now)

    def _on_mark(self, name: str, now: float) -> list[Command]:
        if not name.startswith(PROBE_PREFIX):
            self._probe.mark_echoed()
            return self._send_up(FrameKind.MARK, self._media_end_ms, name.encode())
        round_trip_s = self._probe.probe_echoed(name, now)
        return [] if round_trip_s is None else [LineMeasured(round_trip_s), *self._report(now)]

    def _on_stop(self, now: float) -> list[Command]:
        # Twilio closes the socket now; the deadline does it where Twilio does not.
        self.state = State.ENDING
        self._ending = Ending.CALLER_HUNG_UP
        self._deadline = now + CLOSE_DEADLINE_S
        return self._stop_worker(self._ending)

    def _on_socket_closed(self, code: int) -> list[Command]:
        if self.state is State.ENDED:
            return []
        commands: list[Command] = []
        if self._ending is None:
            refusal = _REFUSED_BY_CODE.get(code)
            if refusal:
                commands.append(self._reject(refusal))
            started = self.state is not State.AWAITING_START
            self._ending = (
                Ending.BAD_STREAM if refusal else Ending.STREAM_LOST if started else Ending.NEVER_STARTED
            )
        self.state = State.ENDED
        return [*commands, *self._stop_worker(self._ending), Ended(self._ending)]

    def _on_wake(self, now: float) -> list[Command]:
        due_at = self.wake_at()
        if due_at is None or now < due_at:
            return []
        if self.state is State.AWAITING_START:
            return [self._reject(Rejection.NO_START), *self._end(Ending.NEVER_STARTED, now)]
        if self.state is not State.ENDING:
            return self._send_probe(now)
        self._deadline = now + CLOSE_DEADLINE_S
        if self._close_sent:
            return [Abandon()]
        assert self._ending is not None
        return [self._close(self._ending)]

    def _on_frame(self, frame: Frame, now: float) -> list[Command]:
        if self.state is State.ATTACHING:
            if len(self._early) >= EARLY_FRAMES_MAX:
                return [DropFrame(Drop.ATTACH_BUFFER_FULL)]
            self._early.append(frame)
            return []
        if self.state is not State.ACTIVE:
            return [DropFrame(Drop.STREAM_ENDING)]
        if frame.fence != self.fence:
            return [DropFrame(Drop.STALE_FENCE if frame.fence < self.fence else Drop.FUTURE_FENCE)]
        if frame.seq < self._down_seq:
            return [DropFrame(Drop.REPEATED)]
        commands: list[Command] = (
            [FramesLost(frame.seq - self._down_seq)] if frame.seq > self._down_seq else []
        )
        self._down_seq = frame.seq + 1
        if frame.generation > self._generation and frame.kind in {FrameKind.AUDIO, FrameKind.MARK}:
            # The clear between them was lost, or is on its way by the slower connection.
            commands += self._clear(frame.generation, now)
        return commands + self._on_current_frame(frame, now)

    def _clear(self, generation: int, now: float) -> list[Command]:
        self._generation = generation
        self._probe.cleared(now)
        return [SendClear(self._outgoing.clear)]

    def _on_current_frame(self, frame: Frame, now: float) -> list[Command]:
        if frame.kind == FrameKind.HANG_UP:
            return self._end(Ending.AGENT_HUNG_UP, now)
        if frame.kind not in {FrameKind.AUDIO, FrameKind.MARK, FrameKind.CLEAR}:
            return [DropFrame(Drop.UNKNOWN_KIND)]
        if frame.generation < self._generation:
            return [DropFrame(Drop.CLEARED_GENERATION)]
        if frame.kind == FrameKind.CLEAR:
            return self._clear(frame.generation, now) if frame.generation > self._generation else []
        if self._lateness.of(frame.t_ms, now) > LATE_MS_MAX:
            return [DropFrame(Drop.LATE)]
        if frame.kind == FrameKind.AUDIO:
            self._probe.audio_sent(len(frame.payload), now)
            return [Send(self._outgoing.media(frame.payload), len(frame.payload))]
        name = twilio.mark_name(frame.payload)
        if name is None:
            return [DropFrame(Drop.BAD_MARK_NAME)]
        self._probe.mark_sent()
        return [Send(self._outgoing.mark(name))]

    def _on_bad_message(self, rejection: Rejection, now: float) -> list[Command]:
        commands: list[Command] = [self._reject(rejection)]
        self._bad_messages += 1
        if self._bad_messages > BAD_MESSAGES_MAX:
            commands += [self._reject(Rejection.TOO_MANY_BAD_MESSAGES), *self._end(Ending.BAD_STREAM, now)]
        return commands

    def _reject(self, rejection: Rejection) -> Reject:
        is_first = rejection not in self._rejected
        self._rejected.add(rejection)
        return Reject(rejection, is_first)

    def _end(self, ending: Ending, now: float) -> list[Command]:
        """Decide the end, unless it was decided before, and close the socket."""
        if self._ending is not None:
            return []
        self.state = State.ENDING
        self._ending = ending
        self._deadline = now + CLOSE_DEADLINE_S
        return [self._close(ending)]

    def _close(self, ending: Ending) -> Close:
        self._close_sent = True
        return Close(ending.close_code, ending.label, after_queued=ending is Ending.AGENT_HUNG_UP)

    def _stop_worker(self, ending: Ending) -> list[Command]:
        if self._worker_told or ending.stop is None or self.fence == NOT_ATTACHED:
            return []
        self._worker_told = True
        frame = self._frame_up(FrameKind.STOP, self._media_end_ms, ending.stop.encode())
        return [Publish(FrameKind.STOP, frame)]

    def _send_up(self, kind: FrameKind, t_ms: int, payload: bytes) -> list[Command]:
        if self.state is State.ACTIVE:
            return [Publish(kind, self._frame_up(kind, t_ms, payload))]
        self._waiting.append((kind, t_ms, payload))
        self._waiting_bytes += len(payload)
        commands: list[Command] = []
        while self._waiting_bytes > ATTACH_BUFFER_BYTES_MAX or len(self._waiting) > ATTACH_BUFFER_FRAMES_MAX:
            _, _, oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest)
            commands.append(DropFrame(Drop.ATTACH_BUFFER_FULL))
        return commands

    def _frame_up(self, kind: FrameKind, t_ms: int, payload: bytes) -> bytes:
        frame = Frame(kind, self.fence, self._up_seq, t_ms, self._generation, payload)
        self._up_seq += 1
        return encode(frame)

    def _send_probe(self, now: float) -> list[Command]:
        name = self._probe.next_probe(now)
        return [] if name is None else [Send(self._outgoing.mark(name))]

    def _report(self, now: float) -> list[Command]:
        if self.state is not State.ACTIVE:
            return []
        report = self._probe.report(now)
        if report is None:
            return []
        line = self._frame_up(FrameKind.LINE, self._media_end_ms, control.encode(report))
        return [Publish(FrameKind.LINE, line)]


_REFUSED_BY_CODE: Final = {1009: Rejection.OVERSIZE_MESSAGE, 1007: Rejection.NOT_JSON}
"""The websocket layer closes these itself: too large, and text that is not UTF-8 (RFC 6455, section 7.4.1)."""
