"""Pure: was anything lost, repeated or cut off? Each check is named, and each violation says where.

A caller's line counts as understood when the model's last session that knows anything of the call knows it: a session
that follows another is told what the one before knew. A line that no stream carried is told apart: see `carried.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from chaos import carried, gaps, hearing
from chaos.evidence import Call, EventKey, Run, Said
from trunkline_simulators import recordings

END_PART: Final = 0.3
"""Of a line: whoever heard this part of it twice heard its end twice. A beginning may be heard again."""


UNSEEN_MS: Final = 1_500
"""Until a worker that was struck is known to be lost, and another one has the call."""

EARLY_MS: Final = 3_000
"""Twilio's question may have waited so long for the answer with which a call's clock begins."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not happen. `strike` is the number of the fault that it is laid at, if any hit the call."""

    check: str
    detail: str
    call_sid: str = ""
    strike: int | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    detail: str
    from_ms: float
    to_ms: float


def check(run: Run) -> list[Violation]:
    """Return everything that went wrong in a run."""
    violations = []
    for call in run.calls:
        for name, found in _found_in(run, call):
            violations.append(Violation(name, found.detail, call.sid, _to_blame(run, call, found)))
    for name, look in RUN_CHECKS.items():
        violations += [Violation(name, detail) for detail in look(run)]
    return violations


def _found_in(run: Run, call: Call) -> Iterator[tuple[str, _Found]]:
    """Yield what is wrong with a call; of one that had to be given up, only what was wrong before."""
    given_up = next((strike for strike in run.strikes_on(call.sid) if strike.gives_up), None)
    for name, find in CALL_CHECKS.items():
        for found in find(call):
            if given_up is None or found.to_ms < call.at_ms(given_up.at_ns):
                yield name, found
    if given_up is None:
        yield from ((NO_END, found) for found in end_not_stored(run, call))
    else:
        yield from ((NO_FALLBACK, found) for found in fallback_not_heard(call))


def fallback_not_heard(call: Call) -> Iterator[_Found]:
    """A call that was given up heard TwiML say so, unless the caller was done before."""
    is_done = call.script_finished and call.end_reason == "caller-hung-up"
    if not call.sentences and not is_done:
        yield _Found(f"ended by {call.end_reason} without a word", call.over_ms, call.over_ms)


def ended_otherwise(call: Call) -> Iterator[_Found]:
    """A call that was connected ended by the caller's will."""
    if call.connected_ms is None:
        return
    # Whoever gives up does so for what happened, or did not, since the last turn began.
    since_ms = gaps.dues(call)[-1].turn_ms
    if not call.script_finished or call.end_reason != "caller-hung-up":
        yield _Found(f"ended by {call.end_reason}", since_ms, call.over_ms)
    elif call.sentences:
        yield _Found("TwiML spoke in the middle of it", since_ms, call.over_ms)


def ended_well(call: Call) -> bool:
    """Return whether the caller had a connected call until the end of the conversation."""
    return call.connected_ms is not None and call.script_finished and call.end_reason == "caller-hung-up"


def nobody_saw_the_end(run: Run, call: Call) -> bool:
    """Return whether the caller hung up without a stream, or just after the call's worker was struck.

    Nobody is told of the one, and who is told of the other may be dead: the call is closed as `end-unknown` hours later.
    """
    without_a_stream = any(span.to_ms >= call.over_ms for span in call.streamless)
    just_before = (call.at_ms(each.at_ns) for each in run.strikes_on(call.sid))
    return without_a_stream or any(call.over_ms - UNSEEN_MS <= at_ms <= call.over_ms for at_ms in just_before)


def end_not_stored(run: Run, call: Call) -> Iterator[_Found]:
    """Postgres knows how a call ended, if anybody of us does."""
    if ended_well(call) and call.outcome != "success" and not nobody_saw_the_end(run, call):
        yield _Found(f"ended well, and Postgres has the outcome {call.outcome}", call.over_ms, call.over_ms)


def line_not_understood(call: Call) -> Iterator[_Found]:
    """Every line that the caller said, and a stream carried, is known to the model."""
    known = Counter(next((session for session in reversed(call.knows) if session), ()))
    for said, until_ms in _turns(call):
        if not known[said.line] and carried.cut_by(call, said) is None:
            yield _Found(f"{said.line} is unknown at the end", said.from_ms, until_ms)


def line_understood_twice(call: Call) -> Iterator[_Found]:
    """No session of the model knows a line twice."""
    twice = {
        line
        for session in call.knows
        for line, times in Counter(session).items()
        if line is not None and times > 1
    }
    for said, until_ms in _turns(call):
        if said.line in twice:
            yield _Found(f"{said.line} is known twice", said.from_ms, until_ms)


def line_not_stored_once(call: Call) -> Iterator[_Found]:
    """Postgres has each of the caller's lines once; one that was cut at most once."""
    stored = Counter(call.row_texts)
    for said, until_ms in _turns(call):
        times = stored[recordings.utterance(said.line).text]
        if times > 1 or (not times and carried.cut_by(call, said) is None):
            yield _Found(f"{said.line} has {times} rows", said.from_ms, until_ms)


def answer_not_heard(call: Call) -> Iterator[_Found]:
    """Every answer was heard to its end before the caller went on; to what was cut, nothing need be answered."""
    for due in gaps.dues(call):
        if due.is_cut:
            continue
        # Where a call was cut off, nothing more can be said about its last answer.
        if not due.is_whole and (call.script_finished or due.to_ms != call.over_ms):
            share = gaps.covered(due.line, due.heard)
            yield _Found(f"{share:.0%} of {due.line} was heard", due.from_ms, due.to_ms)


