"""Pure: the rules of one media stream: Twilio's websocket, and the call that goes on behind it.

    AWAITING_START ──start──▶ ATTACHING ──owner found──▶ ACTIVE
          └─────────────────────┴── ending decided ───────┴──▶ ENDING ──socket closed──▶ ENDED

* One event in, everything that follows out: `handle(event, now) -> list[Command]`; `wake_at` asks for `Wake`.
* The two kinds of frames that come 50 times a second have a short way each, `caller_audio` and `agent_audio`.
  They answer None, and have done nothing, whenever a frame is not the everyday case: `handle` takes it then.
* Only frames under the stream's own fence pass, in both directions.
* An active stream has an owner or seeks one; `owner_link` knows which, and what passes between them.
* A stream ends once, for one reason; the worker hears of it once, and never before it was attached.
"""

from collections import deque
from enum import Enum
from typing import Final, assert_never

from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_gateway import twilio
from trunkline_gateway.events import (
    Abandon,
    Assigned,
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
    LineMeasured,
    LinkLost,
    NotAssigned,
    Pinged,
    Reject,
    Send,
    SocketClosed,
    Wake,
    WorkerLost,
)
from trunkline_gateway.message_rate import MessageRate
from trunkline_gateway.owner_link import OwnerLink
from trunkline_gateway.ownership import NOBODY, Owner
from trunkline_gateway.probe import PROBE_PREFIX, LineProbe
from trunkline_gateway.reasons import Drop, Ending, Rejection

START_DEADLINE_S: Final = 5.0
"""Twilio sends `start` right after `connected`."""

CLOSE_DEADLINE_S: Final = 5.0
"""For each step of an end: Twilio closing after `stop`, what is queued being written, the close handshake."""

EARLY_FRAMES_MAX: Final = 64
"""The owner's first frames may overtake its answer, on another connection; by milliseconds, not by more."""

BAD_MESSAGES_MAX: Final = 5
"""The next one closes the socket: one is an accident, six are no Media Stream."""


class State(Enum):
    """Where the stream is."""

    AWAITING_START = "awaiting-start"
    ATTACHING = "attaching"
    ACTIVE = "active"
    ENDING = "ending"
    ENDED = "ended"


