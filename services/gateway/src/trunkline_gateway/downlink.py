"""Pure: what of the frames of a call's owner reaches Twilio.

* Only frames under the present fence pass, each once.
* After `clear` nothing of an older playback generation does, whoever made it.
* Audio that is late is from an outage, and is not played.
* Where frames are lost, nothing behind them is played before the owner has sent them again: a sentence has no holes.
"""

from typing import Final

from trunkline_common.frames import LATE_MS_MAX, Fence, Frame, FrameKind, Lateness
from trunkline_gateway import twilio
from trunkline_gateway.events import Command, DropFrame, FramesLost, Send, SendClear
from trunkline_gateway.probe import LineProbe
from trunkline_gateway.reasons import Drop

RESUME_AGAIN_S: Final = 0.5
"""Until the owner is asked again to send what was lost: longer than any way there and back."""

RESUME_TRIES_MAX: Final = 10
"""An owner that never answers is of a version that cannot: then holes are better than nothing."""

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
        self._lost_in: int | None = None
        """The playback generation in which frames are missing."""
        self._asked = -1
        """Number of the newest request to send them again."""
        self._ask_at = float("-inf")
        self._tries = 0

    def begin(self, fence: Fence, spent_seqs: int = 0) -> None:
        """Take the frames of another owner, whose first `spent_seqs` frames were for other ears."""
        self.fence = fence
        # Its clock is another one.
        self._lateness = Lateness()
        self._next_seq = 0
        self._spent_seqs = spent_seqs
        self._lost_in = None

    def audio(self, frame: Frame, now: float) -> str | None:
        """Return the message for audio that is next in line, the everyday case; None, and nothing done, otherwise."""
        if (
            frame.kind != FrameKind.AUDIO
            or frame.fence != self.fence
            or frame.seq != self._next_seq
            or self._lost_in is not None
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
        if lost <= 0:
            return []
        self.lacks(frame.generation)
        return [FramesLost(lost)]

    def lacks(self, generation: int = 0) -> None:
        """Frames of this playback generation, or of the present one, may be lost."""
        if self._lost_in is None:
            self._ask_at, self._tries = float("-inf"), 0
        self._lost_in = max(generation, self.generation)

    def asks(self, now: float) -> bool:
        """Return whether the owner is to be asked now for what was lost; `asked` tells that it was."""
        if self._lost_in is None or now < self._ask_at:
            return False
        if self._tries >= RESUME_TRIES_MAX:
            self._lost_in = None
            return False
        return True

    def asked(self, number: int, now: float) -> None:
        """The owner was asked by the frame of this number."""
        self._asked, self._ask_at = number, now + RESUME_AGAIN_S
        self._tries += 1

    def resumed(self, payload: bytes) -> None:
        """The owner goes on where the request said whose number this is; an older one's answer is no use."""
        if payload == b"%d" % self._asked:
            self._lost_in, self._asked = None, -1

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
            self.lacks()
            return [*commands, DropFrame(Drop.LATE)]
        if self._lost_in is not None and frame.generation <= self._lost_in:
            return [*commands, DropFrame(Drop.BEHIND_LOST)]
        self._lost_in = None
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
