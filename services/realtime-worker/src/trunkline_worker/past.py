"""Shell: what is known of a call that had an owner before: its event log, and what the gateway kept."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from trunkline_common import call_events, control, log, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import CallEvent, Envelope, EventError
from trunkline_common.control import AssignKind, AssignRequest
from trunkline_common.frames import Frame, FrameKind
from trunkline_worker import call_log, checkpoint, events, metrics
from trunkline_worker.checkpoint import Checkpoint, CheckpointError

READ_S: Final = 0.5
"""The log takes some 20 ms. A call whose log cannot be read goes on with what the gateway kept: the last turns."""

WAITING_FRAMES_MAX: Final = 2_000
"""What a gateway kept of the caller, 15 s, and what comes while the log is read."""

_BEFORE_ALL: Final = frozenset({FrameKind.OWN, FrameKind.REVOKE})

_log = log.get(__name__)


class Past:
    """The past of one call, as far as it is known by now."""

    def __init__(self) -> None:
        self.of_log = Checkpoint()
        self.is_read = False
        self.own: control.Own | None = None
        """The gateway's word that the call is ours."""
        self.waiting: list[Frame] = []
        """The caller's frames that came before the log was read."""
        self._previous = ""
        self._when_complete: Callable[[], None] | None = None

    def when_complete(self, callback: Callable[[], None]) -> None:
        """Call back once it is `is_complete`."""
        self._when_complete = callback

    def takes(self, frame: Frame) -> bool:
        """Take the gateway's word that the call is ours, and keep what comes before all is known."""
        if frame.kind == FrameKind.OWN:
            self._own(frame.payload)
        elif self.is_complete:
            return False
        elif len(self.waiting) < WAITING_FRAMES_MAX:
            self.waiting.append(frame)
        else:
            metrics.FRAMES_REFUSED.labels("late").inc()
        return True

    def misses_own(self, frame: Frame) -> bool:
        """Whether the gateway's word that the call is ours was lost on the way: it comes before everything else.

        What follows must not count as consumed then. The gateway finds the call stuck, and gives its word again.
        """
        return self.own is None and frame.kind not in _BEFORE_ALL

    @property
    def is_complete(self) -> bool:
        """The call is ours, and its log was read, or could not be."""
        return self.is_read and self.own is not None

    async def read(self, bus: Bus, request: AssignRequest, limit_s: float = READ_S) -> None:
        """Read the call's event log; afterwards `is_read`, whatever came of it."""
        began = asyncio.get_running_loop().time()
        try:
            envelopes = await call_log.read(bus, request.call_id, limit_s)
        except call_log.CallLogError as error:
            metrics.LOGS_UNREAD.inc()
            _log.warning("call-log-unread", call_id=request.call_id, why=str(error))
        else:
            self.of_log = checkpoint.of_log(_opened(envelopes))
            older = [envelope.fence for envelope in envelopes if envelope.fence < request.fence]
            self._previous = str(max(older)) if older else ""
            metrics.LOG_READ_SECONDS.observe(asyncio.get_running_loop().time() - began)
        finally:
            self.is_read = True
        self._tell()

    def owned(self, request: AssignRequest) -> events.Owned:
        """Return the event that makes the call ours; to be asked once all is known."""
        own = self.own
        assert own is not None
        told: Checkpoint | None = None
        if own.checkpoint:
            try:
                told = checkpoint.decode(own.checkpoint)
            except CheckpointError as error:
                metrics.CHECKPOINTS_UNREADABLE.inc()
                _log.warning("checkpoint-unreadable", call_id=request.call_id, why=str(error))
        is_handover = request.kind is AssignKind.HANDOVER and own.is_final
        return events.Owned(
            gateway=own.gateway,
            stream_sid=own.stream_sid,
            known=checkpoint.joined(self.of_log, told),
            cause="handover" if is_handover else "worker-lost",
            previous=self._previous,
            generation=own.generation,
            mark_sent=own.mark_sent,
            mark_played=own.mark_played,
            unplayed_ms=own.unplayed_ms,
        )

    def _own(self, payload: bytes) -> None:
        try:
            own = control.decode(payload, control.Own)
            subjects.token(own.gateway)
        except (control.ControlError, subjects.InvalidTokenError) as error:
            metrics.FRAMES_REFUSED.labels("unreadable").inc()
            _log.warning("own-malformed", why=str(error))
            return
        self.own = own
        self._tell()

    def _tell(self) -> None:
        if self.is_complete and self._when_complete is not None:
            self._when_complete()


def _opened(envelopes: list[Envelope]) -> Iterator[CallEvent]:
    for envelope in envelopes:
        try:
            event = call_events.open_envelope(envelope)
        except EventError:
            continue
        if event is not None:
            yield event
