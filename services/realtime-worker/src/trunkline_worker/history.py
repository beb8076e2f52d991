"""Pure: what a new model session must be told of the call so far.

There is no resuming: a dropped socket means an empty session, and the conversation is replayed as items. What the
model is told it said is what the caller heard. Items keep their ids, so an item that is replayed twice is refused
as a duplicate and nothing is doubled; a function call is replayed together with its output or not at all.
(OpenAI: Realtime conversations, conversation.item.create.)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from trunkline_common.call_events import AgentTurn, CallerTurn
from trunkline_worker.commands import (
    CreateCallerAudio,
    CreateFunctionCall,
    CreateFunctionOutput,
    CreateItem,
    CreateMessage,
)

ITEMS_MAX: Final = 100
"""Older items are forgotten, oldest first: an hour of talk has a few hundred, and the last ones matter."""

REPLAYED_CHARACTERS_MAX: Final = 24_000
"""About 6,000 tokens, of the 16,000 and more that a session has room for besides its instructions."""

ITEM_ID_CHARACTERS_MAX: Final = 32
"""Of an id that a client chooses."""

INAUDIBLE: Final = "[inaudible]"
EARLIER: Final = "The beginning of this call is left out."

AudioBetween = Callable[[int, int], bytes]
"""The caller's audio from one media time to another in the session's format; empty when it is not kept."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One item of the conversation."""

    item_id: str
    speaker: Literal["caller", "agent", "note", "tool"]
    position: int
    text: str | None = None
    """What was said, or the note; None while the caller's words are unknown."""
    start_ms: int = 0
    end_ms: int = 0
    tool_call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | None = None


class History:
    """The conversation of one call, in its order."""

    def __init__(self) -> None:
        self._items: dict[str, Remembered] = {}
        self._last_position = 0
        self._notes = 0
        self._forgot = False
        self.version = 0
        """Raised with every change."""

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def items(self) -> tuple[Remembered, ...]:
        """Return the conversation as far as it is kept."""
        return tuple(self._ordered())

    def restore(self, items: Iterable[Remembered]) -> None:
        """Go on where another owner of the call was."""
        for item in items:
            self._put(item)
            number = item.item_id.removeprefix("note_")
            if item.speaker == "note" and number.isdecimal():
                self._notes = max(self._notes, int(number))

    def take(self, turn: CallerTurn | AgentTurn) -> None:
        """Remember a turn, or what has become known of it."""
        if isinstance(turn, CallerTurn):
            item = Remembered(turn.item_id, "caller", turn.position, turn.text, turn.start_ms, turn.end_ms)
        else:
            item = Remembered(turn.item_id, "agent", turn.position, turn.heard_text)
        self._put(item)

    def reached(self, position: int) -> None:
        """The conversation has come to this place, though the turn there may be known only later."""
        self._last_position = max(self._last_position, position)

    def note(self, text: str) -> str:
        """Remember something that the model was told in between; return the item's id."""
        self._notes += 1
        item_id = f"note_{self._notes}"
        self._put(Remembered(item_id, "note", self._last_position, text))
        return item_id

    def tool_called(self, item_id: str, tool_call_id: str, name: str, arguments: str) -> None:
        """Remember a function call of the model's."""
        self._put(
            Remembered(
                item_id,
                "tool",
                self._last_position,
                tool_call_id=tool_call_id,
                name=name,
                arguments=arguments,
            )
        )

    def tool_returned(self, tool_call_id: str, output: str) -> None:
        """Remember what the model was given for it."""
        for item in self._items.values():
            if item.tool_call_id == tool_call_id:
                self._put(replace(item, output=output))
                return

    def text_of(self, item_id: str) -> str | None:
        """Return what the item says, if it is known."""
        item = self._items.get(item_id)
        return None if item is None else item.text

    def replay(self, event_id: Callable[[str], str], audio: AudioBetween) -> list[CreateItem]:
        """Return the items that a new session is given, oldest first; the newest whatever its size."""
        chosen: list[Remembered] = []
        room = REPLAYED_CHARACTERS_MAX
        left_out = self._forgot
        for item in reversed(self._ordered()):
            size = len(item.text or "") + len(item.arguments) + len(item.output or "")
            if chosen and size > room:
                left_out = True
                if item.speaker == "tool":
                    # One long answer must not cost all the talk before it.
                    continue
                break
            room -= min(size, REPLAYED_CHARACTERS_MAX // 2)
            chosen.append(item)
        created: list[CreateItem] = []
        if left_out:
            created.append(CreateMessage(event_id("item"), "note_0", "system", EARLIER))
        for item in reversed(chosen):
            created += _created(item, event_id, audio)
        return created

    def _put(self, item: Remembered) -> None:
        self.version += 1
        self._items[item.item_id] = item
        self.reached(item.position)
        if len(self._items) > ITEMS_MAX:
            oldest = self._ordered()[0]
            del self._items[oldest.item_id]
            self._forgot = True

    def _ordered(self) -> list[Remembered]:
        # Stable: notes and tools follow the turn after which they came, also when its words came later.
        return sorted(
            self._items.values(), key=lambda item: (item.position, item.speaker in {"note", "tool"})
        )


def _created(item: Remembered, event_id: Callable[[str], str], audio: AudioBetween) -> Iterable[CreateItem]:
    item_id = item.item_id[:ITEM_ID_CHARACTERS_MAX]
    match item.speaker:
        case "caller" if item.text is None:
            spoken = audio(item.start_ms, item.end_ms)
            if spoken:
                yield CreateCallerAudio(event_id("item"), item_id, spoken)
            else:
                yield CreateMessage(event_id("item"), item_id, "user", INAUDIBLE)
        case "caller" if item.text:
            yield CreateMessage(event_id("item"), item_id, "user", item.text)
        case "agent" if item.text:
            yield CreateMessage(event_id("item"), item_id, "assistant", item.text)
        case "note" if item.text:
            yield CreateMessage(event_id("item"), item_id, "system", item.text)
        case "tool" if item.output is not None:
            yield CreateFunctionCall(event_id("item"), item_id, item.tool_call_id, item.name, item.arguments)
            yield CreateFunctionOutput(
                event_id("item"), f"out_{item_id}"[:ITEM_ID_CHARACTERS_MAX], item.tool_call_id, item.output
            )
