"""Pure: the agent's direction of one call, and the clock that knows what the caller has heard.

The model speaks three to five times faster than real time and never learns what was played. So everything is
forwarded at once (Twilio is the jitter buffer, up to a limit), marks are set behind it every 200 ms, and what
Twilio echoes is what the caller heard. Between two echoes the clock runs on, but never past the next mark.

Rules:

* Each interruption raises the generation. Marks of an older one were dropped by `clear`, not played.
* Audio is sent in whole 20 ms frames; the rest waits for the next delta and is padded only at the item's end.
* Heard positions are ms of the item's own audio.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from trunkline_worker import g711, resample
from trunkline_worker.commands import Command, Play, PutMark
from trunkline_worker.events import AudioPath

FRAME_BYTES: Final = 160
BYTES_PER_MS: Final = 8
_SILENCE: Final = bytes([g711.ULAW_SILENCE])

MARK_EVERY_MS: Final = 200
"""Denser marks would sharpen nothing: between them the clock runs on by itself."""

LEAD_MS_MAX: Final = 30_000
"""Audio sent but not heard yet. More would be lost with a gateway, and Twilio drops what exceeds ten minutes."""

ITEMS_MAX: Final = 64
"""Items that may wait to be heard: half a minute of one-word answers. Beyond, the oldest is taken as heard."""


@dataclass(slots=True)
class PlayingItem:
    """One item of the agent's speech, from its first audio until it was heard or cut."""

    item_id: str
    response_id: str
    generated_bytes: int = 0
    """Audio received from the model, as μ-law."""
    sent_ms: int = 0
    heard_ms: int = 0
    complete: bool = False
    """The model sent all of it."""
    marks_ms: deque[int] = field(default_factory=deque)
    """Positions of the marks that Twilio has not echoed yet."""

    @property
    def generated_ms(self) -> int:
        """Length of the audio received from the model."""
        return self.generated_bytes // BYTES_PER_MS

    @property
    def heard(self) -> bool:
        """All of it was played."""
        return self.complete and not self.marks_ms and self.heard_ms >= self.sent_ms


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was interrupted: this much of it was heard."""

    item_id: str
    heard_ms: int
    generated_ms: int
    complete: bool = True
    """The model had sent all of it."""


class Playback:
    """What is on its way to the caller's ear."""

    def __init__(self, audio_path: AudioPath, resampler: resample.ResamplerKind) -> None:
        self.generation = 0
        self.round_trip_ms = 0.0
        """To Twilio and back, so that a position is what the caller hears now, not what an echo said."""
        self._downsampler = resample.downsampler(resampler) if audio_path == "pcm24k" else None
        self._items: deque[PlayingItem] = deque()
        self._carry = b""
        self._half_sample = b""
        # Bounded by the session's max_output_tokens: 4,096 tokens are 205 s, 1.6 MB.
        self._held: deque[tuple[PlayingItem, bytes, bool]] = deque()
        self._played_at = 0.0
        """When the position of the first item was last known."""

    @property
    def active(self) -> bool:
        """Something was sent, or is held, that the caller has not heard."""
        return bool(self._items)

    def receive(self, response_id: str, item_id: str, audio: bytes, now: float) -> list[Command]:
        """Take a delta in the session's output format; return what goes to the gateway."""
        item = self._item(response_id, item_id, now)
        ulaw = self._to_ulaw(audio)
        item.generated_bytes += len(ulaw)
        whole = self._carry + ulaw
        usable = len(whole) - len(whole) % FRAME_BYTES
        self._carry = whole[usable:]
        return self._send(item, whole[:usable])

    def finish(self, item_id: str) -> list[Command]:
        """The model sent all of the item; return its padded end and last mark."""
        item = next((item for item in self._items if item.item_id == item_id), None)
        if item is None or item.complete:
            return []
        item.complete = True
        rest = self._carry
        if self._downsampler is not None:
            rest += g711.pcm16_to_ulaw(self._downsampler.flush())
            self._downsampler.reset()
        self._carry = b""
        self._half_sample = b""
        padding = _SILENCE * (-len(rest) % FRAME_BYTES)
        return self._send(item, rest + padding, last=True)

    def unfinished_items(self, response_id: str) -> list[str]:
        """Return the items of a response whose end was not announced."""
        return [item.item_id for item in self._items if item.response_id == response_id and not item.complete]

    def mark_played(self, name: str, now: float) -> tuple[list[Command], list[PlayingItem], bool]:
        """Take Twilio's echo; return what may be sent now, the items fully heard by it, and if it was valid."""
        generation, _, rest = name.partition(":")
        item_id, _, position = rest.rpartition(":")
        if generation != str(self.generation) or not position.isdecimal():
            return [], [], False
        if not any(item.item_id == item_id for item in self._items):
            return [], [], False
        heard = self._advance(item_id, int(position))
        self._played_at = now
        return self._release(), heard, True

    def heard_ms(self, now: float) -> int:
        """Return how much of the first unheard item the caller hears by now, in ms of that item."""
        if not self._items:
            return 0
        item = self._items[0]
        running_ms = max(now - self._played_at, 0) * 1000 + self.round_trip_ms
        limit_ms = item.marks_ms[0] + self.round_trip_ms if item.marks_ms else item.sent_ms
        return round(min(item.heard_ms + running_ms, limit_ms, item.sent_ms))

    def interrupt(self, now: float) -> list[Cut]:
        """Start a new generation; return what was cut, in order: the one that was playing, then unheard ones."""
        heard_ms = self.heard_ms(now)
        cuts = []
        for item in self._items:
            cuts.append(Cut(item.item_id, heard_ms, item.generated_ms, item.complete))
            heard_ms = 0
        self.generation += 1
        self._items.clear()
        self._held.clear()
        self._carry = b""
        self._half_sample = b""
        if self._downsampler is not None:
            self._downsampler.reset()
        return cuts

    def _item(self, response_id: str, item_id: str, now: float) -> PlayingItem:
        if self._items and self._items[-1].item_id == item_id:
            return self._items[-1]
        if not self._items:
            self._played_at = now
        if len(self._items) >= ITEMS_MAX:
            self._items.popleft()
        item = PlayingItem(item_id, response_id)
        self._items.append(item)
        return item

    def _to_ulaw(self, audio: bytes) -> bytes:
        if self._downsampler is None:
            return audio
        whole = self._half_sample + audio
        usable = len(whole) - len(whole) % 2
        self._half_sample = whole[usable:]
        samples = np.frombuffer(whole[:usable], dtype="<i2").astype(np.int16, copy=False)
        return g711.pcm16_to_ulaw(self._downsampler.process(samples))

    def _send(self, item: PlayingItem, ulaw: bytes, *, last: bool = False) -> list[Command]:
        if self._held or self._lead_ms() > LEAD_MS_MAX:
            self._held.append((item, ulaw, last))
            return []
        return self._forward(item, ulaw, last)

    def _forward(self, item: PlayingItem, ulaw: bytes, last: bool) -> list[Command]:
        commands: list[Command] = []
        for start in range(0, len(ulaw), MARK_EVERY_MS * BYTES_PER_MS):
            piece = ulaw[start : start + MARK_EVERY_MS * BYTES_PER_MS]
            item.sent_ms += len(piece) // BYTES_PER_MS
            commands += [Play(self.generation, piece), self._mark(item)]
        if last and not commands and not (item.marks_ms and item.marks_ms[-1] == item.sent_ms):
            commands.append(self._mark(item))
        return commands

    def _mark(self, item: PlayingItem) -> PutMark:
        item.marks_ms.append(item.sent_ms)
        return PutMark(self.generation, f"{self.generation}:{item.item_id}:{item.sent_ms}")

    def _advance(self, item_id: str, position_ms: int) -> list[PlayingItem]:
        heard = []
        while self._items:
            item = self._items[0]
            current = item.item_id == item_id
            item.heard_ms = max(item.heard_ms, position_ms if current else item.sent_ms)
            while item.marks_ms and (not current or item.marks_ms[0] <= position_ms):
                item.marks_ms.popleft()
            if item.heard or not current:
                heard.append(self._items.popleft())
            if current:
                break
        return heard

    def _lead_ms(self) -> int:
        return sum(item.sent_ms - item.heard_ms for item in self._items)

    def _release(self) -> list[Command]:
        commands: list[Command] = []
        while self._held and self._lead_ms() <= LEAD_MS_MAX:
            item, ulaw, last = self._held.popleft()
            commands += self._forward(item, ulaw, last)
        return commands
