"""The simulated day of calls behind docs/scaling.md: repeatable, and right where the answer is known."""

import math

import pytest

from bench.autoscaling import DAY_S, TALK_MEAN_S, Fleet, opening, simulate, smooth, spiky

NOON_S = 12 * 3600
CALLS = 300


def test_a_seed_repeats_the_day() -> None:
    first, again, other = (simulate(Fleet(), smooth, 30, seed) for seed in (1, 1, 2))

    assert first == again != other


def test_with_room_nobody_hears_full_and_the_pods_follow_the_calls() -> None:
    day = simulate(Fleet(target=0.6), smooth, CALLS, seed=1)

    assert day.refused == day.full_s == 0
    # Little's law: the calls at once are arrivals times talk time.
    assert day.talk_s == pytest.approx(day.calls * TALK_MEAN_S, rel=0.03)
    assert day.calls_peak == pytest.approx(CALLS, rel=0.3)
    assert math.ceil(day.calls_peak / 0.7 / 100) <= day.pods_peak <= math.ceil(day.calls_peak / 0.5 / 100)
    assert 3 * 24 <= day.pod_hours < day.pods_peak * 24


def test_without_a_pod_to_come_the_full_house_is_counted() -> None:
    one_pod = Fleet(pods_min=1, pods_max=1)

    day = simulate(one_pod, smooth, CALLS, seed=1)

    # Erlang B: 300 erlangs at noon for 100 lines, so some two thirds hear "full" there.
    assert day.calls_peak == 100
    assert 0.3 < day.refused / day.calls < 0.7
    assert day.fullest == 1
    assert day.pod_hours == 24


def test_headroom_is_what_takes_a_surge() -> None:
    tight = simulate(Fleet(target=0.9, capacity_calls=20), spiky, 200, seed=1)
    roomy = simulate(Fleet(target=0.5, capacity_calls=20, spare_nodes=2), spiky, 200, seed=1)

    assert tight.refused > 0
    assert roomy.refused == 0
    assert roomy.pod_hours > tight.pod_hours


def test_the_kinds_of_day_are_what_they_say() -> None:
    assert smooth(NOON_S) == max(smooth(second) for second in range(0, DAY_S, 60)) == 1
    assert spiky(10.3 * 3600) == 2 * smooth(10.3 * 3600)
    assert spiky(14.51 * 3600) == 3 * smooth(14.51 * 3600)
    assert opening(8 * 3600 - 1) == opening(20 * 3600) == 0
    assert opening(8 * 3600) == smooth(8 * 3600)
