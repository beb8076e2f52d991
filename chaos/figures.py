"""What each kind of fault did, in figures that add up over several runs."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.carried import cut_by
from chaos.checker import NO_FALLBACK, Violation
from chaos.evidence import Run
from chaos.faults import FAULTS
from chaos.gaps import Usual, gap_ms, own_gap_ms, usual

DROPPED = "call ended otherwise"
LOST = ("line not understood", "answer not heard")
TWICE = ("line understood twice", "answer heard twice", "answer out of date")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFigures:
    """What one kind of fault did to the calls that it hit. Times are in ms, one for each call that a strike hit."""

    fault: str
    strikes: int
    calls_dropped: int
    lines_lost: int
    lines_cut: int
    """By the fault, while no stream carried them: not judged."""
    lines_twice: int
    gaps_ms: Sequence[float]
    own_gaps_ms: Sequence[float]
    """Our part of them; of faults that take streams only."""
    streamless_ms: Sequence[float]
    """How long calls had no stream, of those that lost theirs."""
    detected_ms: Sequence[float]
    """From the strike until a gateway found the worker lost."""

    @property
    def target_ms(self) -> float | None:
        """What the 99th percentile of the gaps may be, or, where the fault says so, of our part of them."""
        gap_max_s = FAULTS[self.fault].gap_max_s
        return None if gap_max_s is None else gap_max_s * 1000

    @property
    def is_on_target(self) -> bool:
        """Whether it is that."""
        judged = self.own_gaps_ms if FAULTS[self.fault].target_is_ours else self.gaps_ms
        p99 = percentile(judged, 0.99)
        return self.target_ms is None or p99 is None or p99 <= self.target_ms

    @property
    def drop_bound(self) -> float | None:
        """With 95 % confidence a smaller share of strikes than this drops a call; None if some of these did."""
        return None if self.calls_dropped else zero_failures_bound(self.strikes)

    def as_json(self) -> dict[str, Any]:
        """Return everything that the figures say."""
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        lists = {"gap": self.gaps_ms, "own_gap": self.own_gaps_ms, "streamless": self.streamless_ms}
        told = {
            f"{name}_{key}_ms": percentile(values, share)
            for name, values in lists.items()
            for key, share in shares.items()
        }
        return {
            **dataclasses.asdict(self),
            **told,
            "calls_hit": len(self.gaps_ms),
            "gap_target_ms": self.target_ms,
            "on_target": self.is_on_target,
            "drop_bound": self.drop_bound,
        }


def from_json(told: dict[str, Any]) -> FaultFigures:
    """Return the figures that `as_json` told; raises KeyError for a report that an older version wrote."""
    return FaultFigures(**{field.name: told[field.name] for field in dataclasses.fields(FaultFigures)})


def figures(run: Run, violations: Sequence[Violation]) -> list[FaultFigures]:
    """Return the figures of every kind of fault that struck, in the order of the catalogue."""
    waits_usually = usual(run)
    struck = {strike.fault for strike in run.strikes}
    return [_of(fault, run, violations, waits_usually) for fault in FAULTS if fault in struck]


def together(found: Iterable[FaultFigures]) -> list[FaultFigures]:
    """Return the figures of several runs as if they were of one, in the order of the catalogue."""
    by_fault: dict[str, list[FaultFigures]] = {fault: [] for fault in FAULTS}
    for each in found:
        by_fault[each.fault].append(each)
    return [_added(fault, parts) for fault, parts in by_fault.items() if parts]


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of all do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def zero_failures_bound(tries: int) -> float:
    """Return the rate of failures that zero in so many tries rule out with 95 % confidence (the rule of three)."""
    return min(3 / tries, 1.0)


def _of(name: str, run: Run, violations: Sequence[Violation], waits_usually: Usual) -> FaultFigures:
    fault, calls = FAULTS[name], {call.sid: call for call in run.calls}
    strikes = [strike for strike in run.strikes if strike.fault == name]
    numbers = {strike.number for strike in strikes}
    laid = [each for each in violations if each.strike in numbers]
    hits = [(strike, calls[sid]) for strike in strikes for sid in strike.calls if sid in calls]
    cut = [cut_by(call, said) in numbers for call in run.calls for said in call.said]
    own = [own_gap_ms(run, waits_usually, *hit) for hit in hits] if fault.takes_streams else []
    lost = [
        (span, each)
        for strike, call in hits
        for each in call.unheard
        for span in call.streamless
        if each.strike == strike.number and span.to_ms == each.to_ms
    ]
    return FaultFigures(
        fault=name,
        strikes=len(strikes),
        calls_dropped=len({each.call_sid for each in laid if each.check in (DROPPED, NO_FALLBACK)}),
        lines_lost=sum(each.check in LOST for each in laid),
        lines_cut=sum(cut),
        lines_twice=sum(each.check in TWICE for each in laid),
        gaps_ms=[gap_ms(run, waits_usually, *hit, is_after=fault.gap_is_after) for hit in hits],
        own_gaps_ms=own,
        streamless_ms=[span.to_ms - span.from_ms for span, _ in lost],
        detected_ms=[
            (each.detected_ns - each.at_ns) / 1e6 for each in strikes if each.detected_ns is not None
        ],
    )


def _added(fault: str, parts: Sequence[FaultFigures]) -> FaultFigures:
    return FaultFigures(
        fault=fault,
        strikes=sum(part.strikes for part in parts),
        calls_dropped=sum(part.calls_dropped for part in parts),
        lines_lost=sum(part.lines_lost for part in parts),
        lines_cut=sum(part.lines_cut for part in parts),
        lines_twice=sum(part.lines_twice for part in parts),
        gaps_ms=[value for part in parts for value in part.gaps_ms],
        own_gaps_ms=[value for part in parts for value in part.own_gaps_ms],
        streamless_ms=[value for part in parts for value in part.streamless_ms],
        detected_ms=[value for part in parts for value in part.detected_ms],
    )