def answer_heard_twice(call: Call) -> Iterator[_Found]:
    """No answer's end was heard a second time; several lines may be answered by the same apology."""
    for line in {piece.line for piece in call.heard} - {recordings.reply(None).id}:
        first, last = hearing.loud_ms(line)
        end_begins = last - END_PART * (last - first)
        heard_end = [
            piece
            for piece in call.heard
            if piece.line == line
            and piece.starts_at_ms <= end_begins
            and piece.ends_at_ms >= last - gaps.EDGE_MS
        ]
        for piece in heard_end[1:]:
            yield _Found(f"{line} was heard again", piece.from_ms, piece.from_ms)


def answer_out_of_date(call: Call) -> Iterator[_Found]:
    """Nothing of an answer was heard once the caller had said the next line."""
    for due, following in zip(gaps.dues(call), call.said, strict=False):
        for piece in call.heard:
            if piece.line == due.line and piece.from_ms >= following.to_ms:
                yield _Found(f"{due.line} was heard after {following.line}", piece.from_ms, piece.from_ms)


def call_turned_away(run: Run) -> Iterator[str]:
    """Every call was connected, unless it came while nobody could be."""
    for call in run.calls:
        outages = [strike for strike in run.strikes if strike.turns_away]
        if call.connected_ms is None and not any(
            call.at_ms(strike.at_ns) <= call.over_ms and call.at_ms(strike.healed_ns) >= -EARLY_MS
            for strike in outages
        ):
            yield f"{call.sid} was never connected"


def result_missing(run: Run) -> Iterator[str]:
    """Every call that began has a result."""
    yield from run.lost_callers


def event_not_stored(run: Run) -> Iterator[str]:
    """Every acknowledged event is a row, and every row an event."""
    events, rows = set(run.events), set(run.rows)
    yield from (f"{_named(key)} is in JetStream and not in Postgres" for key in sorted(events - rows))
    yield from (f"{_named(key)} is in Postgres and not in JetStream" for key in sorted(rows - events))


def event_stored_twice(run: Run) -> Iterator[str]:
    """No event has two rows, or two messages."""
    for where, keys in (("Postgres", run.rows), ("JetStream", run.events)):
        yield from (
            f"{_named(key)} is {times} times in {where}" for key, times in Counter(keys).items() if times > 1
        )


def event_missing(run: Run) -> Iterator[str]:
    """The numbers under each fence have no hole; only the end of what a killed owner wrote may be missing."""
    numbers: dict[tuple[str, int, int], set[int]] = defaultdict(set)
    for key in run.rows:
        numbers[key[:3]].add(key.n)
    for (sid, attach, assign), present in sorted(numbers.items()):
        missing = sorted(set(range(max(present))) - present)
        if missing:
            yield f"{sid} fence {attach}.{assign} lacks the events {missing}"


def service_ended_alone(run: Run) -> Iterator[str]:
    """No service ended without being told to."""
    yield from run.ended_alone


def drain_failed(run: Run) -> Iterator[str]:
    """Every drain ended in time, with exit code 0."""
    yield from run.undrained


CALL_CHECKS: Final[dict[str, Callable[[Call], Iterator[_Found]]]] = {
    "call ended otherwise": ended_otherwise,
    "line not understood": line_not_understood,
    "line understood twice": line_understood_twice,
    "line not stored once": line_not_stored_once,
    "answer not heard": answer_not_heard,
    "answer heard twice": answer_heard_twice,
    "answer out of date": answer_out_of_date,
}
NO_FALLBACK: Final = "fallback not heard"
NO_END: Final = "end not stored"
RUN_CHECKS: Final[dict[str, Callable[[Run], Iterator[str]]]] = {
    "call turned away": call_turned_away,
    "result missing": result_missing,
    "event not stored": event_not_stored,
    "event stored twice": event_stored_twice,
    "event missing": event_missing,
    "service ended alone": service_ended_alone,
    "drain failed": drain_failed,
}
NAMES: Final = (*CALL_CHECKS, NO_FALLBACK, NO_END, *RUN_CHECKS)
"""Of all checks."""


def _turns(call: Call) -> Iterator[tuple[Said, int]]:
    """Yield each line with when the caller went on."""
    ends = [*(said.from_ms for said in call.said[1:]), call.over_ms]
    yield from zip(call.said, ends, strict=bool(call.said))


def _to_blame(run: Run, call: Call, found: _Found) -> int | None:
    """Return the first strike on the call in the time of what was found, or the one before it, or the one after."""
    strikes = run.strikes_on(call.sid)
    within = [each for each in strikes if found.from_ms <= call.at_ms(each.at_ns) <= found.to_ms]
    before = [
        each
        for each in strikes
        if call.at_ms(each.at_ns) < found.from_ms <= call.at_ms(each.healed_ns) + 1000 * gaps.AFTERMATH_S
    ]
    after = [each for each in strikes if call.at_ms(each.at_ns) > found.to_ms]
    chosen = within[:1] or before[-1:] or after[:1] or strikes[-1:]
    return chosen[0].number if chosen else None


def _named(key: EventKey) -> str:
    return f"{key.call_sid} {key.attach}.{key.assign} event {key.n}"
