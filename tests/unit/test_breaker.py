"""When a worker takes no new call because its model sessions do not begin."""

from trunkline_worker.breaker import FAILURES_MAX, OPEN_S, OPEN_S_MAX, STARTS_WATCHED, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    breaker.failed(now, account=True)
    return breaker


def test_a_few_failures_among_successes_are_nothing() -> None:
    breaker = Breaker()
    for now in range(100):
        breaker.succeeded()
        breaker.succeeded()
        assert not breaker.failed(float(now), account=False)

    assert breaker.allows(100.0)


def test_most_of_the_last_starts_failing_opens_it() -> None:
    breaker = Breaker()
    for _ in range(STARTS_WATCHED):
        breaker.succeeded()
    for _ in range(FAILURES_MAX):
        assert not breaker.failed(1.0, account=False)

    assert breaker.failed(1.0, account=False)
    assert not breaker.allows(1.0)


def test_a_refused_account_opens_it_at_once() -> None:
    breaker = Breaker()

    assert breaker.failed(1.0, account=True)
    assert not breaker.allows(1.0)


def test_after_a_while_one_call_is_a_trial() -> None:
    breaker = opened()

    assert not breaker.allows(OPEN_S - 0.1)
    assert breaker.allows(OPEN_S)
    breaker.took_call(OPEN_S)
    assert not breaker.allows(OPEN_S + 0.1)


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.took_call(OPEN_S)

    breaker.succeeded()

    assert not breaker.is_open
    assert breaker.allows(OPEN_S + 0.1)


def test_each_trial_that_fails_makes_the_wait_longer_but_not_endless() -> None:
    breaker = opened()
    now, wait_s = 0.0, OPEN_S
    for _ in range(10):
        now += wait_s
        breaker.took_call(now)
        breaker.failed(now, account=False)
        wait_s = min(2 * wait_s, OPEN_S_MAX)
        assert not breaker.allows(now + wait_s - 0.1)

    assert wait_s == OPEN_S_MAX


def test_a_trial_that_never_tells_does_not_hold_the_worker_for_ever() -> None:
    breaker = opened()
    breaker.took_call(OPEN_S)

    assert breaker.allows(2 * OPEN_S)


def test_failures_of_calls_that_were_live_already_do_not_lengthen_the_wait() -> None:
    breaker = opened()
    for now in range(5):
        breaker.failed(float(now), account=False)

    assert breaker.allows(OPEN_S)


def test_one_profile_that_the_model_refuses_is_not_the_workers_fault() -> None:
    breaker = Breaker()
    for now in range(STARTS_WATCHED):
        assert not breaker.failed(float(now), account=False, profile="desk")

    assert breaker.allows(10.0)


def test_every_profile_being_refused_is() -> None:
    breaker = Breaker()
    opens = [breaker.failed(1.0, account=False, profile=name) for name in ("desk", "sales", "support")]

    assert opens == [False, False, True]
