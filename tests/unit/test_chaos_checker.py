"""What the checker of `make chaos` finds, in runs made by hand."""

from dataclasses import replace

import pytest
from chaos_runs import LINES, beginning, good_call, good_run, rest, spoiled, strike, whole

from chaos import checker
from chaos.evidence import EventKey, Run, Span

ANSWER_1, ANSWER_2 = "agent-digits-2", "agent-digits-1"
GREETING = whole("agent-greeting", 700)


def found(run: Run) -> list[str]:
    return [violation.check for violation in checker.check(run)]


def test_a_run_in_which_all_is_well_has_no_violation() -> None:
    assert checker.check(good_run(strikes=(strike(),))) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"end_reason": "hangup", "script_finished": False},
        {"end_reason": "caller-gave-up", "script_finished": False},
        {"sentences": ("We are sorry.",)},
    ],
)
def test_a_call_that_ended_otherwise_than_by_its_caller(fields: dict[str, object]) -> None:
    assert found(spoiled(**fields)) == ["call ended otherwise"]


@pytest.mark.parametrize("outcome", [None, "server", "indeterminate"])
def test_an_end_that_is_not_stored(outcome: str | None) -> None:
    assert found(spoiled(outcome=outcome)) == ["end not stored"]


def test_the_end_of_a_call_may_be_unknown_where_nobody_could_see_it() -> None:
    over_ms = good_call().over_ms
    without_a_stream = replace(
        good_call(), outcome="indeterminate", streamless=(Span(over_ms - 100, over_ms),)
    )
    just_struck = replace(good_call(), outcome=None)

    assert found(good_run(without_a_stream)) == []
    assert found(good_run(just_struck, strikes=(strike(0, over_ms / 1000 - 0.2),))) == []


def test_a_call_may_be_turned_away_only_while_nobody_can_be_connected() -> None:
    away = replace(
        good_call(), connected_ms=None, over_ms=3_000, end_reason="hangup", said=(), heard=(), outcome=None
    )
    outage = replace(strike(0, -1.0, "nats-away"), turns_away=True)

    assert found(good_run(away, strikes=(outage,))) == []
    assert found(good_run(away, strikes=(strike(0, -1.0),))) == ["call turned away"]


def test_a_line_that_the_last_session_does_not_know_is_lost() -> None:
    assert found(spoiled(knows=(LINES, LINES[1:]))) == ["line not understood"]


def test_a_session_that_was_lost_before_it_was_told_anything_knows_nothing() -> None:
    assert found(spoiled(knows=(LINES, ()))) == []


def test_a_line_that_one_session_knows_twice() -> None:
    assert found(spoiled(knows=((*LINES, LINES[0]),))) == ["line understood twice"]


def test_a_line_that_two_sessions_know_was_told_from_one_to_the_other() -> None:
    assert found(spoiled(knows=(LINES[:1], LINES))) == []


def test_a_line_needs_exactly_one_row() -> None:
    texts = good_call().row_texts

    assert found(spoiled(row_texts=texts[:1])) == ["line not stored once"]
    assert found(spoiled(row_texts=(*texts, texts[0]))) == ["line not stored once"]


def test_an_answer_that_broke_off() -> None:
    heard = (GREETING, beginning(ANSWER_1, 10_900, 600), whole(ANSWER_2, 18_900))

    assert found(spoiled(heard=heard)) == ["answer not heard"]


def test_an_answer_may_stop_and_go_on_or_begin_anew() -> None:
    stopped = (beginning(ANSWER_1, 10_900, 600), rest(ANSWER_1, 12_500, 600))
    begun_anew = (beginning(ANSWER_1, 10_900, 600), whole(ANSWER_1, 12_500))

    for first_answer in (stopped, begun_anew):
        assert found(spoiled(heard=(GREETING, *first_answer, whole(ANSWER_2, 18_900)))) == []


def test_an_answer_that_was_heard_to_its_end_and_then_again() -> None:
    heard = (GREETING, whole(ANSWER_1, 10_900), whole(ANSWER_1, 13_500), whole(ANSWER_2, 18_900))

    assert found(spoiled(heard=heard)) == ["answer heard twice"]


def test_an_answer_that_comes_when_the_next_line_was_said() -> None:
    heard = (*good_call().heard, beginning(ANSWER_1, 20_500, 600))

    assert found(spoiled(heard=heard)) == ["answer out of date"]


def test_a_greeting_in_the_middle_of_the_call() -> None:
    heard = (*good_call().heard[:2], beginning("agent-greeting", 13_000, 800), good_call().heard[2])

    assert found(spoiled(heard=heard)) == ["answer out of date"]


def test_an_acknowledged_event_without_a_row() -> None:
    run = good_run()

    assert found(replace(run, rows=run.rows[:-1])) == ["event not stored"]


def test_a_row_without_an_event() -> None:
    run = good_run()

    assert found(replace(run, events=run.events[:-1])) == ["event not stored"]


def test_an_event_that_is_there_twice() -> None:
    run = good_run()

    assert found(replace(run, rows=(*run.rows, run.rows[0]))) == ["event stored twice"]


def test_a_hole_in_the_numbers_under_a_fence() -> None:
    run = good_run()
    holed = tuple(key for key in run.rows if key.n != 1)

    assert found(replace(run, rows=holed, events=holed)) == ["event missing"]


def test_the_end_of_what_a_killed_owner_wrote_may_be_missing() -> None:
    run = good_run()
    keys = (*run.rows[:2], *(EventKey("CA1", 1, 2, n) for n in range(3)))

    assert found(replace(run, rows=keys, events=keys)) == []


def test_what_services_did_without_being_told_to() -> None:
    run = replace(
        good_run(), ended_alone=("gateway-4 ended",), undrained=("worker-2",), lost_callers=("CA2",)
    )

    assert found(run) == ["result missing", "service ended alone", "drain failed"]


def test_a_violation_is_laid_at_the_first_fault_whose_aftermath_it_lies_in() -> None:
    call = replace(good_call(), knows=(LINES[1:],))
    strikes = (strike(0, -30.0), strike(1, 9.0), strike(2, 12.0), strike(3, 9.0, "worker-kill", "CA9"))

    assert [each.strike for each in checker.check(good_run(call, strikes=strikes))] == [1]


def test_a_violation_in_a_call_that_nothing_hit_is_laid_at_nobody() -> None:
    call = replace(good_call("CA2"), outcome=None)

    assert [each.strike for each in checker.check(good_run(call, strikes=(strike(),)))] == [None]
