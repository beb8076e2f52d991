"""Pure: what a session that follows another owes the caller, and from where on it hears them again.

A lost session loses no words: what Twilio holds plays on; the next session is told what was said and heard, is given
once the caller's audio that had not become an answered turn, and is asked to speak only if an answer is owed.
"""

from dataclasses import dataclass, replace
from typing import Final

from trunkline_worker.response_gate import Request, Wish

UNNOTICED_MS: Final = 700
"""Speech that a lost session's VAD may not have told of yet: its window, its prefix and the way back."""

CONTINUE: Final = (
    "The line to you broke for a moment while you were speaking. The caller heard you up to the words that your last "
    "message ends with. Go on from there in a few words, without greeting or repeating."
)


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The caller's turn that the lost session had not answered; times are media times."""

    is_over: bool
    start_ms: int | None
    """None: it is written already, or unknown."""
    words: str | None


@dataclass(frozen=True, slots=True)
class Debt:
    """What the next session owes."""

    hear_again_ms: int
    request: Request | None = None
    """None: nothing, or an answer that it gives by itself to what it hears again."""

    def heard_from(self, media_ms: int | None) -> "Debt":
        """Return the debt if the caller may have begun to speak at this media time already."""
        if media_ms is None or media_ms >= self.hear_again_ms:
            return self
        return replace(self, hear_again_ms=media_ms)


def debt(
    turn: LastTurn | None, asked: Request | None, go_on: Request | None, told_ms: int, taken_ms: int
) -> Debt:
    """Return it; `asked` is what the session had been asked for, `go_on` the request if it was in mid-answer.

    It had taken the caller's audio up to `taken_ms` as turns, and said something last at `told_ms`: one that stalls is
    sent audio for seconds that it does not hear. A turn whose words are not known, and will not be, is
    heard again, written down, and answered.
    """
    unheard_ms = told_ms - UNNOTICED_MS
    if turn is not None and not turn.is_over:
        return Debt(unheard_ms if turn.start_ms is None else turn.start_ms)
    if turn is not None and turn.start_ms is not None and not turn.words:
        return Debt(turn.start_ms)
    since_ms = max(unheard_ms, taken_ms)
    return Debt(since_ms, go_on or asked or (None if turn is None else Request(Wish.ANSWER)))
