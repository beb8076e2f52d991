"""Pure: the agent's direction of one call, and the clock that knows what the caller has heard.

The model speaks three to five times faster than real time and never learns what was played. So everything is
forwarded at once (Twilio is the jitter buffer, up to a limit), marks are set behind it every 200 ms, and what
Twilio echoes is what the caller heard. Between two echoes the clock runs on, but never past the next mark.

Rules:

* Each interruption raises the generation. Marks of an older one were dropped by `clear`, not played: an echo
  counts only while its mark is outstanding.
* Buffers are keyed by item: one response may hold several, and their events interleave.
* Items are heard one after the other, in the order of their first audio, however their audio interleaves.
* Audio is sent in whole 20 ms frames; the rest waits for the next delta and is padded only at the item's end.
* While there is no line, nothing is sent: it waits for the next stream.
* What was lost on the way is sent again, from the last mark on that came to Twilio.
* Heard positions are ms of the item's own audio.
"""

import re
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from trunkline_worker import resample
from trunkline_worker.commands import Command, Count, Measure, Play, PutMark, TellResumed
from trunkline_worker.events import AudioPath
from trunkline_worker.playing_item import BYTES_PER_MS, MARK_EVERY_MS, Cut, PlayingItem

LEAD_MS_MAX: Final = 30_000
"""Audio sent but not heard yet. More would be lost with a gateway, and Twilio drops what exceeds ten minutes."""

ITEMS_MAX: Final = 64
"""Items that may wait to be heard: half a minute of one-word answers. Beyond, the oldest is taken as heard."""

_POSITION: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class InFlight:
    """An item that was sent and not wholly heard, as another owner of the call must know it."""

    item_id: str
    response_id: str
    sent_ms: int
    heard_ms: int
    complete: bool
    """The model sent all of it, and all of that was sent on."""


@dataclass(frozen=True, slots=True)
class _Mark:
    item: PlayingItem
    position_ms: int
    sent_at: float
    """When the audio before it was sent."""


