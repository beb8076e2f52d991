"""What a caller hears of a session's rotation before its age limit: gaps in the agent's speech, later answers, words.

    python -m bench.rotation --calls 8 --age-s 10

Callers ask for short and long answers and read out digits, while the worker replaces each session with a new one
at an age of seconds instead of an hour. A gap is a silence of the agent that no word of the caller explains.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import click

from bench.placed_calls import MeasuredCall, measure, spread, table
from trunkline_simulators.twilio_conversations import Conversation, Step

LINES: Final = ("caller-hours", "caller-price", *(f"caller-digits-{number}" for number in range(1, 5)))
TALK: Final = Conversation("rotation", (*(Step(say=line) for line in LINES), Step(hang_up=True)))


@click.command()
@click.option("--calls", default=8, show_default=True)
@click.option("--parallel", default=4, show_default=True, help="Calls at the same time.")
@click.option("--connect-delay-s", default=0.3, show_default=True, help="What connecting takes.")
@click.option(
    "--age-s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(10),
    help="At which a session is replaced.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write every figure there.")
def command(calls: int, parallel: int, connect_delay_s: float, age_s: float, json_file: Path | None) -> None:
    """Measure the audible gap of a rotation."""
    worker = {"SESSION_MAX_S": str(age_s)}
    measured = asyncio.run(
        measure(
            itertools.repeat(TALK, calls),
            parallel=parallel,
            simulator_options=["--connect-delay", str(connect_delay_s)],
            worker_settings=worker,
        )
    ).calls
    gaps_ms = [gap for call in measured for gap in _gaps_ms(call)]
    after_ms, otherwise_ms = _answers_ms(measured)
    later_ms = max(0.0, median(after_ms) - median(otherwise_ms)) if after_ms and otherwise_ms else None
    overlaps_ms = [overlap for call in measured for overlap in _overlaps_ms(call)]
    click.echo(
        f"{len(measured)} calls, {parallel} at a time; sessions of {age_s:g} s; connecting takes {connect_delay_s:g} s"
    )
    figures: dict[str, object] = {
        "sessions": dict(Counter(session.cause for call in measured for session in call.sessions)),
        "gaps in the agent's speech": spread(gaps_ms),
        "stutters of less than 0.5 s": sum(call.result.underruns for call in measured),
        "first answer after a rotation": spread(after_ms),
        "other answers": spread(otherwise_ms),
        "later by, median": "no rotation" if later_ms is None else f"{later_ms:.0f} ms",
        "new session ready before the old one ended": spread(overlaps_ms),
        "lines lost or known twice": [wrong for call in measured for wrong in _wrong_lines(call)],
        "calls not clean": [call.result.call_sid for call in measured if not call.result.clean],
    }
    table(list(figures.items()))
    if json_file is not None:
        raw = {
            "gaps_ms": gaps_ms,
            "after_ms": after_ms,
            "otherwise_ms": otherwise_ms,
            "overlaps_ms": overlaps_ms,
        }
        json_file.write_text(json.dumps(raw | figures, indent=1))


def _gaps_ms(call: MeasuredCall) -> list[float]:
    """Return how long the agent fell silent and went on without a word of the caller between."""
    gaps = []
    quiet_at_ms: int | None = None
    for line in call.twilio:
        if line["event"] == "agent-quiet":
            quiet_at_ms = line["t_ms"]
        elif line["event"] == "caller-speaking":
            quiet_at_ms = None
        elif line["event"] == "agent-audible" and quiet_at_ms is not None:
            gaps.append(float(line["t_ms"] - quiet_at_ms))
    return gaps


def _answers_ms(calls: Sequence[MeasuredCall]) -> tuple[list[float], list[float]]:
    """Return the delays of the first answers after a rotation, and those of all others."""
    after: list[float] = []
    otherwise: list[float] = []
    for call in calls:
        rotated = [session.configured_ns for session in call.sessions if session.cause == "rotated"]
        pending = sorted(at_ns for at_ns in rotated if at_ns is not None)
        for line in call.twilio:
            if line["event"] == "agent-audible" and line["reply_ms"] is not None:
                due = [at_ns for at_ns in pending if at_ns <= line["at_ns"]]
                pending = pending[len(due) :]
                (after if due else otherwise).append(float(line["reply_ms"]))
    return after, otherwise


def _overlaps_ms(call: MeasuredCall) -> list[float]:
    """Return by how much each new session was ready before the one it replaced had ended."""
    overlaps = []
    for old, new in itertools.pairwise(call.sessions):
        ended_ns = old.first("disconnected")
        if new.cause == "rotated" and new.configured_ns is not None and ended_ns is not None:
            overlaps.append((ended_ns - new.configured_ns) / 1e6)
    return overlaps


def _wrong_lines(call: MeasuredCall) -> list[str]:
    """Return what the last session's conversation holds other than once."""
    known = Counter(item.utterance for item in call.sessions[-1].knows) if call.sessions else Counter()
    said = [line["utterance"] for line in call.twilio if line["event"] == "caller-silent"]
    return [f"{utterance} × {known[utterance]}" for utterance in said if known[utterance] != 1]


if __name__ == "__main__":
    command()
