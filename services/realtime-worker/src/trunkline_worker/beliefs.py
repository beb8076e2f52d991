"""Pure: what the model believes it said, made to be what the caller heard.

An item that the session made itself is truncated at the heard position, or deleted when nothing of it was heard; a
fully heard one is left alone. One of a session before it is known as text, which cannot be truncated: it is deleted
and told anew, in its place.
"""

from collections.abc import Iterable
from typing import Final

from trunkline_worker.commands import (
    Command,
    CreateItem,
    CreateMessage,
    DeleteItem,
    SendToModel,
    TruncateItem,
)
from trunkline_worker.history import ITEM_ID_CHARACTERS_MAX, History
from trunkline_worker.playing_item import Cut
from trunkline_worker.response_gate import ResponseGate

TRUNCATE_MARGIN_MS: Final = 100
"""The model counts about 85 ms less audio than it sent; truncating beyond its count is an error."""


class Beliefs:
    """The items of the session in use, as far as they may have to be corrected."""

    def __init__(self, gate: ResponseGate, history: History) -> None:
        self._gate = gate
        self._history = history
        self._playing_on: set[str] = set()
        """Items of a lost session that the caller still hears: the session in use knows them as text, if at all."""
        self._told: list[str] = []
        """Items that the session in use was told of, in their order."""

    def session_closed(self, playing: Iterable[str]) -> None:
        """The session is gone; what it said of these items plays on."""
        self._playing_on = set(playing)

    def session_opened(self, created: Iterable[CreateItem]) -> None:
        """A session is there, and was told of these items."""
        self._told = [event.item_id for event in created]

    def correct(self, cut: Cut) -> list[Command]:
        """An item was cut off: let the model know how much of it was heard."""
        if cut.item_id in self._playing_on:
            self._playing_on.discard(cut.item_id)
            return self._tell_anew(cut)
        end_ms = min(cut.heard_ms, cut.generated_ms - TRUNCATE_MARGIN_MS)
        if cut.heard_ms > 0 and cut.complete and end_ms < cut.heard_ms:
            # Heard to within the margin: truncating would cost the item its transcript for nothing.
            return []
        if end_ms <= 0:
            return [self.delete(cut.item_id)]
        return [SendToModel(TruncateItem(self._gate.event_id("truncate"), cut.item_id, end_ms))]

    def delete(self, item_id: str) -> Command:
        """Return what takes an item out of the conversation."""
        return SendToModel(DeleteItem(self._gate.event_id("delete"), item_id))

    def _tell_anew(self, cut: Cut) -> list[Command]:
        item_id = cut.item_id[:ITEM_ID_CHARACTERS_MAX]
        if cut.fully_heard or item_id not in self._told:
            return []
        at = self._told.index(item_id)
        deleted = self.delete(item_id)
        text = self._history.text_of(cut.item_id)
        if not text:
            del self._told[at]
            return [deleted]
        after = self._told[at - 1] if at else "root"
        event_id = self._gate.event_id("item")
        return [deleted, SendToModel(CreateMessage(event_id, item_id, "assistant", text, after))]
