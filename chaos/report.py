"""The figures of a run: a table with a line for each fault, the violations, and the same as JSON."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chaos.checker import NAMES, NO_FALLBACK, Violation
from chaos.evidence import Run
from chaos.faults import FAULTS
from chaos.gaps import gap_ms, unhurt_ms, usual

DROPPED = "call ended otherwise"
LOST = ("line not understood", "answer not heard")
TWICE = ("line understood twice", "answer heard twice", "answer out of date")

VIOLATIONS_SHOWN_MAX = 20
"""On the screen; the JSON has all."""


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """What one kind of fault did to the calls that it hit. Times are in ms."""

    fault: str
    strikes: int
    calls_hit: int
    calls_dropped: int
    lines_lost: int
    lines_twice: int
    gap_p50_ms: float | None
    gap_p99_ms: float | None
    gap_max_ms: float | None
    gap_target_ms: float | None
    detected_p50_ms: float | None
    drop_bound_percent: float | None
    """With 95 % confidence fewer strikes than this drop a call, if none of these did: 3/n."""

    @property
    def is_on_target(self) -> bool:
        """Whether the 99th percentile of the gaps is what it may be."""
        return self.gap_target_ms is None or self.gap_p99_ms is None or self.gap_p99_ms <= self.gap_target_ms


def figures(run: Run, violations: Sequence[Violation]) -> list[FaultFigures]:
    """Return the figures of every kind of fault that struck, in the order of the catalogue."""
    calls = {call.sid: call for call in run.calls}
    waits_usually = usual(run)
    found = []
    for name, fault in FAULTS.items():
        strikes = [strike for strike in run.strikes if strike.fault == name]
        if not strikes:
            continue
        numbers = {strike.number for strike in strikes}
        laid = [each for each in violations if each.strike in numbers]
        waits = [
            gap_ms(run, waits_usually, strike, calls[sid], is_after=fault.gap_is_after)
            for strike in strikes
            for sid in strike.calls
            if sid in calls
        ]
        found_after = [
            (each.detected_ns - each.at_ns) / 1e6 for each in strikes if each.detected_ns is not None
        ]
        dropped = {each.call_sid for each in laid if each.check in (DROPPED, NO_FALLBACK)}
        found.append(
            FaultFigures(
                fault=name,
                strikes=len(strikes),
                calls_hit=len(waits),
                calls_dropped=len(dropped),
                lines_lost=sum(each.check in LOST for each in laid),
                lines_twice=sum(each.check in TWICE for each in laid),
                gap_p50_ms=percentile(waits, 0.5),
                gap_p99_ms=percentile(waits, 0.99),
                gap_max_ms=max(waits, default=None),
                gap_target_ms=None if fault.gap_max_s is None else fault.gap_max_s * 1000,
                detected_p50_ms=percentile(found_after, 0.5),
                drop_bound_percent=None if dropped else zero_failures_bound(len(strikes)) * 100,
            )
        )
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of all do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def zero_failures_bound(tries: int) -> float:
    """Return the rate of failures that zero in so many tries rule out with 95 % confidence (the rule of three)."""
    return min(3 / tries, 1.0)


def has_failed(found: Sequence[FaultFigures], violations: Sequence[Violation], *, gaps: bool = True) -> bool:
    """Return whether any check failed; with `gaps` also whether any gap is over its target."""
    return bool(violations) or (gaps and not all(each.is_on_target for each in found))


def text(run: Run, found: Sequence[FaultFigures], violations: Sequence[Violation]) -> str:
    """Return the report as lines for a terminal."""
    header = (
        "fault", "n", "calls", "dropped", "lost", "twice", "gap p50", "p99", "max", "target", "found", "drops <",
    )  # fmt: skip
    rows = [header, *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    turned_away = sum(call.connected_ms is None for call in run.calls)
    noise = unhurt_ms(run, usual(run))
    late = percentile([call.clock_late_ms for call in run.calls], 0.99)
    lines += [
        "",
        "Gaps in ms, of the calls that were hit, beyond what is usual; a ! is over its target. "
        "drops <: 95 % bound, 3/n.",
        f"Where nothing was wrong: n {len(noise)}, p50 {_ms(percentile(noise, 0.5))}, "
        f"p99 {_ms(percentile(noise, 0.99))}; callers' clocks late by {_ms(late)} at p99: "
        "what this machine adds.",
        f"{len(run.calls)} calls, {turned_away} of them turned away during an outage of NATS, {len(run.events)} events acknowledged, {len(run.rows)} rows, "
        f"{run.stale_frames_refused} frames of an old fence refused.",
        "",
    ]
    return "\n".join([*lines, *_checks(violations)])


def as_json(
    settings: dict[str, Any],
    run: Run,
    found: Sequence[FaultFigures],
    violations: Sequence[Violation],
    *,
    gaps: bool,
) -> dict[str, Any]:
    """Return everything that the report is made of."""
    return {
        **settings,
        "passed": not has_failed(found, violations, gaps=gaps),
        "calls": len(run.calls),
        "calls_turned_away": sum(call.connected_ms is None for call in run.calls),
        "events": len(run.events),
        "rows": len(run.rows),
        "stale_frames_refused": run.stale_frames_refused,
        "unhurt_p99_ms": percentile(unhurt_ms(run, usual(run)), 0.99),
        "faults": [{**asdict(each), "on_target": each.is_on_target} for each in found],
        "violations": [asdict(each) for each in violations],
    }


def _row(each: FaultFigures) -> tuple[str, ...]:
    return (
        each.fault,
        str(each.strikes),
        str(each.calls_hit),
        str(each.calls_dropped),
        str(each.lines_lost),
        str(each.lines_twice),
        _ms(each.gap_p50_ms),
        _ms(each.gap_p99_ms) + ("" if each.is_on_target else "!"),
        _ms(each.gap_max_ms),
        _ms(each.gap_target_ms),
        _ms(each.detected_p50_ms),
        "–" if each.drop_bound_percent is None else f"{each.drop_bound_percent:.1f} %",
    )


def _checks(violations: Sequence[Violation]) -> list[str]:
    counted = Counter(each.check for each in violations)
    lines = [
        f"{'FAILED' if counted[name] else 'passed'}  no {name}"
        + (f" ({counted[name]})" if counted[name] else "")
        for name in NAMES
    ]
    for each in violations[:VIOLATIONS_SHOWN_MAX]:
        at = "" if each.strike is None else f", fault {each.strike}"
        lines.append(f"  {each.check}: {each.detail}{at} {each.call_sid}".rstrip())
    if len(violations) > VIOLATIONS_SHOWN_MAX:
        lines.append(f"  and {len(violations) - VIOLATIONS_SHOWN_MAX} more, in report.json")
    return lines


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
