"""Pure: whose turn it is: what the caller said last, how far the model has taken it, and what is owed for it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Floor:
    """The caller's turn under way."""

    speaking_item: str | None = None
    unanswered_item: str | None = None
    """The caller's last turn, until audio of an answer comes."""
    owes: bool = True
    """The caller waits for the agent to speak."""
    taken_ms: int = 0
    """Up to this media time the model took the caller's audio as turns."""
    hear_again_ms: int | None = None
    """From this media time on the next session hears the caller again."""

    @property
    def last_item(self) -> str | None:
        """The caller's turn that the model has not answered."""
        return self.speaking_item or self.unanswered_item

    @property
    def caller_has_it(self) -> bool:
        """The caller speaks, or has spoken and is not answered."""
        return self.last_item is not None

    def caller_stopped(self, item_id: str, taken_ms: int) -> None:
        """The caller's turn is over."""
        self.taken_ms = taken_ms
        self.speaking_item, self.unanswered_item = None, item_id
        self.owes = True

    def answered(self) -> None:
        """Audio of an answer came."""
        self.unanswered_item = None
        self.owes = False

    def session_opened(self) -> int:
        """A session hears the caller again; return from which media time on: of that, nothing was taken yet."""
        since_ms = self.hear_again_ms or 0
        self.taken_ms = min(self.taken_ms, since_ms)
        return since_ms

    def session_lost(self, hear_again_ms: int) -> None:
        """Whoever comes next hears the caller from this media time on."""
        self.hear_again_ms = hear_again_ms
        self.owes = self.owes or self.speaking_item is not None
        self.speaking_item = self.unanswered_item = None
