"""Pure: how long a caller waited for a voice that was due, and how much of it a fault is to blame for.

The agent's voice is due from the end of a caller's line until its answer was heard to the end, and from the start of
the stream until the greeting was. Only the agent's own lines count: a comfort sound fills a silence, but ends no gap.
A turn whose line was cut counts for nothing, see `carried.py`.

Where a fault takes the stream, a part of the gap is Twilio's: from the stream's end until it has sent `start` on the next
one. *Our part* is what is left of a gap when the time in which Twilio had no stream is taken off: nothing, if nothing of
the agent's was owed when the new stream started, and it was on time afterwards.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Final, Literal

from chaos import carried, hearing
from chaos.evidence import Call, Run, Strike
from chaos.hearing import Piece
from trunkline_simulators import recordings

Kind = Literal["greeting", "reply", "inside"]

AFTERMATH_S: Final = 10.0
"""What happens so long after a fault was healed is no longer its doing."""

WHOLE: Final = 0.85
"""Of a line; the soft end of a last word may not be recognised."""

TOLERANCE_MS: Final = 150
"""What an answer may be late by without anybody's fault, on a busy machine."""

QUIET_MIN: Final = 5
"""Waits for one line: the median of fewer varies as much as they do."""

EDGE_MS: Final = 2 * hearing.FRAME_MS
"""How much the two ends of a stretch may be off by."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing of the agent's was heard, though it was due; `inside` an answer that had begun."""

    kind: Kind
    line: str
    """Of the agent's."""
    from_ms: int
    to_ms: int
    turn_ms: int
    """When the caller began the line that was to be answered: a fault may have struck then already."""

    @property
    def length_ms(self) -> int:
        """How long it was."""
        return self.to_ms - self.from_ms


@dataclass(frozen=True, slots=True)
class Due:
    """When one answer was due, and what was heard of it."""

    line: str
    kind: Kind
    turn_ms: int
    """When the caller began the line that it answers."""
    from_ms: int
    to_ms: int
    """When the caller next spoke, or the call was over."""
    heard: Sequence[Piece]
    """Whatever of the agent's was heard in that time."""
    is_cut: bool
    """The line that it answers was cut: nobody can say what is due."""

    @property
    def is_whole(self) -> bool:
        """Whether the caller heard all of this line."""
        return covered(self.line, self.heard) >= WHOLE


def dues(call: Call) -> list[Due]:
    """Return every answer that was due in a call, the greeting first; none in one that was never connected."""
    if call.connected_ms is None:
        return []
    begins: list[tuple[str, Kind, int, int, bool]] = [
        (recordings.greeting().id, "greeting", 0, call.connected_ms, False)
    ]
    begins += [
        (
            recordings.reply(said.line).id,
            "reply",
            said.from_ms,
            said.to_ms,
            carried.cut_by(call, said) is not None,
        )
        for said in call.said
    ]
    ends = [*(said.from_ms for said in call.said), call.over_ms]
    found = []
    for (line, kind, turn_ms, from_ms, is_cut), to_ms in zip(begins, ends, strict=True):
        heard = [piece for piece in call.heard if from_ms <= (piece.from_ms + piece.to_ms) / 2 < to_ms]
        found.append(Due(line, kind, turn_ms, from_ms, to_ms, heard, is_cut))
    return found


def covered(line: str, heard: Sequence[Piece]) -> float:
    """Return how much of a line, from its first word to its last, was heard in these pieces: 0…1."""
    first, last = hearing.loud_ms(line)
    parts = sorted((each.starts_at_ms, each.ends_at_ms) for each in heard if each.line == line)
    total, until = 0, first
    for begin, end in parts:
        total += max(min(end, last) - max(begin, until), 0)
        until = max(until, end)
    return total / (last - first)


def silences(call: Call) -> list[Silence]:
    """Return every silence in which the agent's voice was due; none of a turn whose line was cut."""
    found = []
    for due in dues(call):
        if due.is_cut:
            continue
        cursor, kind = due.from_ms, due.kind
        for piece in due.heard:
            if piece.from_ms - cursor > EDGE_MS:
                found.append(Silence(kind, due.line, cursor, piece.from_ms, due.turn_ms))
            cursor, kind = max(cursor, piece.to_ms), "inside"
        if not due.is_whole and due.to_ms - cursor > EDGE_MS:
            found.append(Silence(kind, due.line, cursor, due.to_ms, due.turn_ms))
    return found


