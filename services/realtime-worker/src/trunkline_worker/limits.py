"""Pure: how long a call may last, be silent and cost, and how it ends when one of these is reached.

Nobody is cut off: the agent says goodbye, and the call ends when that was heard. A silent caller is asked first.
"""

from dataclasses import dataclass
from typing import Final

from trunkline_common.call_events import LimitReached
from trunkline_common.verdict import Verdict
from trunkline_worker.commands import Command, Record
from trunkline_worker.response_gate import ResponseGate, Wish

GOODBYE_S: Final = 30.0
"""For the answer under way, the goodbye and its playing. A caller who talks on is not listened to for ever."""

REFUSED_TOOLS_MAX: Final = 5
"""Tool calls beyond the rate that are refused with words; with the next one the agent is stuck in a loop."""

ARE_YOU_THERE: Final = "The caller has said nothing for a while. Ask in one short sentence whether they are still there. Call no tool."

_GOODBYES: Final = {
    "minutes": (Verdict.TIME_LIMIT, "The time for this call is over."),
    "silence": (Verdict.CALLER_SILENT, "The caller does not answer any more."),
    "cost": (Verdict.COST_LIMIT, "This call has to end now."),
    "tools": (Verdict.TOOL_LIMIT, "You cannot help any further in this call."),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take; 0 is no limit."""

    minutes: float = 60
    silence_s: float = 30
    """Of the caller, while the agent says nothing either; then they are asked, and after as long again it is over."""
    cost_usd: float = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """A call as it is now."""

    quiet: bool
    """Nobody speaks and nobody is about to."""
    signs: int
    """How often the caller has spoken or pressed a key."""
    cost_usd: float
    refused_tools: int
    media_ms: int


class LimitWatch:
    """The limits of one call."""

    def __init__(self, limits: Limits, gate: ResponseGate) -> None:
        self._limits = limits
        self._gate = gate
        self._began_at: float | None = None
        self._quiet_since: float | None = None
        self._signs = 0
        self._asked = False
        """Whether they are there."""
        self._verdict: Verdict | None = None
        self._goodbye_until = 0.0

    def step(self, moment: Moment, now: float) -> tuple[list[Command], Verdict | None]:
        """Look at the call; return what follows, and the verdict once the goodbye was heard."""
        if self._began_at is None:
            self._began_at = now
        if moment.signs != self._signs:
            self._signs, self._asked = moment.signs, False
            self._quiet_since = None
        if not moment.quiet:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        if self._verdict is not None:
            over = moment.quiet or now >= self._goodbye_until
            return [], self._verdict if over else None
        limit = self._reached(moment, now)
        if limit is not None:
            return self._say_goodbye(limit, moment, now), None
        if self._silent_too_long(now):
            return self._ask(now), None
        return [], None

    def restore(self, began_at: float) -> None:
        """Go on where another owner of the call was."""
        self._began_at = began_at

    def wake_at(self) -> float | None:
        """Return when `step` is due, unless something happens before."""
        if self._began_at is None:
            return None
        if self._verdict is not None:
            return self._goodbye_until
        times = []
        if self._limits.minutes:
            times.append(self._began_at + 60 * self._limits.minutes)
        if self._limits.silence_s and self._quiet_since is not None:
            times.append(self._quiet_since + self._limits.silence_s)
        return min(times, default=None)

    def _reached(self, moment: Moment, now: float) -> str | None:
        assert self._began_at is not None
        if self._limits.minutes and now >= self._began_at + 60 * self._limits.minutes:
            return "minutes"
        if self._limits.cost_usd and moment.cost_usd >= self._limits.cost_usd:
            return "cost"
        if moment.refused_tools > REFUSED_TOOLS_MAX:
            return "tools"
        return "silence" if self._asked and self._silent_too_long(now) else None

    def _silent_too_long(self, now: float) -> bool:
        silence_s = self._limits.silence_s
        return bool(silence_s) and self._quiet_since is not None and now >= self._quiet_since + silence_s

    def _ask(self, now: float) -> list[Command]:
        self._asked, self._quiet_since = True, None
        return self._gate.request(Wish.PROMPT, now, ARE_YOU_THERE)

    def _say_goodbye(self, limit: str, moment: Moment, now: float) -> list[Command]:
        self._verdict, why = _GOODBYES[limit]
        self._goodbye_until = now + GOODBYE_S
        order = f"{why} Say so kindly and say goodbye, in one or two short sentences. Call no tool."
        reached = Record(LimitReached(limit=limit, at_ms=moment.media_ms))
        return [reached, *self._gate.request(Wish.FAREWELL, now, order)]
