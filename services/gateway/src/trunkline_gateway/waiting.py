"""Pure: a caller's stay in Twilio's queue: what its requests say of it, what the caller is told, when it has an end.

Nothing is kept here between two requests: what was told before stands in the address that Twilio asks next.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

TRYING_POSITIONS: Final = 3
"""Of the callers in a queue so many look for a worker each time they are asked. More would overtake each other; fewer
would leave room unused for the length of the music when several calls end at once."""

TELL_AGAIN_S: Final = 30
"""After which a caller who has not moved up is told the position again."""

ROUND_S_MIN: Final = 15
"""A stay counts as at least so long, so that one that ends at once cannot repeat itself for ever."""

WAIT_S_MAX: Final = 3_600
"""However long a profile lets callers wait, and for one that waits while no worker answers what its profile says."""

RESULTS: Final = frozenset(
    {
        "bridged",
        "bridging-in-process",
        "error",
        "hangup",
        "leave",
        "queue-full",
        "redirected",
        "redirected-from-bridged",
        "system-error",
    }
)
"""Values of QueueResult (Twilio: TwiML <Enqueue>)."""

_SECONDS_MAX: Final = 10**6
_POSITION: Final = "{position}"


class Words(NamedTuple):
    """What Twilio's voice says."""

    text: str
    language: str


class Place(NamedTuple):
    """A caller's place in the queue, as Twilio tells it (Twilio: TwiML <Enqueue>)."""

    position: int
    """From 1."""
    queue_time_s: int


class Stay(NamedTuple):
    """What is known of a caller's wait before a request: how long, and what was told last."""

    before_s: int = 0
    """In stays before this one."""
    told_position: int = 0
    """0: none yet."""
    told_at_s: int = 0
    """By the queue's time."""

    def waited_s(self, queue_time_s: int) -> int:
        """Return how long the caller has waited, all stays together."""
        return self.before_s + queue_time_s

    def again(self, queue_time_s: int) -> "Stay":
        """Return a stay after this one."""
        return Stay(before_s=self.waited_s(max(queue_time_s, ROUND_S_MIN)))


NO_STAY: Final = Stay()
"""Of a caller who has not waited."""


def place_of(form: Mapping[str, Any]) -> Place | None:
    """Return the place; None where the request does not tell it, as may be after a `<Redirect>`."""
    position, queue_time_s = _number(form, "QueuePosition"), _number(form, "QueueTime")
    return Place(position, queue_time_s) if position and queue_time_s is not None else None


def queue_time_s(form: Mapping[str, Any]) -> int:
    """Return how long the caller was in the queue; 0 for one that never was."""
    return _number(form, "QueueTime") or 0


def tell(text: str, place: Place, stay: Stay) -> tuple[str, Stay]:
    """Return what to say of the caller's position now, or nothing, and the stay after that."""
    is_news = place.position != stay.told_position
    if not text or not (is_news or place.queue_time_s - stay.told_at_s >= TELL_AGAIN_S):
        return "", stay
    told = stay._replace(told_position=place.position, told_at_s=place.queue_time_s)
    return text.replace(_POSITION, str(place.position)), told


def _number(form: Mapping[str, Any], name: str) -> int | None:
    text = str(form.get(name, ""))
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return min(int(text), _SECONDS_MAX) if is_number else None
