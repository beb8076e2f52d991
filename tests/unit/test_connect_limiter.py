"""How fast sessions are opened when all are lost at once."""

import pytest

from trunkline_worker.connect_limiter import DELAY_S_MAX, HEARD_S, ConnectLimiter


def delays(limiter: ConnectLimiter, count: int, now: float) -> list[float]:
    return [limiter.delay_s(now) for _ in range(count)]


def test_a_single_connect_never_waits() -> None:
    limiter = ConnectLimiter(10.0)

    assert [limiter.delay_s(float(now)) for now in range(5)] == [0.0] * 5


def test_a_storm_is_spread_over_time() -> None:
    waits_s = delays(ConnectLimiter(10.0), 100, now=100.0)

    assert waits_s == sorted(waits_s)
    assert waits_s.count(0.0) == 10
    assert waits_s[-1] == pytest.approx(9.0)


def test_the_rate_is_the_fleets_and_each_worker_has_its_share() -> None:
    limiter = ConnectLimiter(10.0)
    for worker in ("wk-1", "wk-2"):
        limiter.heard(worker, 100.0)

    assert delays(limiter, 50, now=100.0)[-1] == pytest.approx(2 * 4.5, abs=0.5)


def test_the_row_is_no_longer_than_anybody_waits_in_it() -> None:
    # Who gave up tries again and would stand behind its own abandoned places.
    limiter = ConnectLimiter(10.0)

    waits_s = delays(limiter, 10_000, now=100.0)

    assert max(waits_s) <= DELAY_S_MAX + 0.2
    assert limiter.delay_s(105.0) <= DELAY_S_MAX - 4.5


def test_a_worker_that_fell_silent_leaves_its_share_to_the_others() -> None:
    limiter = ConnectLimiter(10.0)
    limiter.heard("wk-1", 100.0)
    limiter.heard("wk-2", 100.0)
    limiter.heard("wk-1", 100.0 + HEARD_S)

    assert limiter.workers(100.1 + HEARD_S) == 1


def test_one_connect_is_free_however_small_the_share() -> None:
    limiter = ConnectLimiter(1.0)
    for number in range(50):
        limiter.heard(f"wk-{number}", 100.0)

    assert delays(limiter, 2, now=100.0) == [0.0, 50.0]
