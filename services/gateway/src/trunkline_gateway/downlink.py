"""Pure: what of the frames of a call's owner reaches Twilio.

* Only frames under the present fence pass, each once.
* After `clear` nothing of an older playback generation does, whoever made it.
* Audio that is late is from an outage, and is not played.
"""

from typing import Final

from trunkline_common.frames import LATE_MS_MAX, Fence, Frame, FrameKind, Lateness
from trunkline_gateway import twilio
from trunkline_gateway.events import Command, DropFrame, FramesLost, Send, SendClear
from trunkline_gateway.probe import LineProbe
from trunkline_gateway.reasons import Drop

FOR_TWILIO: Final = frozenset({FrameKind.AUDIO, FrameKind.MARK, FrameKind.CLEAR})


class Downlink:
    """Writes Twilio's messages from one stream's downward frames."""

    def __init__(self, outgoing: twilio.Outgoing, probe: LineProbe, fence: Fence) -> None:
        self.fence = fence
        self.generation = 0
        self.mark_sent = ""
        """The newest mark of a worker's that Twilio was sent."""
        self._outgoing = outgoing
        self._probe = probe
        self._lateness = Lateness()
        self._next_seq = 0
        self._spent_seqs = 0

    def begin(self, fence: Fence, spent_seqs: int = 0) -> None:
        """Take the frames of another owner, whose first `spent_seqs` frames were for other ears."""
        self.fence = fence
        # Its clock is another one.
        self._lateness = Lateness()
        self._next_seq = 0
        self._spent_seqs = spent_seqs

    def audio(self, frame: Frame, now: float) -> str | None:
        """Return the message for audio that is next in line, the everyday case; None, and nothing done, otherwise."""
        if (
            frame.kind != FrameKind.AUDIO
            or frame.fence != self.fence
            or frame.seq != self._next_seq
            or frame.generation != self.generation
            or self._lateness.of(frame.t_ms, now) > LATE_MS_MAX
        ):
            return None
        self._next_seq += 1
        self._probe.audio_sent(len(frame.payload), now)
        return self._outgoing.media(frame.payload)

    def refuses(self, frame: Frame) -> Drop | None:
        """Return why a frame goes no further, if its fence or its number says so."""
        if frame.fence != self.fence:
            return Drop.STALE_FENCE if frame.fence < self.fence else Drop.FUTURE_FENCE
        return Drop.REPEATED if frame.seq < self._next_seq else None

    def arrived(self, frame: Frame) -> list[Command]:
        """Count a frame that was not refused, and those that are missing before it."""
        lost = frame.seq - max(self._next_seq, self._spent_seqs)
        self._next_seq = frame.seq + 1
        return [FramesLost(lost)] if lost > 0 else []

    def take(self, frame: Frame, now: float) -> list[Command]:
        """Return what a frame of `FOR_TWILIO` becomes."""
        commands: list[Command] = []
        if frame.generation > self.generation and frame.kind != FrameKind.CLEAR:
            # The clear between them was lost, or is on its way by the slower connection.
            commands += self._clear(frame.generation, now)
        if frame.generation < self.generation:
            return [DropFrame(Drop.CLEARED_GENERATION)]
        if frame.kind == FrameKind.CLEAR:
            return self._clear(frame.generation, now) if frame.generation > self.generation else []
        if self._lateness.of(frame.t_ms, now) > LATE_MS_MAX:
            return [*commands, DropFrame(Drop.LATE)]
        if frame.kind == FrameKind.AUDIO:
            self._probe.audio_sent(len(frame.payload), now)
            return [*commands, Send(self._outgoing.media(frame.payload), len(frame.payload))]
        name = twilio.mark_name(frame.payload)
        if name is None:
            return [*commands, DropFrame(Drop.BAD_MARK_NAME)]
        self.mark_sent = name
        self._probe.mark_sent()
        return [*commands, Send(self._outgoing.mark(name))]

    def _clear(self, generation: int, now: float) -> list[Command]:
        self.generation = generation
        self._probe.cleared(now)
        return [SendClear(self._outgoing.clear)]
