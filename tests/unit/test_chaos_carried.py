"""Lines that a caller said while Twilio had no stream, in calls made by hand: told apart, not judged."""

from dataclasses import replace

import pytest
from chaos_runs import LINES, beginning, good_call, good_run, rest, strike, whole

from chaos import carried, checker, gaps, hearing
from chaos.evidence import Call, Run, Span, Strike, Unheard
from chaos.figures import figures

GREETING, LAST_ANSWER = whole("agent-greeting", 700), whole("agent-digits-1", 18_900)
FIRST_WORD_MS, LAST_WORD_MS = (8_000 + edge for edge in hearing.loud_ms(LINES[0]))
"""Of the first line in `good_call`."""


def gateway_kill(at_s: float, number: int = 0) -> Strike:
    return replace(strike(number, at_s, "gateway-kill"), takes_streams=True)


def cut_call(from_ms: int = 8_500, to_ms: int = 8_700) -> Call:
    """The first line was said into nothing for a moment: nobody understood it, or answered."""
    return replace(
        good_call(),
        streamless=(Span(from_ms, to_ms),),
        unheard=(Unheard(from_ms - 10, to_ms, 0),),
        knows=(LINES[1:],),
        row_texts=good_call().row_texts[1:],
        heard=(GREETING, LAST_ANSWER),
    )


def found(run: Run) -> list[str]:
    return [violation.check for violation in checker.check(run)]


def test_a_call_has_no_stream_from_an_end_to_the_next_start() -> None:
    # The third try to connect failed at 9.1 s, before it had a start.
    assert carried.streamless([0, 5_000, 9_300], [4_800, 9_000, 9_100, 22_000]) == [
        Span(4_800, 5_000),
        Span(9_000, 9_300),
    ]


def test_nothing_is_heard_from_the_strike_until_the_next_stream() -> None:
    spans = [Span(3_000, 3_200), Span(8_500, 8_700), Span(30_000, 31_000)]

    assert list(carried.unheard(spans, [gateway_kill(8.4)], good_call().answered_ns)) == [
        Unheard(8_400, 8_700, 0)
    ]


@pytest.mark.parametrize("fault", ["gateway-drain", "worker-kill"])
def test_a_fault_that_takes_no_streams_excuses_nothing(fault: str) -> None:
    spans = [Span(8_500, 8_700)]

    assert list(carried.unheard(spans, [strike(0, 8.4, fault)], good_call().answered_ns)) == []


def test_a_stream_that_ends_long_after_the_fault_is_not_its_doing() -> None:
    spans = [Span(18_000, 18_200)]

    assert list(carried.unheard(spans, [gateway_kill(8.4)], good_call().answered_ns)) == []


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "cut"),
    [
        (7_000, FIRST_WORD_MS, None),
        (7_000, FIRST_WORD_MS + 20, 0),
        (LAST_WORD_MS - 20, 11_000, 0),
        (LAST_WORD_MS, 11_000, None),
    ],
)
def test_a_line_is_cut_when_a_word_of_it_reached_nobody(from_ms: int, to_ms: int, cut: int | None) -> None:
    call = replace(good_call(), unheard=(Unheard(from_ms, to_ms, 0),))

    assert carried.cut_by(call, call.said[0]) == cut


def test_a_cut_line_is_told_and_not_judged() -> None:
    run = good_run(cut_call(), good_call("CA2"), strikes=(gateway_kill(8.49),))
    (told,) = figures(run, checker.check(run))

    assert found(run) == []
    assert (told.lines_cut, told.lines_lost, told.gaps_ms, told.streamless_ms) == (1, 0, [0.0], [200])


def test_the_turn_after_a_cut_line_is_judged() -> None:
    call = replace(cut_call(), knows=((),), row_texts=(), heard=(GREETING,))

    assert found(good_run(call, strikes=(gateway_kill(8.49),))) == [
        "line not understood",
        "line not stored once",
        "answer not heard",
    ]


def test_a_cut_line_must_not_be_understood_or_stored_twice() -> None:
    texts = good_call().row_texts
    call = replace(cut_call(), knows=((LINES[0], *LINES),), row_texts=(texts[0], *texts))

    assert found(good_run(call, strikes=(gateway_kill(8.49),))) == [
        "line understood twice",
        "line not stored once",
    ]


def test_our_part_of_a_gap_begins_with_the_new_stream() -> None:
    answer = beginning("agent-digits-2", 10_900, 600), rest("agent-digits-2", 12_000, 600)
    call = replace(good_call(), heard=(GREETING, *answer, LAST_ANSWER), streamless=(Span(11_510, 11_800),))
    run = good_run(call, strikes=(gateway_kill(11.5),))

    assert gaps.gap_ms(run, gaps.usual(run), run.strikes[0], call) == 500
    assert gaps.own_gap_ms(run, gaps.usual(run), run.strikes[0], call) == 210


def test_the_time_before_an_answer_is_due_is_nobody_s_part() -> None:
    late = replace(
        good_call(),
        heard=(GREETING, whole("agent-digits-2", 11_200), LAST_ANSWER),
        streamless=(Span(10_100, 10_600),),
    )
    run = good_run(late, good_call("CA2"), strikes=(gateway_kill(10.1),))

    assert gaps.own_gap_ms(run, gaps.usual(run), run.strikes[0], late) == 300
