"""Pure: one item of the agent's speech, from its first audio until it was heard or cut.

What was sent is kept until Twilio has played it: if it was lost on the way, it is sent again.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from trunkline_worker import g711, resample

FRAME_BYTES: Final = 160
BYTES_PER_MS: Final = 8
MARK_EVERY_MS: Final = 200
"""Denser marks would sharpen nothing: between them the clock runs on by itself."""

_SILENCE: Final = bytes([g711.ULAW_SILENCE])


@dataclass(slots=True)
class PlayingItem:
    """One item; positions are ms of its own audio."""

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
    sent_ms: int = 0
    heard_ms: int = 0
    """Up to the last mark that Twilio echoed."""
    complete: bool = False
    """The model sent all of it."""
    sent: bytearray = field(default_factory=bytearray)
    """The last of the μ-law that was sent, at least what was not heard: bounded by the lead, 240 KB."""

    @property
    def generated_ms(self) -> int:
        """Length of the audio received from the model."""
        return self.generated_bytes // BYTES_PER_MS

    @property
    def heard(self) -> bool:
        """All of it was played."""
        return self.complete and not self.unsent and self.heard_ms >= self.sent_ms

    def receive(self, audio: bytes) -> None:
        """Take a delta in the session's output format."""
        ulaw = self._to_ulaw(audio)
        self.generated_bytes += len(ulaw)
        self.unsent += ulaw

    def finish(self) -> None:
        """The model sent all of it: pad the last frame."""
        if self.complete:
            return
        self.complete = True
        if self.downsampler is not None:
            tail = g711.pcm16_to_ulaw(self.downsampler.flush())
            self.generated_bytes += len(tail)
            self.unsent += tail
        self.unsent += _SILENCE * (-len(self.unsent) % FRAME_BYTES)

    def next_piece(self) -> bytes:
        """Return the audio to send now, in whole frames up to the next mark; empty when there is none."""
        usable = len(self.unsent) - len(self.unsent) % FRAME_BYTES
        size = min(usable, MARK_EVERY_MS * BYTES_PER_MS)
        piece = bytes(self.unsent[:size])
        del self.unsent[:size]
        self.sent += piece
        self.sent_ms += size // BYTES_PER_MS
        return piece

    def reached(self, position_ms: int) -> None:
        """Twilio played everything up to here."""
        self.heard_ms = position_ms
        del self.sent[: -max(self.sent_ms - position_ms, 0) * BYTES_PER_MS or len(self.sent)]

    @property
    def can_go_back(self) -> bool:
        """What was sent and not heard is still here; it is not when another owner of the call sent it."""
        return len(self.sent) >= (self.sent_ms - self.heard_ms) * BYTES_PER_MS

    def go_back(self, position_ms: int) -> None:
        """Let what was sent behind this position wait again, as far as it is kept and was not heard."""
        again = (self.sent_ms - max(position_ms, self.heard_ms)) * BYTES_PER_MS
        again = min(max(again, 0), len(self.sent))
        cut = len(self.sent) - again
        self.unsent[:0] = self.sent[cut:]
        del self.sent[cut:]
        self.sent_ms -= again // BYTES_PER_MS

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
