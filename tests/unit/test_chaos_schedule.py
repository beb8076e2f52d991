"""The plan of `make chaos`, and the figures of its report."""

import random
from dataclasses import replace

import pytest
from chaos_runs import good_call, good_run, spoiled, strike

from chaos import caller, checker, report, schedule

FAULTS = ["worker-kill", "gateway-kill", "nats-away"]


def test_a_seed_is_a_plan() -> None:
    assert schedule.plan(7, FAULTS, 3) == schedule.plan(7, FAULTS, 3)
    assert schedule.plan(7, FAULTS, 3) != schedule.plan(8, FAULTS, 3)


def test_every_fault_strikes_once_a_round() -> None:
    planned = schedule.plan(7, FAULTS, 4)

    assert [each.number for each in planned] == list(range(12))
    for first in range(0, 12, 3):
        assert sorted(each.fault for each in planned[first : first + 3]) == sorted(FAULTS)


def test_a_draw_picks_among_whoever_is_there() -> None:
    assert schedule.pick(0.0, ["b", "a"]) == "a"
    assert schedule.pick(0.999, ["b", "a"]) == "b"
    assert schedule.between(0.5, 2.0, 4.0) == 3.0


def test_a_caller_says_every_line_once_and_hangs_up() -> None:
    steps = caller.conversation(random.Random(1)).steps

    assert sorted(str(step.say) for step in steps[:-1]) == sorted(caller.LINES)
    assert steps[-1].hang_up


@pytest.mark.parametrize(("tries", "bound"), [(1, 1.0), (3, 1.0), (200, 0.015), (1_000, 0.003)])
def test_what_no_failure_in_so_many_tries_rules_out(tries: int, bound: float) -> None:
    assert report.zero_failures_bound(tries) == pytest.approx(bound)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 201)]

    assert report.percentile(values, 0.5) == 100
    assert report.percentile(values, 0.99) == 198
    assert report.percentile([5.0], 0.99) == 5.0
    assert report.percentile([], 0.99) is None


def test_a_run_without_violations_passes() -> None:
    run = good_run(strikes=(strike(),))
    (figures,) = report.figures(run, checker.check(run))

    assert (figures.fault, figures.strikes, figures.calls_hit, figures.calls_dropped) == (
        "worker-kill",
        1,
        1,
        0,
    )
    assert figures.drop_bound_percent == 100
    assert not report.has_failed([figures], [])
    assert "passed  no call ended otherwise" in report.text(run, [figures], [])


def test_a_dropped_call_fails_the_run_and_has_no_bound() -> None:
    run = spoiled(end_reason="hangup", script_finished=False)
    violations = checker.check(run)
    (figures,) = report.figures(run, violations)

    assert (figures.calls_dropped, figures.drop_bound_percent) == (1, None)
    assert report.has_failed([figures], violations)
    assert "FAILED  no call ended otherwise (1)" in report.text(run, [figures], violations)


def test_a_gap_beyond_its_target_fails_the_run() -> None:
    silent = replace(good_call(), heard=(good_call().heard[0], good_call().heard[2]))
    run = good_run(silent, good_call("CA2"), strikes=(strike(0, 10.5),))
    (figures,) = report.figures(run, [])

    assert not figures.is_on_target
    assert report.has_failed([figures], [])
    assert not report.has_failed([figures], [], gaps=False)
