"""What the checker judges: strikes, calls as both ends recorded them, and events. Plain values, no files."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos.hearing import Piece


class EventKey(NamedTuple):
    """An event's place in the log; `n` counts from 0 under each fence."""

    call_sid: str
    attach: int
    assign: int
    n: int


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that happened. Times are in ns of the machine's monotonic clock."""

    number: int
    fault: str
    victim: str
    calls: Sequence[str]
    """Those that the victim held."""
    at_ns: int
    healing_ns: int
    healed_ns: int
    turns_away: bool = False
    """While it lasted no call could begin."""
    gives_up: bool = False
    """It lasted so long that the calls under way were given up."""
    takes_streams: bool = False
    """Calls lose their stream by it, without our will."""
    detected_ns: int | None = None
    """When a gateway's log says that it found the worker lost."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line that the caller spoke to its end; ms since the call was answered."""

    line: str
    from_ms: int
    to_ms: int


class Span(NamedTuple):
    """A stretch of a call; ms since it was answered."""

    from_ms: int
    to_ms: int


class Unheard(NamedTuple):
    """When what a caller said reached nobody, and the number of the strike that did it; ms since the answer."""

    from_ms: int
    to_ms: int
    strike: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, as the telephone, the model's side and Postgres know it."""

    sid: str
    answered_ns: int
    connected_ms: int | None = 0
    """When its first stream started; None: never."""
    over_ms: int
    end_reason: str = "caller-hung-up"
    script_finished: bool = True
    sentences: Sequence[str] = ()
    """What TwiML told the caller, such as that we are sorry."""
    streamless: Sequence[Span] = ()
    """From a stream's end to the `start` of the next one."""
    unheard: Sequence[Unheard] = ()
    said: Sequence[Said] = ()
    heard: Sequence[Piece] = ()
    knows: Sequence[Sequence[str | None]] = ()
    """For each session of the model the lines that are in its conversation; None: not understood."""
    outcome: str | None = "success"
    """In Postgres; None: no end of it is there."""
    row_texts: Sequence[str] = ()
    """The caller's turns in Postgres, in words."""
    clock_late_ms: float = 0.0

    def at_ms(self, at_ns: int) -> float:
        """Return a time of the machine as one of this call."""
        return (at_ns - self.answered_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that is known of one run."""

    strikes: Sequence[Strike]
    calls: Sequence[Call]
    events: Sequence[EventKey] = ()
    """In JetStream, that is acknowledged, in its order."""
    rows: Sequence[EventKey] = ()
    """In Postgres."""
    ended_alone: Sequence[str] = ()
    """Services that ended without being told to."""
    undrained: Sequence[str] = ()
    """Services whose drain did not end with exit code 0."""
    stale_frames_refused: int = 0
    harness_late_ms: Sequence[float] = ()
    """Each time that the proxies, through which everything runs, stood still for long."""
    lost_callers: Sequence[str] = ()
    """Calls that began and left no result."""
    _strikes_by_call: dict[str, list[Strike]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_call: dict[str, list[Strike]] = defaultdict(list)
        for strike in sorted(self.strikes, key=lambda each: each.at_ns):
            for sid in strike.calls:
                by_call[sid].append(strike)
        object.__setattr__(self, "_strikes_by_call", dict(by_call))

    def strikes_on(self, sid: str) -> list[Strike]:
        """Return the strikes that hit a call, in the order of time."""
        return self._strikes_by_call.get(sid, [])
