"""How long a voice was missing, by hand-made calls and by sound made from the recordings."""

from dataclasses import replace

import numpy as np
import pytest
from chaos_runs import beginning, good_call, good_run, rest, strike, whole
from numpy.typing import NDArray

from chaos import gaps, hearing
from chaos.evidence import Call
from chaos.gaps import Silence
from trunkline_simulators import g711, recordings

GREETING = whole("agent-greeting", 700)
RATE_HZ = hearing.RATE_HZ


def silence(ms: int) -> NDArray[np.int16]:
    return np.zeros(ms * RATE_HZ // 1000, np.int16)


def telephone(*parts: NDArray[np.int16]) -> NDArray[np.int16]:
    """What a caller hears of these, with μ-law's loss."""
    return g711.decode(g711.encode(np.concatenate(parts)))


def said(line: str) -> NDArray[np.int16]:
    return recordings.samples(line, RATE_HZ)


def call_with_answer(*answer: hearing.Piece) -> Call:
    return replace(good_call(), heard=(GREETING, *answer, whole("agent-digits-1", 18_900)))


def test_a_call_in_which_all_is_well_has_only_the_usual_silences() -> None:
    assert gaps.silences(good_call()) == [
        Silence("greeting", "agent-greeting", 0, 700, 0),
        Silence("reply", "agent-digits-2", 10_000, 10_900, 8_000),
        Silence("reply", "agent-digits-1", 18_000, 18_900, 16_000),
    ]


def test_a_late_answer_counts_beyond_the_usual_wait() -> None:
    run = good_run(
        call_with_answer(whole("agent-digits-2", 12_000)), good_call("CA2"), strikes=(strike(0, 10.5),)
    )

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], run.calls[0]) == 1_100


def test_silence_inside_an_answer_counts_whole() -> None:
    answer = beginning("agent-digits-2", 10_900, 600), rest("agent-digits-2", 12_000, 600)
    run = good_run(call_with_answer(*answer), strikes=(strike(0, 11.2),))

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], run.calls[0]) == 500


def test_silence_before_a_fault_is_not_its_doing() -> None:
    answer = beginning("agent-digits-2", 10_900, 600), rest("agent-digits-2", 12_000, 600)
    run = good_run(call_with_answer(*answer), strikes=(strike(0, 13.0),))

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], run.calls[0]) == 0


def test_a_fault_that_strikes_a_silence_already_too_long_is_not_to_blame() -> None:
    run = good_run(
        call_with_answer(whole("agent-digits-2", 14_000)),
        good_call("CA2"),
        strikes=(strike(0, 10.5), strike(1, 12.0)),
    )

    waits = [gaps.gap_ms(run, gaps.usual(run), each, run.calls[0]) for each in run.strikes]
    assert waits == [3_100, 0]


def test_of_strikes_soon_after_each_other_the_last_before_the_silence_is_to_blame() -> None:
    answer = beginning("agent-digits-2", 10_900, 600), rest("agent-digits-2", 12_000, 600)
    run = good_run(call_with_answer(*answer), strikes=(strike(0, 8.5), strike(1, 11.4), strike(2, 11.9)))

    waits = [gaps.gap_ms(run, gaps.usual(run), each, run.calls[0]) for each in run.strikes]
    assert waits == [0, 500, 0]


def test_an_answer_that_never_came_was_missing_until_the_caller_spoke() -> None:
    run = good_run(call_with_answer(), good_call("CA2"), strikes=(strike(0, 10.5),))

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], run.calls[0]) == 16_000 - 10_000 - 900


def test_after_an_outage_only_the_time_since_its_end_counts() -> None:
    run = good_run(
        call_with_answer(whole("agent-digits-2", 12_000)), good_call("CA2"), strikes=(strike(0, 11.0),)
    )

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], run.calls[0], is_after=True) == 500


def test_without_a_quiet_call_the_usual_is_a_short_wait_of_all() -> None:
    run = good_run(strikes=(strike(0, 5.0),))

    assert gaps.usual(run) == {"agent-greeting": 700, "agent-digits-2": 900, "agent-digits-1": 900}


def test_a_line_is_found_where_it_was_played() -> None:
    heard = telephone(silence(1_000), said("agent-digits-3"), silence(500))

    (piece,) = hearing.pieces(heard)

    first, last = hearing.loud_ms("agent-digits-3")
    assert piece.line == "agent-digits-3"
    assert (piece.from_ms, piece.to_ms) == pytest.approx((1_000 + first, 1_000 + last), abs=gaps.EDGE_MS)
    assert gaps.covered("agent-digits-3", [piece]) > gaps.WHOLE


def test_a_hole_in_a_line_is_measured() -> None:
    line = said("agent-digits-4")
    cut = 640 * RATE_HZ // 1000
    heard = telephone(silence(1_000), line[:cut], silence(400), line[cut:], silence(500))

    before, after = hearing.pieces(heard)

    assert after.from_ms - before.to_ms == pytest.approx(400, abs=2 * gaps.EDGE_MS)
    assert gaps.covered("agent-digits-4", [before, after]) > gaps.WHOLE


def test_a_line_that_begins_anew_is_two_pieces() -> None:
    line = said("agent-greeting")
    heard = telephone(silence(1_000), line[: RATE_HZ * 3 // 2], silence(300), line, silence(500))

    pieces = hearing.pieces(heard)

    assert [piece.line for piece in pieces] == ["agent-greeting"] * 2
    assert pieces[0].starts_at_ms == pytest.approx(pieces[1].starts_at_ms, abs=gaps.EDGE_MS)


def test_a_soft_tone_is_nobodys_line() -> None:
    tone = (np.sin(np.arange(3 * RATE_HZ) * 0.3) * 2_000).astype(np.int16)

    assert hearing.pieces(telephone(silence(500), tone)) == []


def test_two_lines_chopped_into_each_other_are_no_line() -> None:
    one, two = said("agent-digits-1"), said("agent-digits-2")
    step = 20 * RATE_HZ // 1000
    frames = min(len(one), len(two)) // step
    chopped = [sound[n * step : (n + 1) * step] for n in range(frames) for sound in ((one, two)[n % 2],)]

    heard = hearing.pieces(telephone(silence(500), *chopped, silence(500)))

    assert all(gaps.covered(line, heard) < gaps.WHOLE for line in ("agent-digits-1", "agent-digits-2"))
