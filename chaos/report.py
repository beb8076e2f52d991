"""The report of a run, or of several: a table with a line for each fault, the violations, and the same as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from chaos.checker import NAMES, Violation, ended_well, nobody_saw_the_end
from chaos.evidence import Run
from chaos.faults import FAULTS
from chaos.figures import FaultFigures, percentile
from chaos.gaps import unhurt_ms, usual

VIOLATIONS_SHOWN_MAX = 20
"""On the screen; the JSON has all."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is told of all calls together; the lists are in ms, and tell what the machine adds by itself."""

    calls: int
    calls_turned_away: int
    events: int
    rows: int
    stale_frames_refused: int
    ends_unseen: int
    """Calls that ended well in a moment in which nobody of us could see it, and of whose end Postgres does not know."""
    unhurt_ms: Sequence[float]
    """By how much silences that no fault is near exceed the usual."""
    callers_late_ms: Sequence[float]
    """The worst moment of each caller's clock."""
    harness_late_ms: Sequence[float]
    """Each time that the proxies stood still for long."""


def totals(run: Run) -> Totals:
    """Return what is told of a run's calls."""
    return Totals(
        calls=len(run.calls),
        calls_turned_away=sum(call.connected_ms is None for call in run.calls),
        events=len(run.events),
        rows=len(run.rows),
        stale_frames_refused=run.stale_frames_refused,
        ends_unseen=sum(
            ended_well(call) and call.outcome != "success" and nobody_saw_the_end(run, call)
            for call in run.calls
        ),
        unhurt_ms=unhurt_ms(run, usual(run)),
        callers_late_ms=[call.clock_late_ms for call in run.calls],
        harness_late_ms=run.harness_late_ms,
    )


def added(several: Sequence[Totals]) -> Totals:
    """Return the totals of several runs as if they were of one."""
    parts: dict[str, Any] = {}
    for field in fields(Totals):
        values = [getattr(each, field.name) for each in several]
        is_list = field.name.endswith("_ms")
        parts[field.name] = [one for each in values for one in each] if is_list else sum(values)
    return Totals(**parts)


def totals_from_json(told: dict[str, Any]) -> Totals:
    """Return the totals that `as_json` told; raises KeyError for a report that an older version wrote."""
    return Totals(**{field.name: told[field.name] for field in fields(Totals)})


def has_failed(found: Sequence[FaultFigures], violations: Sequence[Violation], *, gaps: bool = True) -> bool:
    """Return whether any check failed; with `gaps` also whether any gap is over its target."""
    return bool(violations) or (gaps and not all(each.is_on_target for each in found))


def text(of_all: Totals, found: Sequence[FaultFigures], violations: Sequence[Violation]) -> str:
    """Return the report as lines for a terminal."""
    noise, late, stood = of_all.unhurt_ms, of_all.callers_late_ms, of_all.harness_late_ms
    lines = [
        *_table(found),
        "",
        "Gaps in ms, of the calls that were hit, beyond what is usual; ours: less the time in which Twilio had no",
        "stream; a ! is over its target. cut: lines said while no stream carried them, not judged. drops <: 95 %",
        "bound, 3/n.",
        f"What this machine adds: where nothing was wrong n {len(noise)}, p50 {_ms(percentile(noise, 0.5))}, "
        f"p99 {_ms(percentile(noise, 0.99))}; callers' clocks",
        f"late by {_ms(percentile(late, 0.99))} at p99; our proxies stood still {len(stood)} times, "
        f"for {_ms(percentile(stood, 1.0))} at most.",
        f"{of_all.calls} calls, {of_all.calls_turned_away} of them turned away during an outage of NATS, "
        f"{of_all.events} events acknowledged, {of_all.rows} rows,",
        f"{of_all.stale_frames_refused} frames of an old fence refused, {of_all.ends_unseen} calls ended well unseen.",
        "",
    ]
    return "\n".join([*lines, *_checks(violations)])


def as_json(
    settings: dict[str, Any],
    of_all: Totals,
    found: Sequence[FaultFigures],
    violations: Sequence[Violation],
    *,
    gaps: bool,
) -> dict[str, Any]:
    """Return everything that the report is made of, each gap too, so that reports can be added up."""
    return {
        **settings,
        "passed": not has_failed(found, violations, gaps=gaps),
        **asdict(of_all),
        "faults": [each.as_json() for each in found],
        "violations": [asdict(each) for each in violations],
    }


def _table(found: Sequence[FaultFigures]) -> list[str]:
    header = (
        "fault", "n", "calls", "dropped", "lost", "twice", "cut",
        "gap p50", "p99", "max", "ours p50", "p99", "max", "target", "found", "drops <",
    )  # fmt: skip
    rows = [header, *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _row(each: FaultFigures) -> tuple[str, ...]:
    mark = "" if each.is_on_target else "!"
    is_ours = FAULTS[each.fault].target_is_ours
    shares = (0.5, 0.99, 1.0)
    gaps, ours = (
        [_ms(percentile(values, share)) + (mark if share == 0.99 and is_judged else "") for share in shares]
        for values, is_judged in ((each.gaps_ms, not is_ours), (each.own_gaps_ms, is_ours))
    )
    return (
        each.fault,
        str(each.strikes),
        str(len(each.gaps_ms)),
        str(each.calls_dropped),
        str(each.lines_lost),
        str(each.lines_twice),
        str(each.lines_cut),
        *gaps,
        *ours,
        _ms(each.target_ms),
        _ms(percentile(each.detected_ms, 0.5)),
        "–" if each.drop_bound is None else f"{each.drop_bound:.1%}",
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
