"""Pure: the time in which no stream carries a call, and when a gateway is asked to bring the call back.

Rules:

* Twilio gets a moment to notice by itself that a stream broke, and to ask what comes next. Then it is asked by its
  REST API to do so, a bounded number of times.
* While Twilio moves a call, the `stop` of a stream says nothing of the caller, for that is how a moved call leaves
  its stream; and what still comes of the old stream was on its way. (Twilio: Call resource, update a call.)
"""

from typing import Final

from trunkline_worker.commands import AskForRedirect, Command, OrphanEnd, RecordOrphan
from trunkline_worker.events import RedirectAnswer

NOTICES_S: Final = 1.5
"""Twilio that notices has asked us by then."""

ASK_AGAIN_S: Final = 2.0
"""When no gateway took the request: the one that can may just be starting."""

MOVING_S: Final = 5.0
"""From the request until the next stream: Twilio's two requests to us take about a second."""

REDIRECTS_MAX: Final = 2
"""Of one lost stream. A call that two of them did not bring back is not coming back."""


class Rescue:
    """One call's, across all its streams."""

    def __init__(self) -> None:
        self.caller_stopped = False
        """The stream's end was Twilio's `stop`, which a redirect may have caused, or the caller."""
        self._lost_at: float | None = None
        self._ask_at: float | None = None
        self._redirects = 0
        self._moving_until = self._moving_before = float("-inf")

    def stream_lost(self, now: float) -> None:
        """No stream carries the call; whoever says so again is not the first."""
        if self._lost_at is None:
            self._lost_at, self._ask_at = now, now + NOTICES_S
            self._redirects = 0

    def ended(self, how: OrphanEnd, now: float) -> list[Command]:
        """A stream carries the call again, or nothing ever will."""
        lost_at, self._lost_at, self._ask_at = self._lost_at, None, None
        self.caller_stopped = False
        return [] if lost_at is None else [RecordOrphan(now - lost_at, how)]

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        return self._ask_at

    def tick(self, now: float) -> list[Command]:
        """Ask, if it is time."""
        if self._ask_at is None or now < self._ask_at:
            return []
        self._ask_at = now + ASK_AGAIN_S
        # A gateway that is slow to answer may have done it before its answer comes.
        self._moving_before, self._moving_until = self._moving_until, now + MOVING_S
        return [AskForRedirect()]

    def answered(self, answer: RedirectAnswer, now: float) -> None:
        """A gateway asks Twilio now, or none does, or that is not known."""
        if answer == "nobody":
            self._moving_until = self._moving_before
            return
        self._moving_until = now + MOVING_S
        if self._lost_at is None or answer == "silent":
            return
        self._redirects += 1
        self._ask_at = self._moving_until if self._redirects < REDIRECTS_MAX else None

    def is_moving(self, now: float) -> bool:
        """Twilio may be about to leave a stream because it was asked to."""
        return now < self._moving_until