Usual = Mapping[str, float]
"""How long, in ms, each of the agent's lines is waited for where nothing is wrong."""


def usual(run: Run) -> Usual:
    """Return the medians of the waits that no fault is near; where those are few, the lower quartile of all.

    For each line, because recordings begin and end with silences of their own, which differ by up to 100 ms.
    """
    everywhere: dict[str, list[int]] = defaultdict(list)
    quiet: dict[str, list[int]] = defaultdict(list)
    for call in run.calls:
        for silence in silences(call):
            if silence.kind != "inside":
                everywhere[silence.line].append(silence.length_ms)
        for silence in _unhurt(run, call):
            if silence.kind != "inside":
                quiet[silence.line].append(silence.length_ms)
    # When faults are everywhere, many silences are still not longer for it.
    return {
        line: median_low(quiet[line]) if len(quiet[line]) >= QUIET_MIN else sorted(lengths)[len(lengths) // 4]
        for line, lengths in everywhere.items()
    }


def usual_ms(usual: Usual, silence: Silence) -> float:
    """Return how long this silence would usually be: inside an answer, not at all."""
    return 0.0 if silence.kind == "inside" else usual[silence.line]


def unhurt_ms(run: Run, usual: Usual) -> list[float]:
    """Return by how much the silences that no fault is near exceed the usual: what this machine adds by itself."""
    return [
        max(silence.length_ms - usual_ms(usual, silence), 0.0)
        for call in run.calls
        for silence in _unhurt(run, call)
    ]


def gap_ms(run: Run, usual: Usual, strike: Strike, call: Call, *, is_after: bool = False) -> float:
    """Return how much longer than usual the caller waited, at the worst, because of this strike.

    With `is_after`, only from when the fault was over.
    """
    worst = 0.0
    for silence, excess in _blamed(run, usual, strike, call):
        counts = min(excess, silence.to_ms - call.at_ms(strike.healing_ns)) if is_after else excess
        worst = max(worst, counts)
    return worst


def own_gap_ms(run: Run, usual: Usual, strike: Strike, call: Call) -> float:
    """Return our part of the worst gap that this strike is to blame for."""
    worst = 0.0
    for silence, excess in _blamed(run, usual, strike, call):
        due_ms = silence.from_ms + usual_ms(usual, silence)
        twilios = sum(
            max(min(span.to_ms, silence.to_ms) - max(span.from_ms, due_ms), 0.0) for span in call.streamless
        )
        worst = max(worst, excess - twilios)
    return worst


def _blamed(run: Run, usual: Usual, strike: Strike, call: Call) -> Iterator[tuple[Silence, float]]:
    """Yield each silence that this strike is to blame for, and by how much it exceeds the usual."""
    for silence in silences(call):
        if _to_blame(run, call, silence, usual_ms(usual, silence)) == strike:
            yield silence, silence.length_ms - usual_ms(usual, silence)


def _to_blame(run: Run, call: Call, silence: Silence, usual_ms: float) -> Strike | None:
    """Return the last strike before the voice was overdue, if it came since the turn began or its aftermath lasts.

    The last: a strike comes when the one before it is healed, and the call in the hands of whom it strikes.
    A strike that came when the voice was overdue already is not to blame.
    """
    overdue_ms = silence.from_ms + usual_ms + TOLERANCE_MS
    before = [each for each in run.strikes_on(call.sid) if call.at_ms(each.at_ns) <= overdue_ms]
    if not before:
        return None
    last = before[-1]
    is_since = call.at_ms(last.at_ns) >= silence.turn_ms
    lasts = call.at_ms(last.healed_ns) + AFTERMATH_S * 1000 >= silence.from_ms
    return last if is_since or lasts else None


def _unhurt(run: Run, call: Call) -> list[Silence]:
    """Return the call's silences that no fault is near, whomever it struck."""
    faulty = [
        (call.at_ms(strike.at_ns), call.at_ms(strike.healed_ns) + AFTERMATH_S * 1000)
        for strike in run.strikes
    ]
    near = [(begin, end) for begin, end in faulty if begin < call.over_ms and end > 0]
    return [
        silence
        for silence in silences(call)
        if not any(begin < silence.to_ms and silence.from_ms < end for begin, end in near)
    ]
