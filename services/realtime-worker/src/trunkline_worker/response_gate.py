"""Pure: one response at a time. Who wants the model to speak asks here.

Rules:

* While a response is active, or asked for and not yet announced, nothing is asked for: the model would refuse.
  What is wanted meanwhile waits, and only the most important of it.
* With `create_response` the model answers each turn of the caller by itself, so from the caller's first word until
  that answer begins nothing is asked for. It takes in everything that the conversation holds by
  then: a plain wish is fulfilled by it, unless it is about an item that was sent and not acknowledged by then.
* A response that failed, unless for good (a rate limit is silence for the caller, and no error event), is asked for
  again, a few times, after the wait that the model names.

(OpenAI: Realtime API, response.create and response.done.)
"""

import re
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from trunkline_worker.commands import (
    CancelResponse,
    Command,
    Count,
    CreateResponse,
    Measure,
    SendToModel,
)
from trunkline_worker.due import earliest
from trunkline_worker.events import ResponseDone
from trunkline_worker.realtime_refusals import FATAL_CODES

RETRIES_MAX: Final = 3
RETRY_S: Final = 1.0
"""Before the first retry when the model names no time; doubled for each further one."""

RETRY_S_MAX: Final = 5.0
"""A longer wait is longer than a caller's patience."""

CREATED_S: Final = 8.0
"""From the end of the caller's turn, or our asking, to response.created: normally a few tens of ms. A session that
does not begin by then answers pings and is mute all the same."""

STALL_S: Final = 15.0
"""Without a word about the active response: reasoning models think for seconds, not longer."""

ENDED_KEPT_MAX: Final = 16
"""Responses whose end is known; an end that is told twice counts once."""


INTERRUPTED_RESPONSES_MAX: Final = 32
"""Interrupted responses whose end was not announced; their late audio is ignored."""


class Wish(IntEnum):
    """Why the agent should speak; the greater is the more important."""

    PROMPT = 1
    """Break a silence. Nothing is lost when the caller speaks instead."""
    ANSWER = 2
    """The conversation waits for an answer."""
    CONTINUE = 3
    """The last answer broke off."""
    GREETING = 4
    FAREWELL = 5
    """Whatever happens, this is said before the call ends."""


_KEPT_FOR_LATER: Final = frozenset({Wish.ANSWER, Wish.FAREWELL})
"""Whatever else is wanted while the caller has the turn is replaced by the answer to it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for."""

    wish: Wish
    order: str | None = None
    """What to say, besides the agent's instructions; None: an answer to the conversation."""
    event_id: str = ""


