"""Pure: what the session in use is told when speech of the agent was cut, so that it believes what was heard.

Rules: the playing item is truncated at the heard position, an item of which nothing was heard is deleted, a fully
heard one is left alone. An item of a lost session is known to its successor as text, if at all: it cannot be
truncated, so it is told anew.
"""

from collections.abc import Callable, Iterable
from typing import Final

from trunkline_worker.commands import (
    ClientEvent,
    Command,
    CreateMessage,
    DeleteItem,
    SendToModel,
    TruncateItem,
)
from trunkline_worker.history import History
from trunkline_worker.playback import Cut

TRUNCATE_MARGIN_MS: Final = 100
"""The model counts about 85 ms less audio than it sent; truncating beyond its count is an error."""


class Correction:
    """What the session in use knows of the agent's speech."""

    def __init__(self, event_id: Callable[[str], str], history: History) -> None:
        self._event_id = event_id
        self._history = history
        self._playing_on: set[str] = set()
        """Items of a lost session that the caller still hears: the session in use knows them as text, if at all."""
        self._told: set[str] = set()
        """Items that the session in use was told of."""

    def session_opened(self, created: Iterable[ClientEvent]) -> None:
        """A session was told of these items."""
        self._told = {event.item_id for event in created if isinstance(event, CreateMessage)}

    def session_closed(self, playing: Iterable[str]) -> None:
        """The session is gone; the caller still hears these items."""
        self._playing_on = set(playing)

    def cut(self, cut: Cut) -> list[Command]:
        """An item was cut, and the conversation knows it."""
        if cut.item_id in self._playing_on:
            return self._retell(cut)
        if cut.heard_ms == 0:
            return [self.delete(cut.item_id)]
        end_ms = min(cut.heard_ms, cut.generated_ms - TRUNCATE_MARGIN_MS)
        if cut.complete and end_ms < cut.heard_ms:
            # Heard to within the margin: truncating would cost the item its transcript for nothing.
            return []
        if end_ms <= 0:
            return [self.delete(cut.item_id)]
        return [SendToModel(TruncateItem(self._event_id("truncate"), cut.item_id, end_ms))]

    def delete(self, item_id: str) -> Command:
        """Take an item out of the model's conversation."""
        return SendToModel(DeleteItem(self._event_id("delete"), item_id))

    def _retell(self, cut: Cut) -> list[Command]:
        self._playing_on.discard(cut.item_id)
        if cut.fully_heard:
            return []
        text, after = self._history.text_of(cut.item_id), self._history.before(cut.item_id)
        commands = [self.delete(cut.item_id)] if cut.item_id in self._told else []
        if text:
            event_id = self._event_id("item")
            commands.append(
                SendToModel(CreateMessage(event_id, cut.item_id, "assistant", text, after or "root"))
            )
        return commands