class Playback:
    """What is on its way to the caller's ear."""

    def __init__(self, audio_path: AudioPath, resampler: resample.ResamplerKind) -> None:
        self.generation = 0
        self.round_trip_ms = 0.0
        """To Twilio and back, so that a position is what the caller hears now, not what an echo said."""
        self.held = False
        """There is no line: everything waits."""
        self._stopped_at: float | None = None
        """When the line was lost with something on it: nothing of that is heard any more."""
        self._audio_path = audio_path
        self._resampler = resampler
        self._items: deque[PlayingItem] = deque()
        self._marks: OrderedDict[str, _Mark] = OrderedDict()
        """Those that Twilio has not echoed, in order; their audio is within the lead."""
        self._reached_at = 0.0
        """When the caller had heard up to the last echoed mark, seen from here: see `heard_ms`."""
        self._heard: list[PlayingItem] = []
        self._foreign: set[str] = set()
        """Items that another owner of the call sent."""

    @property
    def active(self) -> bool:
        """Something was sent, or waits, that the caller has not heard."""
        return bool(self._items)

    @property
    def is_cut_off(self) -> bool:
        """The line was lost before everything was heard."""
        return self._stopped_at is not None

    @property
    def audible(self) -> bool:
        """The caller hears the agent, or is about to."""
        return bool(self._items) and not self.held

    def in_flight(self) -> list[InFlight]:
        """Return the items that were sent and not wholly heard."""
        return [
            InFlight(
                item.item_id,
                item.response_id,
                item.sent_ms,
                item.heard_ms,
                item.complete and not item.unsent,
            )
            for item in self._items
            if item.sent_ms
        ]

    def restore(
        self,
        generation: int,
        items: list[InFlight],
        mark_sent: str,
        mark_played: str,
        unplayed_ms: int,
        now: float,
    ) -> None:
        """Go on where another owner of the call was.

        The marks are the newest that it set and that were echoed; `unplayed_ms` of what it sent are still to be heard.
        """
        self.generation = generation
        self._items = deque(
            PlayingItem(
                each.item_id,
                each.response_id,
                None,
                generated_bytes=each.sent_ms * BYTES_PER_MS,
                sent_ms=each.sent_ms,
                heard_ms=each.heard_ms,
                complete=each.complete,
            )
            for each in items
        )
        sent, played = self._place_of(mark_sent), self._place_of(mark_played)
        if sent is not None and sent[1] > sent[0].sent_ms:
            # The newest audio is younger than what the other owner told last.
            sent[0].sent_ms, sent[0].complete = sent[1], False
            sent[0].generated_bytes = sent[1] * BYTES_PER_MS
        self._foreign = {item.item_id for item in self._items}
        if played is not None:
            self._reached(*played)
        # The clock runs on from the last mark, and has come to what is unplayed by now.
        self._reached_at = now - max(self._lead_ms() - unplayed_ms, 0) / 1000
        self._reckon_marks()

    def receive(self, response_id: str, item_id: str, audio: bytes, now: float) -> list[Command]:
        """Take a delta in the session's output format; return what goes to the gateway."""
        item = self._find(item_id) or self._new_item(response_id, item_id)
        if item.complete:
            return []
        underrun = [Count(Measure.PLAYBACK_UNDERRUN)] if self._has_run_dry(item, now) else []
        item.receive(audio)
        return [*underrun, *self._forward(now)]

    def _has_run_dry(self, item: PlayingItem, now: float) -> bool:
        """Return whether the caller hears silence in the middle of the item until its next audio comes."""
        if self.held or not item.sent_ms or self._items[0] is not item:
            return False
        return self.heard_ms(now)[item.item_id] >= item.sent_ms

    def finish(self, item_id: str, now: float) -> list[Command]:
        """The model sent all of the item; return its padded end and last mark."""
        item = self._find(item_id)
        if item is None:
            return []
        item.finish()
        return self._forward(now)

    def finish_response(self, response_id: str, now: float) -> list[Command]:
        """The model sent all of the response, even if it did not say so of each item."""
        for item in self._items:
            if item.response_id == response_id:
                item.finish()
        return self._forward(now)

    def finish_all(self, now: float) -> list[Command]:
        """The model is gone: what it sent is all there is."""
        for item in self._items:
            item.finish()
        return self._forward(now)

    def generated_ms(self) -> dict[str, int]:
        """Return the items that were not wholly heard, and the length of each."""
        return {item.item_id: item.generated_ms for item in self._items}

    @property
    def unheard_ms(self) -> int:
        """Audio that the model sent and Twilio has not echoed yet."""
        return sum(item.generated_ms - item.heard_ms for item in self._items)

    def incomplete(self) -> bool:
        """Return whether the model still makes an item that waits or plays."""
        return any(not item.complete for item in self._items)

    def mark_played(self, name: str, now: float) -> list[Command] | None:
        """Take Twilio's echo; return what may be sent now, or None when this mark is not outstanding."""
        place = self._place_of(name)
        if place is not None and place[0].item_id in self._foreign and place[1] > place[0].heard_ms:
            self._reached_at = now - self.round_trip_ms / 1000
            self._reached(*place)
            self._reckon_marks()
            return self._forward(now)
        if name not in self._marks:
            return None
        self._reached_at = now - self.round_trip_ms / 1000
        passed = ""
        while passed != name:
            passed, mark = self._marks.popitem(last=False)
            mark.item.reached(mark.position_ms)
        return self._forward(now)

    def _place_of(self, name: str) -> tuple[PlayingItem, int] | None:
        generation, _, rest = name.partition(":")
        item_id, _, position_ms = rest.rpartition(":")
        item = self._find(item_id)
        if item is None or generation != str(self.generation) or not _POSITION.fullmatch(position_ms):
            return None
        return item, int(position_ms)

    def _reached(self, reached: PlayingItem, position_ms: int) -> None:
        """Take a place in an item that another owner sent as heard, and everything before it."""
        for item in self._items:
            if item is reached:
                item.reached(min(max(item.heard_ms, position_ms), item.sent_ms))
                break
            item.reached(item.sent_ms)

    def _reckon_marks(self) -> None:
        """Set marks for those of another owner: only that there are some, so far apart at most, is known of them.

        Counted from the last echo, none is before the true one, whose echo the clock waits for.
        """
        own = {name: mark for name, mark in self._marks.items() if mark.item.item_id not in self._foreign}
        self._marks.clear()
        for item in self._items:
            if item.item_id not in self._foreign:
                continue
            for heard_ms in range(item.heard_ms, item.sent_ms, MARK_EVERY_MS):
                place_ms = min(heard_ms + MARK_EVERY_MS, item.sent_ms)
                name = f"{self.generation}:{item.item_id}:{place_ms}"
                self._marks[name] = _Mark(item, place_ms, self._reached_at)
        self._marks.update(own)

    def take_heard(self) -> list[PlayingItem]:
        """Return the items that were fully heard since this was last asked."""
        heard, self._heard = self._heard, []
        return heard

    def heard_ms(self, now: float) -> dict[str, int]:
        """Return how much of each item is heard when a `clear` sent now arrives, in ms of that item.

        An echo tells of half a round trip ago, and the clear arrives in half a round trip. Audio that was sent
        into silence had the same way as the clear, so it is heard from the moment at which it was sent.
        """
        now = now if self._stopped_at is None else self._stopped_at
        heard = {item.item_id: float(item.heard_ms) for item in self._items}
        reached_at = self._reached_at
        for mark in self._marks.values():
            started_at = max(reached_at, mark.sent_at)
            if started_at >= now:
                break
            piece_s = (mark.position_ms - heard[mark.item.item_id]) / 1000
            heard[mark.item.item_id] += 1000 * min(piece_s, now - started_at)
            # Its echo is not here, so it was not reached earlier than a round trip ago.
            reached_at = max(started_at + piece_s, now - self.round_trip_ms / 1000)
        # What was sent includes up to 19 ms of padding.
        return {item.item_id: min(round(heard[item.item_id]), item.generated_ms) for item in self._items}

    def interrupt(self, now: float) -> list[Cut]:
        """Start a new generation; return what was cut, in order: the one that was playing, then unheard ones."""
        heard_ms = self.heard_ms(now)
        cuts = [
            Cut(item.item_id, heard_ms[item.item_id], item.generated_ms, item.complete)
            for item in self._items
        ]
        self.generation += 1
        self._stopped_at = None
        self._items.clear()
        self._marks.clear()
        return cuts

    def rewind(self) -> bool:
        """Twilio's buffer is lost: let what was not heard for certain wait to be sent again, as a new generation.

        A syllable said twice is better than one that is missing. Return False, and do nothing, when audio of another
        owner is among it, which nobody has any more.
        """
        if not all(item.can_go_back for item in self._items):
            return False
        self._stopped_at = None
        self.generation += 1
        self._marks.clear()
        for item in self._items:
            item.go_back(item.heard_ms)
        return True

    def hold(self) -> None:
        """What is sent would be lost: what comes waits."""
        self.held = True

    def lose_line(self, now: float) -> None:
        """The line is gone, and with it what Twilio held; what comes waits."""
        self.held = True
        if self.active and self._stopped_at is None:
            self._stopped_at = now

    def release(self, now: float) -> list[Command]:
        """There is a line again; return what waited for it."""
        self.held, self._stopped_at = False, None
        return self._forward(now)

    def send_again(self, number: int, mark: str, now: float) -> list[Command]:
        """The gateway lacks what came behind `mark`, the newest that Twilio was sent; `number` names its request."""
        place = self._place_of(mark)
        # A mark that is not known any more was heard, or is older than the last interruption.
        is_behind = place is None
        for item in self._items:
            if is_behind:
                item.go_back(item.heard_ms)
            elif place is not None and item is place[0]:
                item.go_back(place[1])
                is_behind = True
        for name, sent in list(self._marks.items()):
            if sent.position_ms > sent.item.sent_ms:
                del self._marks[name]
        return [TellResumed(number), *self._forward(now)]

    def _find(self, item_id: str) -> PlayingItem | None:
        return next((item for item in self._items if item.item_id == item_id), None)

    def _new_item(self, response_id: str, item_id: str) -> PlayingItem:
        for item in self._items:
            if item.response_id != response_id:
                # Its end was not announced, and it must not hold up the next answer.
                item.finish()
        if len(self._items) >= ITEMS_MAX:
            oldest = self._items.popleft()
            for name in [name for name, mark in self._marks.items() if mark.item is oldest]:
                del self._marks[name]
            self._heard.append(oldest)
        downsampler = resample.downsampler(self._resampler) if self._audio_path == "pcm24k" else None
        item = PlayingItem(item_id, response_id, downsampler)
        self._items.append(item)
        return item

    def _forward(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self.held:
            return commands
        for item in self._items:
            while self._lead_ms() <= LEAD_MS_MAX and (piece := item.next_piece()):
                name = f"{self.generation}:{item.item_id}:{item.sent_ms}"
                self._marks[name] = _Mark(item, item.sent_ms, now)
                commands += [Play(self.generation, piece), PutMark(self.generation, name)]
            if item.unsent or not item.complete:
                break
        while self._items and self._items[0].heard:
            self._heard.append(self._items.popleft())
        return commands

    def _lead_ms(self) -> int:
        return sum(item.sent_ms - item.heard_ms for item in self._items)
