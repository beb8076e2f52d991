"""What Twilio plays to the caller: a queue of audio and marks that is read at the speed of speech.

Rules (Twilio: Media Streams, WebSocket messages; error 31931):
- Audio is played in the order received, 160 bytes each 20 ms; when there is none, silence.
- A mark is sent back once everything before it was played, at once if nothing is waiting.
- `clear` drops all waiting audio and sends all waiting marks back at once, in order.
- Audio beyond ten minutes is dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trunkline_simulators.g711 import SILENCE

FRAME_MS = 20
FRAME_BYTES = 160
SILENT_FRAME = bytes([SILENCE]) * FRAME_BYTES

MEDIA_DISCARDED = 31931
BUFFERED_BYTES_MAX = 10 * 60 * 8000  # Twilio: error 31931
MARKS_MAX = 10 * 60 * 50  # one for each frame that can be buffered; Twilio documents no limit

# Someone who pauses this briefly has not finished; longer gaps lie between answers.
STUTTER_FRAMES_MAX = 25


@dataclass(frozen=True, slots=True)
class Echo:
    """A mark to send back; `cleared` says that its audio was dropped and not played."""

    name: str
    cleared: bool


class Player:
    """Plays one stream's audio; `tick()` is called once for each 20 ms, nothing else is a clock."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.played_bytes = 0
        self.cleared_bytes = 0
        self.discarded_bytes = 0  # came when ten minutes were waiting
        self.discarded_marks = 0
        self.partial_frames = 0  # less than 20 ms was left: filled up with silence
        self.underruns = 0  # audio ended, and went on after a gap that is heard as a stutter
        self._audio = bytearray()
        self._marks: deque[tuple[int, str]] = deque()  # (how many bytes are to be read before it, name)
        self._read_bytes = 0
        self._gap_frames: int | None = None  # since audio was last played; None: a pause by design

    @property
    def buffered_ms(self) -> int:
        """Return how long the waiting audio lasts."""
        return len(self._audio) // 8

    @property
    def waiting_marks(self) -> int:
        """Return how many marks have not been sent back."""
        return len(self._marks)

    def add_audio(self, payload: bytes) -> bool:
        """Queue μ-law bytes; return whether there was room, for otherwise all of them are dropped."""
        self.received_bytes += len(payload)
        if len(self._audio) + len(payload) > BUFFERED_BYTES_MAX:
            self.discarded_bytes += len(payload)
            return False
        self._audio += payload
        return True

    def add_mark(self, name: str) -> list[Echo]:
        """Queue a mark behind the audio; return its echo if nothing is waiting."""
        if not self._audio:
            return [Echo(name, cleared=False)]
        if len(self._marks) == MARKS_MAX:
            self.discarded_marks += 1
            return []
        self._marks.append((self._read_bytes + len(self._audio), name))
        return []

    def clear(self) -> tuple[int, list[Echo]]:
        """Drop what is waiting; return how many bytes of audio that was, and all waiting marks."""
        dropped_bytes = len(self._audio)
        echoes = [Echo(name, cleared=True) for _, name in self._marks]
        self._audio.clear()
        self._marks.clear()
        self._read_bytes += dropped_bytes
        self.cleared_bytes += dropped_bytes
        self._gap_frames = None
        return dropped_bytes, echoes

    def tick(self) -> tuple[bytes, list[Echo]]:
        """Return the next 160 bytes that are heard, and the marks that they pass."""
        frame = bytes(self._audio[:FRAME_BYTES])
        del self._audio[:FRAME_BYTES]
        self._count_gap(frame)
        self._read_bytes += len(frame)
        self.played_bytes += len(frame)
        if frame and len(frame) < FRAME_BYTES:
            self.partial_frames += 1
        return frame.ljust(FRAME_BYTES, bytes([SILENCE])), self._passed_marks()

    def _passed_marks(self) -> list[Echo]:
        echoes = []
        while self._marks and self._marks[0][0] <= self._read_bytes:
            echoes.append(Echo(self._marks.popleft()[1], cleared=False))
        return echoes

    def _count_gap(self, frame: bytes) -> None:
        if frame:
            if self._gap_frames:
                self.underruns += 1
            self._gap_frames = 0
        elif self._gap_frames is not None:
            self._gap_frames += 1
            if self._gap_frames > STUTTER_FRAMES_MAX:
                self._gap_frames = None
