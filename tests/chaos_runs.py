"""Runs of `chaos` made by hand: calls in which all is well, to be spoiled by tests."""

from dataclasses import replace

from chaos import hearing
from chaos.evidence import Call, EventKey, Run, Said, Strike
from chaos.hearing import Piece
from trunkline_simulators import recordings

SECOND_NS = 1_000_000_000
LINES = ("caller-digits-2", "caller-digits-1")


def whole(line: str, begins_ms: int) -> Piece:
    """A line that was heard from its first word, at `begins_ms`, to its last."""
    first, last = hearing.loud_ms(line)
    return Piece(line, begins_ms, begins_ms + last - first, first)


def beginning(line: str, begins_ms: int, length_ms: int) -> Piece:
    """A line that was cut off."""
    first, _ = hearing.loud_ms(line)
    return Piece(line, begins_ms, begins_ms + length_ms, first)


def rest(line: str, begins_ms: int, missing_ms: int) -> Piece:
    """What is left of a line after its first `missing_ms`."""
    first, last = hearing.loud_ms(line)
    return Piece(line, begins_ms, begins_ms + last - first - missing_ms, first + missing_ms)


def good_call(sid: str = "CA1") -> Call:
    """Greeted after 0.7 s; two lines, at 8 s and at 16 s, each answered after 0.9 s; over at 22 s."""
    said = tuple(Said(line, at, at + 2_000) for line, at in zip(LINES, (8_000, 16_000), strict=True))
    answers = [whole(recordings.reply(each.line).id, each.to_ms + 900) for each in said]
    return Call(
        sid=sid,
        answered_ns=100 * SECOND_NS,
        over_ms=22_000,
        said=said,
        heard=(whole("agent-greeting", 700), *answers),
        knows=(LINES,),
        row_texts=tuple(recordings.utterance(line).text for line in LINES),
    )


def strike(number: int = 0, at_s: float = 10.0, fault: str = "worker-kill", *sids: str) -> Strike:
    """A fault `at_s` after `good_call` was answered, healed a second later."""
    at_ns = round((100 + at_s) * SECOND_NS)
    return Strike(
        number, fault, "worker-1", sids or ("CA1",), at_ns, at_ns + SECOND_NS // 2, at_ns + SECOND_NS
    )


def good_run(*calls: Call, strikes: tuple[Strike, ...] = ()) -> Run:
    """A run whose events are all stored."""
    calls = calls or (good_call(),)
    keys = tuple(EventKey(call.sid, 1, 1, n) for call in calls for n in range(4))
    return Run(strikes=strikes, calls=calls, events=keys, rows=keys)


def spoiled(**fields: object) -> Run:
    """A run of one call in which these fields differ."""
    return good_run(replace(good_call(), **fields), strikes=(strike(),))  # type: ignore[arg-type]  # by name
