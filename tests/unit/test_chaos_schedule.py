"""The plan of `make chaos`, and what its callers say."""

import random
from collections import Counter

import pytest

from chaos import caller, schedule, strike
from chaos.faults import FAULTS as CATALOGUE

FAULTS = ["worker-kill", "gateway-kill", "nats-away"]


def test_a_seed_is_a_plan() -> None:
    assert schedule.plan(7, FAULTS, 3) == schedule.plan(7, FAULTS, 3)
    assert schedule.plan(7, FAULTS, 3) != schedule.plan(8, FAULTS, 3)


def test_every_fault_strikes_once_a_round() -> None:
    planned = schedule.plan(7, FAULTS, 4)

    assert [each.number for each in planned] == list(range(12))
    for first in range(0, 12, 3):
        assert sorted(each.fault for each in planned[first : first + 3]) == sorted(FAULTS)


def test_faults_follow_each_other_as_fast_as_is_asked() -> None:
    planned = schedule.plan(7, FAULTS, 20, (0.25, 0.5))

    assert all(0.25 <= each.pause_s <= 0.5 for each in planned)


def test_a_draw_picks_among_whoever_is_there() -> None:
    assert schedule.pick(0.0, ["b", "a"]) == "a"
    assert schedule.pick(0.999, ["b", "a"]) == "b"
    assert schedule.between(0.5, 2.0, 4.0) == 3.0


def test_a_caller_says_every_line_once_and_hangs_up() -> None:
    steps = caller.conversation(random.Random(1)).steps

    assert sorted(str(step.say) for step in steps[:-1]) == sorted(caller.LINES)
    assert steps[-1].hang_up


@pytest.mark.parametrize(("fault", "can_bear"), [("gateway-kill", False), ("worker-kill", True)])
def test_a_call_that_would_be_given_up_for_a_loop_is_spared(fault: str, can_bear: bool) -> None:
    streams_lost = Counter({"CA1": 1, "CA2": strike.STREAMS_LOST_MAX})

    assert strike.can_bear(CATALOGUE[fault], ["CA1"], streams_lost)
    assert strike.can_bear(CATALOGUE[fault], ["CA1", "CA2"], streams_lost) == can_bear