class ResponseGate:
    """The responses of one call, through one session after another."""

    def __init__(self, instructions: str = "") -> None:
        self._instructions = instructions
        """The session's own: those of a single response replace them, so they are given with every order."""
        self.active: str | None = None
        """Id of the response that the model is making."""
        self.gave_up = False
        """The model failed to answer again and again."""
        self._open = False
        self._held = False
        self._sent = 0
        self._asked: Request | None = None
        self._current: Request | None = None
        """What the active response fulfils, where it was asked for."""
        self._spoke = False
        """Audio of the active response came."""
        self._wanted: Request | None = None
        self._unacknowledged: set[str] = set()
        """Items that were sent since a response was last asked for, and are not in the conversation yet."""
        self._retries = 0
        self._retry_at: float | None = None
        self._overdue_at: float | None = None
        self._yields = False
        """The caller speaks, or the model is about to answer that: nothing is asked for."""
        self._interrupted: dict[str, None] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_KEPT_MAX)
        self._answer_due = False
        """The caller's turn is over, and its answer has not begun."""

    @property
    def busy(self) -> bool:
        """A response is active, asked for or wanted."""
        return self.active is not None or self._asked is not None or self._wanted is not None

    @property
    def wanted(self) -> Wish | None:
        """The most important wish that has not become audio yet."""
        wishes = [request.wish for request in (self._wanted, self._asked) if request is not None]
        if self._current is not None and not self._spoke:
            wishes.append(self._current.wish)
        return max(wishes, default=None)

    @property
    def retries(self) -> bool:
        """A response failed and waits to be asked for again."""
        return self._retry_at is not None

    @property
    def gives_way(self) -> bool:
        """The active response was asked for, but is not said whatever happens."""
        return self._current is not None and self._current.wish is not Wish.FAREWELL

    def open(self, now: float) -> list[Command]:
        """A session is there that may be asked."""
        self._open = True
        return self._ask(now)

    def close(self) -> None:
        """Nothing is asked for any more, nor waited for."""
        self._open = False

    def hold(self) -> None:
        """There is nobody to speak to: wishes wait."""
        self._held = True

    def release(self, now: float) -> list[Command]:
        """The caller is on the line again."""
        self._held = False
        return self._ask(now)

    def request(self, wish: Wish, now: float, order: str | None = None) -> list[Command]:
        """Ask for a response as soon as none is active; a lesser wish gives way to a greater one."""
        if self._yields and wish not in _KEPT_FOR_LATER:
            return []
        request = Request(wish, order)
        if self._wanted is None or self._wanted.wish <= wish:
            self._wanted = request
        return self._ask(now)

    def sent(self, item_id: str) -> None:
        """An item was sent that the model should speak of."""
        self._unacknowledged.add(item_id)

    def added(self, item_id: str) -> None:
        """An item is in the conversation: responses that begin from now on know it."""
        self._unacknowledged.discard(item_id)

    def caller_started(self) -> None:
        """The caller speaks: the model will answer that, and with it everything that plainly waits."""
        if self._wanted is not None and self._wanted.wish is not Wish.FAREWELL:
            self._wanted = None
        self._asked = _after_interruption(self._asked)
        self._current = _after_interruption(self._current)
        self._retry_at = None
        self._overdue_at = None
        self._yields, self._answer_due = True, False

    def caller_stopped(self, now: float, *, asks: bool = False) -> list[Command]:
        """The caller's turn is over: the model answers by itself, unless we must ask for that (`asks`)."""
        self._answer_due = True
        if self.active is None:
            self._overdue_at = now + CREATED_S
        if not asks:
            return []
        self._yields = False
        return self.request(Wish.ANSWER, now)

    def created(self, response_id: str, now: float) -> None:
        """The model began a response."""
        if response_id in self._ended:
            return
        self.active, self._spoke = response_id, False
        self._current, self._asked = self._asked, None
        is_plain = self._wanted is not None and self._wanted.order is None
        if self._current is None and is_plain and not self._unacknowledged:
            self._wanted = None
        self._retry_at = None
        self._overdue_at = now + STALL_S
        self._yields = self._yields and not self._answer_due
        self._answer_due = False

    def spoke(self, response_id: str, now: float) -> None:
        """Audio of a response came."""
        if self.active != response_id:
            # Its response.created may be missing.
            self.created(response_id, now)
        self._spoke = True
        self._overdue_at = now + STALL_S

    def acted(self, response_id: str) -> None:
        """A response called a tool: what it was asked for is under way, and is not to be asked for again."""
        if self.active == response_id and self.gives_way:
            self._current = None

    def is_over(self, response_id: str) -> bool:
        """Return whether the model told the end of this response before."""
        return response_id in self._ended

    def has_spoken(self, response_id: str) -> bool:
        """Return whether audio of the active response came, and it is this one."""
        return self._spoke and self.active == response_id

    def done(self, event: ResponseDone, now: float) -> list[Command]:
        """The model ended a response."""
        commands: list[Command] = []
        self._interrupted.pop(event.response_id, None)
        self._ended.append(event.response_id)
        if self.active == event.response_id:
            ended, self.active, self._current = self._current, None, None
            if self._answer_due and ended is not None:
                # The caller's turn ended into what we had asked for; the model begins none while one is active.
                self._yields = self._answer_due = False
                self._wanted = self._wanted or Request(Wish.ANSWER)
        elif self.active is None:
            # It ended before it was announced.
            ended, self._asked = self._asked, None
            if self._answer_due and event.status != "cancelled":
                self._yields = self._answer_due = False
        else:
            return commands
        self._overdue_at = now + CREATED_S if self._answer_due else None
        if event.status == "failed":
            commands += self._failed(event, ended, now)
        elif event.status != "cancelled":
            self._retries = 0
        return commands + self._ask(now)

    def refused(self, event_id: str | None, *, busy: bool, now: float) -> list[Command]:
        """The model refused what was asked for; `busy`: because it was answering already.

        An error that names no event of ours may be about anything; should no response come, that will be noticed.
        """
        current, asked = self._current, self._asked
        if busy and current is not None and current.event_id == event_id:
            # The active response is the model's own, and began before what was asked for.
            self._wanted, self._current = self._wanted or current, None
            return []
        if asked is None or event_id != asked.event_id:
            return []
        self._asked = None
        self._overdue_at = None
        if busy:
            # Its response.created is on the way.
            self._wanted = self._wanted or asked
            return []
        return self._failed_request(asked, now, wait_s=None)

    def ignore_active(self) -> None:
        """The active response was interrupted: what still comes of it is late."""
        if self.active is not None:
            self._interrupted[self.active] = None
            if len(self._interrupted) > INTERRUPTED_RESPONSES_MAX:
                del self._interrupted[next(iter(self._interrupted))]

    def ignores(self, response_id: str) -> bool:
        """Return whether this response was interrupted."""
        return response_id in self._interrupted

    def cancel(self) -> list[Command]:
        """Stop the active response, where the model has no reason to."""
        if self.active is None:
            return []
        self.ignore_active()
        return [SendToModel(CancelResponse(self.event_id("cancel"), self.active))]

    def owed(self) -> Request | None:
        """Return what the session was asked for, or shall be, and has not begun to say."""
        owed = self._wanted or self._asked or (None if self._spoke else self._current)
        return None if owed is not None and owed.wish is Wish.PROMPT else owed

    def restore(self, owed: Request | None) -> None:
        """Go on where another owner of the call was, which owed this."""
        self._wanted = owed

    def lost(self) -> Request | None:
        """The session is gone; return what it owed and had not begun to say, and forget what it was doing."""
        self._open = False
        owed = self.owed()
        self.active = self._asked = self._current = self._wanted = None
        self._spoke = self._yields = self._answer_due = False
        self._interrupted.clear()
        self._unacknowledged.clear()
        self._retry_at = self._overdue_at = None
        self._ended.clear()
        return owed

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        return earliest(self._retry_at, self._overdue_at) if self._open else None

    def is_overdue(self, now: float) -> bool:
        """Return whether the session is mute: it owes an answer, and nothing comes."""
        return self._open and self._overdue_at is not None and now >= self._overdue_at

    def tick(self, now: float) -> list[Command]:
        """Ask again, when that is due."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
        return self._ask(now)

    def event_id(self, what: str) -> str:
        """Return a new id for a client event."""
        self._sent += 1
        return f"{what}_{self._sent}"

    def _ask(self, now: float) -> list[Command]:
        if (
            self._wanted is None
            or not self._open
            or self._held
            or self.active is not None
            or self._asked is not None
            or self._retry_at is not None
            or self._yields
        ):
            return []
        event_id = self.event_id("respond")
        self._asked = Request(self._wanted.wish, self._wanted.order, event_id)
        self._wanted = None
        # What was sent before is read before.
        self._unacknowledged.clear()
        self._overdue_at = now + CREATED_S
        return [SendToModel(CreateResponse(event_id, self._with_instructions(self._asked.order)))]

    def _with_instructions(self, order: str | None) -> str | None:
        return order if order is None or not self._instructions else f"{self._instructions}\n\n{order}"

    def _failed(self, event: ResponseDone, ended: Request | None, now: float) -> list[Command]:
        if event.reason in FATAL_CODES:
            return []
        return self._failed_request(ended or Request(Wish.ANSWER), now, event.retry_after_s)

    def _failed_request(self, request: Request, now: float, wait_s: float | None) -> list[Command]:
        if self._retries >= RETRIES_MAX:
            self.gave_up = True
            return []
        wait_s = RETRY_S * 2**self._retries if wait_s is None else wait_s
        self._retries += 1
        self._retry_at = now + min(wait_s, RETRY_S_MAX)
        if self._wanted is None or self._wanted.wish < request.wish:
            self._wanted = request
        return [Count(Measure.RESPONSE_RETRIED)]


def _after_interruption(request: Request | None) -> Request | None:
    """Return what is left of a wish once the caller speaks: the model answers that instead."""
    if request is None or request.wish is Wish.FAREWELL:
        return request
    return Request(Wish.PROMPT, None, request.event_id)


_HINT: Final = re.compile(r"try again in (?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m)\b")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


def retry_after_s(message: str) -> float | None:
    """Return how long the model asks to wait, in s: rate limits say so in their message only."""
    hint = _HINT.search(message)
    return float(hint["number"]) * _SECONDS[hint["unit"]] if hint else None
