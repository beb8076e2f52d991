"""Pure: what came from the caller and may have to be sent again, or is still to be sent.

Two lists in the order of the call: what the present owner was sent, with the numbers it was sent under, and what
waits for it. An owner that lost frames is sent them again under their old numbers, so that it takes each once; a
new owner is sent all the caller's audio and keys under numbers of its own.
"""

from collections import deque
from typing import Final, NamedTuple

from trunkline_common.frames import CALLER_KEPT_MS_MAX, FrameKind
from trunkline_gateway import twilio

RING_BYTES_MAX: Final = CALLER_KEPT_MS_MAX * twilio.BYTES_PER_MS
"""Fifteen seconds of the caller: as much as a worker gives to a model's session after the first."""

RING_FRAMES_MAX: Final = 3_000
"""Bounds it for frames smaller than the usual 20 ms, too."""

UNNUMBERED: Final = -1

_OF_THE_CALLER: Final = frozenset({FrameKind.AUDIO, FrameKind.DTMF})
"""What a new owner needs; marks, and words to the owner before, mean nothing to it."""


class Kept(NamedTuple):
    """One frame; `seq` is `UNNUMBERED` until it is first sent to the present owner."""

    kind: FrameKind
    t_ms: int
    payload: bytes
    seq: int


class CallerRing:
    """Numbers the frames of one direction and keeps those that may be needed again."""

    def __init__(self, bytes_max: int, frames_max: int) -> None:
        self.bytes_max = bytes_max
        self.frames_max = frames_max
        self.next_seq = 0
        self._sent: deque[Kept] = deque()
        self._waiting: deque[Kept] = deque()
        self._audio_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether something is still to be sent."""
        return bool(self._waiting)

    @property
    def audio_bytes(self) -> int:
        """How much audio is kept."""
        return self._audio_bytes

    @property
    def frames(self) -> int:
        """How many frames are kept."""
        return len(self._sent) + len(self._waiting)

    def take_seq(self) -> int:
        """Return the number for a frame that is not kept."""
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def sent_audio(self, t_ms: int, payload: bytes) -> int:
        """Keep audio that is sent at once, and return its number."""
        seq = self.next_seq
        self.next_seq = seq + 1
        self._sent.append(Kept(FrameKind.AUDIO, t_ms, payload, seq))
        self._audio_bytes += len(payload)
        if self._audio_bytes > self.bytes_max or len(self._sent) > self.frames_max:
            self._shrink()
        return seq

    def wait(self, kind: FrameKind, t_ms: int, payload: bytes) -> int:
        """Keep a frame that is to be sent later; return how many waiting ones were dropped for it."""
        self._waiting.append(Kept(kind, t_ms, payload, UNNUMBERED))
        if kind == FrameKind.AUDIO:
            self._audio_bytes += len(payload)
        return self._shrink()

    def take(self, frames_max: int) -> list[Kept]:
        """Return the next frames to send, numbered."""
        taken: list[Kept] = []
        while self._waiting and len(taken) < frames_max:
            kept = self._waiting.popleft()
            if kept.seq == UNNUMBERED:
                kept = kept._replace(seq=self.take_seq())
            self._sent.append(kept)
            taken.append(kept)
        return taken

    def send_again_from(self, seq: int) -> None:
        """Let the frames with this number and above wait again: the owner did not get them."""
        while self._sent and self._sent[-1].seq >= seq:
            self._waiting.appendleft(self._sent.pop())

    def begin_again(self, first: FrameKind, t_ms: int, payload: bytes) -> int:
        """Let everything wait for a new owner behind the frame `first`; return how many frames of the caller."""
        kept = [each for each in (*self._sent, *self._waiting) if each.kind in _OF_THE_CALLER]
        self.next_seq = 0
        self._sent.clear()
        self._waiting = deque([Kept(first, t_ms, payload, UNNUMBERED)])
        self._waiting.extend(each._replace(seq=UNNUMBERED) for each in kept)
        return len(kept)

    def prune(self, needed_from_ms: int, consumed_seq: int = UNNUMBERED) -> None:
        """Forget what the owner was sent and nobody will need: all that ended at this time or before, and keys.

        A key that was pressed is not told twice: up to `consumed_seq` the owner has noted them where the next one looks.
        """
        if any(kept.kind == FrameKind.DTMF and kept.seq <= consumed_seq for kept in self._sent):
            self._sent = deque(
                kept for kept in self._sent if kept.kind != FrameKind.DTMF or kept.seq > consumed_seq
            )
        # Its first word came back with its first checkpoint.
        if self._sent and self._sent[0].kind == FrameKind.OWN:
            self._forget(self._sent)
        while self._sent and _is_before(self._sent[0], needed_from_ms):
            self._forget(self._sent)

    def _shrink(self) -> int:
        dropped = 0
        while self._audio_bytes > self.bytes_max or self.frames > self.frames_max:
            if not self._sent:
                dropped += 1
            self._forget(self._sent or self._waiting, keeps=FrameKind.OWN)
        return dropped

    def _forget(self, frames: deque[Kept], keeps: FrameKind | None = None) -> None:
        """Forget the first frame, or the one behind it: without OWN, all that follows would mean nothing."""
        first = frames.popleft() if frames[0].kind == keeps and len(frames) > 1 else None
        kept = frames.popleft()
        if first is not None:
            frames.appendleft(first)
        if kept.kind == FrameKind.AUDIO:
            self._audio_bytes -= len(kept.payload)


def _is_before(kept: Kept, needed_from_ms: int) -> bool:
    if kept.kind != FrameKind.AUDIO:
        return kept.t_ms < needed_from_ms
    return kept.t_ms + len(kept.payload) // twilio.BYTES_PER_MS <= needed_from_ms
