"""How many places in the queue group a worker takes (see `placement`)."""

import pytest

from trunkline_worker.placement import PLACES_MAX, places


@pytest.mark.parametrize(
    ("free", "capacity", "expected"),
    [(50, 50, 10), (49, 50, 10), (45, 50, 9), (25, 50, 5), (1, 50, 1), (0, 50, 0), (1, 1, 10), (3, 4, 8)],
)
def test_places_are_the_share_of_room_that_is_free(free: int, capacity: int, expected: int) -> None:
    assert places(free, capacity, may_take=True, on_trial=False) == expected


def test_every_free_slot_can_be_found() -> None:
    for capacity in range(1, 101):
        taken = [places(free, capacity, may_take=True, on_trial=False) for free in range(1, capacity + 1)]
        assert taken == sorted(taken)
        assert (min(taken) >= 1, taken[-1]) == (True, PLACES_MAX)


def test_a_worker_that_may_not_take_calls_has_no_place() -> None:
    assert places(50, 50, may_take=False, on_trial=False) == 0


def test_a_worker_that_holds_more_than_it_may_has_no_place() -> None:
    assert places(-1, 50, may_take=True, on_trial=False) == 0


def test_a_trial_is_one_place_however_much_room_there_is() -> None:
    assert places(50, 50, may_take=True, on_trial=True) == 1
