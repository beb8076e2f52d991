"""Shell: a call's way to the gateway that holds Twilio's stream, and which frames of it count.

Frames of both directions carry the fence of the owner; what carries another is refused. Nothing waits in here: frames
down go to the process's one queue (`downlink`).
"""

import asyncio
from typing import Final

from trunkline_common import control, log, subjects
from trunkline_common.frames import CALLER_KEPT_MS_MAX, REPLAYED, Fence, Frame, FrameKind, Lateness, encode
from trunkline_worker import events, metrics
from trunkline_worker.downlink import Downlink
from trunkline_worker.logged_once import LoggedOnce

HEARD_S_MAX: Final = 0.5
"""A gateway that has not been heard for so long may be about to give the call to another worker: three pings of 0.2 s
that this process does not answer are enough for that (`pulse`)."""

BACKLOG_S: Final = 0.25
"""After a longer silence: what has waited for this process comes within that, and so does the word that the call has
another owner by now."""

_log = log.get(__name__)


class GatewayLine:
    """One call's line; without a `gateway` nothing is sent."""

    def __init__(self, call_id: str, fence: Fence, downlink: Downlink) -> None:
        self.fence = fence
        self.gateway = ""
        self.consumed_seq = -1
        """Of the last frame that was taken."""
        self._call_id = call_id
        self._downlink = downlink
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        """When the last frame of this owner's came."""
        self._present_at = self.heard_at
        """When the last one came that cannot have waited for this process while it was paused."""
        self._backlog_until = float("-inf")
        self._was_heard = asyncio.Event()
        self.is_silent = False
        """The gateway did not answer when it was asked why nothing comes."""
        self._opened_at = 0.0
        self._subject = ""
        self._seq = 0
        self._lateness = Lateness()
        self._logged = LoggedOnce()

    def open(self, fence: Fence, gateway: str) -> None:
        """A stream is open at this gateway; frames of both directions are counted anew."""
        self.fence = fence
        self.consumed_seq = -1
        self._seq = 0
        self._lateness = Lateness()
        self.send_to(gateway)

    def send_to(self, gateway: str) -> None:
        """Let frames go to this gateway, under the fence that is."""
        self.gateway = gateway
        self._opened_at = self.heard_at = self._present_at = self._loop.time()
        self._subject = subjects.gateway_down(gateway, self._call_id)

    def close(self) -> None:
        """The stream is over."""
        self.gateway = ""

    def send(
        self,
        kind: FrameKind,
        payload: bytes = b"",
        *,
        generation: int = 0,
        flags: int = 0,
        received_at: float,
    ) -> None:
        """Send a frame down; `received_at`, by `time.perf_counter`, is when its cause reached this process."""
        if not self.gateway:
            return
        t_ms = int((self._loop.time() - self._opened_at) * 1000)
        frame = Frame(kind, self.fence, self._seq, t_ms, generation, payload, flags)
        self._seq += 1
        self._downlink.send(self._subject, encode(frame), kind, received_at)

    def admits(self, frame: Frame) -> bool:
        """Return whether a frame up is of this owner, and new."""
        if frame.fence != self.fence:
            reason = "old-fence" if frame.fence < self.fence else "future-fence"
            metrics.FRAMES_REFUSED.labels(reason).inc()
            if self._logged.is_first(reason):
                fences = {"fence": str(frame.fence), "owner": str(self.fence)}
                _log.warning("frames-refused", call_id=self._call_id, reason=reason, **fences)
            return False
        self._note_heard(self._loop.time())
        missing = frame.seq - self.consumed_seq - 1
        if missing < 0:
            metrics.FRAMES_REFUSED.labels("repeated").inc()
            return False
        if missing:
            metrics.FRAMES_LOST.inc(missing)
        self.consumed_seq = frame.seq
        return True

    async def heard(self) -> None:
        """Wait until the gateway was heard a moment ago: a worker that was paused may have lost the call meanwhile."""
        while self._loop.time() > self._present_at + HEARD_S_MAX:
            self._was_heard.clear()
            await self._was_heard.wait()

    def events_of(self, frame: Frame) -> list[events.Event]:
        """Return what an admitted frame means, and first that the gateway is heard again if it was silent."""
        again: list[events.Event] = [events.BusChanged(is_up=True)] if self.is_silent else []
        self.is_silent = False
        event = self._event_of(frame)
        return again if event is None else [*again, event]

    def _note_heard(self, now: float) -> None:
        if now > self.heard_at + HEARD_S_MAX:
            self._backlog_until = now + BACKLOG_S
        self.heard_at = now
        if now >= self._backlog_until:
            self._present_at = now
            self._was_heard.set()

    def _event_of(self, frame: Frame) -> events.Event | None:
        """Return what a frame means; None, and counted, when it means nothing, or comes too late."""
        event = _event_of(frame)
        if event is None:
            metrics.FRAMES_REFUSED.labels("unreadable").inc()
            return None
        is_live = frame.kind == FrameKind.AUDIO and not frame.flags & REPLAYED
        if is_live and self._lateness.of(frame.t_ms, self._loop.time()) > CALLER_KEPT_MS_MAX:
            metrics.FRAMES_REFUSED.labels("late").inc()
            return None
        return event


def _event_of(frame: Frame) -> events.Event | None:
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
            case FrameKind.RESUME:
                return events.PlaybackLost(frame.seq, frame.payload.decode("ascii"))
            case FrameKind.YIELD:
                return events.YieldAsked()
    except (ValueError, control.ControlError):
        return None
    return None


def _stop_reason(word: str) -> control.StopReason:
    try:
        return control.StopReason(word)
    except ValueError:
        # From a newer gateway. The stream is over in any case; Twilio may attach the call again.
        return control.StopReason.STREAM_LOST