class Stream:
    """One media stream, from the accepted socket to its end."""

    def __init__(self, now: float, gateway: str = "") -> None:
        self.state = State.AWAITING_START
        self._stream_sid = ""
        self._outgoing = twilio.Outgoing("")
        self._deadline = now + START_DEADLINE_S
        self._rate = MessageRate()
        self._rejected: set[Rejection] = set()
        self._bad_messages = 0
        self._probe = LineProbe(now)
        self._link = OwnerLink(gateway, self._probe, self._end)
        self._is_up_short = False
        self._is_down_short = False
        self._early: deque[Frame] = deque()
        self._ending: Ending | None = None
        self._close_sent = False
        self._worker_told = False

    @property
    def fence(self) -> Fence:
        """What frames of both directions must carry."""
        return self._link.fence

    @property
    def newest_seq(self) -> int | None:
        """The number of the newest frame that the owner was sent; None while frames wait."""
        return self._link.newest_seq if self._is_up_short else None

    def is_quiet(self, now: float) -> bool:
        """Whether nothing of ours is left to play at Twilio."""
        return self._probe.is_quiet(now)

    def caller_audio(self, message: twilio.Media, now: float) -> bytes | None:
        """Return the frame to publish; None when `handle` must look at the message."""
        if not self._is_up_short or message.stream_sid != self._stream_sid or not self._rate.admits(now):
            return None
        return self._link.caller_audio(message.media)

    def agent_audio(self, frame: Frame, now: float) -> str | None:
        """Return the message to send to Twilio; None when `handle` must look at the frame."""
        return self._link.agent_audio(frame, now) if self._is_down_short else None

    def wake_at(self) -> float | None:
        """Return when the next `Wake` is due, if one is."""
        if self.state is State.ENDED:
            return None
        if self.state in {State.AWAITING_START, State.ENDING}:
            return self._deadline
        link_wakes_at = self._link.wake_at() if self.state is State.ACTIVE else None
        return self._probe.due_at if link_wakes_at is None else min(self._probe.due_at, link_wakes_at)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Apply one event and return everything that follows from it."""
        commands = self._apply(event, now) + self._link.settle(now)
        is_active = self.state is State.ACTIVE
        self._is_up_short = is_active and self._link.is_up_usual
        self._is_down_short = is_active and self._link.is_down_usual(now)
        return commands

    def _apply(self, event: Event, now: float) -> list[Command]:
        match event:
            case Frame():
                return self._on_frame(event, now)
            case Attached(fence, worker):
                return self._on_attached(Owner(worker, fence), now)
            case AttachFailed(ending, rejection):
                return self._on_attach_failed(ending, rejection, now)
            case Pinged() | WorkerLost() | LinkLost() | Assigned() | NotAssigned():
                return self._on_workers(event, now)
            case EndDecided(ending):
                return self._end(ending, now)
            case SocketClosed(code):
                return self._on_socket_closed(code, now)
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
                return self._link.media(message.media)
            case twilio.Mark():
                return self._on_mark(message.mark.name, now)
            case twilio.Dtmf():
                return self._link.digit(message.dtmf.digit)
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
        self._outgoing = self._link.open(message.stream_sid)
        return [FindOwner(message), *self._send_probe(now)]

    def _on_attached(self, owner: Owner, now: float) -> list[Command]:
        commands = self._link.attached(owner)
        if self.state is not State.ATTACHING:
            # It ended while the owner was looked for, and the owner does not know yet.
            assert self._ending is not None
            return commands + self._stop_worker(self._ending)
        self.state = State.ACTIVE
        commands += self._link.report(now)
        while self._early:
            commands += self._on_frame(self._early.popleft(), now)
        return commands

    def _on_workers(
        self, event: Pinged | WorkerLost | LinkLost | Assigned | NotAssigned, now: float
    ) -> list[Command]:
        if self.state is not State.ACTIVE:
            if isinstance(event, Assigned):
                assert self._ending is not None
                return self._link.assigned_late(Owner(event.worker, event.fence), self._ending, now)
            return []
        match event:
            case Pinged(round_trip_ms, worker, consumed):
                self._probe.worker_answered(round_trip_ms)
                return self._link.pinged(worker, consumed, now) + self._link.report(now)
            case WorkerLost(worker, how):
                return self._link.lost(worker, how, now)
            case LinkLost(first_seq, since):
                return self._link.cut_off(first_seq, now if since is None else since)
            case Assigned(fence, worker):
                return self._link.assigned(Owner(worker, fence), now)
            case NotAssigned(fence, is_full):
                return self._link.not_assigned(fence, now, is_full=is_full)
            case _:
                assert_never(event)

    def _on_attach_failed(self, ending: Ending, rejection: Rejection | None, now: float) -> list[Command]:
        if self.state is not State.ATTACHING:
            return []
        commands: list[Command] = [self._reject(rejection)] if rejection else []
        return commands + self._end(ending, now)

    def _on_mark(self, name: str, now: float) -> list[Command]:
        if not name.startswith(PROBE_PREFIX):
            self._probe.mark_echoed()
            return self._link.mark(name)
        round_trip_s = self._probe.probe_echoed(name, now)
        if round_trip_s is None:
            return []
        reports = self._link.report(now) if self.state is State.ACTIVE else []
        return [LineMeasured(round_trip_s), *reports]

    def _on_stop(self, now: float) -> list[Command]:
        # Twilio closes the socket now; the deadline does it where Twilio does not.
        self.state = State.ENDING
        self._ending = Ending.CALLER_HUNG_UP
        self._deadline = now + CLOSE_DEADLINE_S
        return self._stop_worker(self._ending)

    def _on_socket_closed(self, code: int, now: float) -> list[Command]:
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
        told = [*self._stop_worker(self._ending), *self._link.ended(self._ending, now)]
        return [*commands, *told, Ended(self._ending)]

    def _on_wake(self, now: float) -> list[Command]:
        due_at = self.wake_at()
        if due_at is None or now < due_at:
            return []
        if self.state is State.AWAITING_START:
            return [self._reject(Rejection.NO_START), *self._end(Ending.NEVER_STARTED, now)]
        if self.state is not State.ENDING:
            probes = self._send_probe(now) if now >= self._probe.due_at else []
            return probes + (self._link.wake(now) if self.state is State.ACTIVE else [])
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
        return self._link.take(frame, now)

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
        if self._worker_told or ending.stop is None or self.fence == NOBODY.fence:
            return []
        self._worker_told = True
        return self._link.tell(FrameKind.STOP, ending.stop.encode())

    def _send_probe(self, now: float) -> list[Command]:
        name = self._probe.next_probe(now)
        return [] if name is None else [Send(self._outgoing.mark(name))]


_REFUSED_BY_CODE: Final = {1009: Rejection.OVERSIZE_MESSAGE, 1007: Rejection.NOT_JSON}
"""The websocket layer closes these itself: too large, and text that is not UTF-8 (RFC 6455, section 7.4.1)."""
