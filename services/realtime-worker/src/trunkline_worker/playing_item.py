"""Pure: one item of the agent's speech on its way to the caller, in whole frames of 20 ms."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from trunkline_worker import g711, resample

FRAME_BYTES: Final = 160
BYTES_PER_MS: Final = 8
_SILENCE: Final = bytes([g711.ULAW_SILENCE])
MARK_EVERY_MS: Final = 200
"""Denser marks would sharpen nothing: between them the clock runs on by itself."""


@dataclass(slots=True)
class PlayingItem:
    """One item of the agent's speech, from its first audio until it was heard or cut."""

    item_id: str
    response_id: str
    downsampler: resample.Resampler | None
    half_sample: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    """μ-law that waits: for its frame to fill up, for the item before it, or for the lead to shrink.

    Bounded by the session's max_output_tokens: 4,096 tokens are 205 s, 1.6 MB.
    """
    generated_bytes: int = 0
    """Audio received from the model, as μ-law."""
    sent: bytearray = field(default_factory=bytearray)
    """The end of the audio that was sent, from the last mark that Twilio echoed on; bounded by the lead."""
    sent_ms: int = 0
    heard_ms: int = 0
    """Up to the last mark that Twilio echoed."""
    complete: bool = False
    """The model sent all of it."""

    @property
    def generated_ms(self) -> int:
        """Length of the audio received from the model."""
        return self.generated_bytes // BYTES_PER_MS

    @property
    def heard(self) -> bool:
        """All of it was played."""
        return self.complete and not self.unsent and self.heard_ms >= self.sent_ms

    def take(self, audio: bytes) -> None:
        """Take a delta in the session's output format."""
        ulaw = self._to_ulaw(audio)
        self.generated_bytes += len(ulaw)
        self.unsent += ulaw

    def end(self) -> None:
        """The model sent all of it: pad it to whole frames."""
        if self.complete:
            return
        self.complete = True
        if self.downsampler is not None:
            tail = g711.pcm16_to_ulaw(self.downsampler.flush())
            self.generated_bytes += len(tail)
            self.unsent += tail
        self.unsent += _SILENCE * (-len(self.unsent) % FRAME_BYTES)

    def send_piece(self) -> bytes:
        """Return what is to be sent next, in whole frames; empty when nothing is."""
        usable = len(self.unsent) - len(self.unsent) % FRAME_BYTES
        size = min(usable, MARK_EVERY_MS * BYTES_PER_MS)
        piece = bytes(self.unsent[:size])
        del self.unsent[:size]
        self.sent_ms += size // BYTES_PER_MS
        self.sent += piece
        return piece

    def heard_to(self, position_ms: int) -> None:
        """Twilio echoed the mark at this position."""
        self.heard_ms = position_ms
        del self.sent[: max(len(self.sent) - self._unheard_bytes, 0)]

    @property
    def can_rewind(self) -> bool:
        """What was sent and not heard is still here; it is not when another owner of the call sent it."""
        return len(self.sent) >= self._unheard_bytes

    def rewind(self) -> None:
        """Let what was sent after the last echoed mark wait to be sent again."""
        self.unsent = self.sent[len(self.sent) - self._unheard_bytes :] + self.unsent
        self.sent = bytearray()
        self.sent_ms = self.heard_ms

    @property
    def _unheard_bytes(self) -> int:
        return (self.sent_ms - self.heard_ms) * BYTES_PER_MS

    def _to_ulaw(self, audio: bytes) -> bytes:
        if self.downsampler is None:
            return audio
        whole = self.half_sample + audio
        usable = len(whole) - len(whole) % 2
        self.half_sample = whole[usable:]
        samples = np.frombuffer(whole[:usable], dtype="<i2").astype(np.int16, copy=False)
        return g711.pcm16_to_ulaw(self.downsampler.process(samples))


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was interrupted: this much of it was heard."""

    item_id: str
    heard_ms: int
    generated_ms: int
    complete: bool = True
    """The model had sent all of it."""

    @property
    def fully_heard(self) -> bool:
        """It had ended, only its last mark was still on the way back."""
        return self.complete and self.heard_ms >= self.generated_ms
