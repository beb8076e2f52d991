from trunkline_common.pulse import RECONNECT_GRACE_S, Pulse


def test_three_misses_in_a_row_mean_that_a_worker_hangs() -> None:
    pulse = Pulse()

    assert [pulse.missed(now) for now in (0.0, 0.2, 0.4)] == [None, None, "silent"]


def test_two_refusals_in_a_row_mean_that_a_worker_is_gone() -> None:
    pulse = Pulse()

    assert [pulse.refused(now) for now in (0.0, 0.2)] == [None, "gone"]


def test_an_answer_forgives() -> None:
    pulse = Pulse()
    for _ in range(10):
        assert pulse.missed(0.0) is None
        assert pulse.missed(0.0) is None
        assert pulse.refused(0.0) is None
        pulse.answered()


def test_nothing_is_held_against_a_worker_while_the_bus_is_broken() -> None:
    pulse = Pulse()
    pulse.missed(0.0)
    pulse.missed(0.2)
    pulse.bus_broke(0.4)

    # Our link is back before the worker's.
    assert [pulse.refused(0.4 + tenth / 10) for tenth in range(1, 10)] == [None] * 9
    pulse.answered()
    assert pulse.refused(5.0) is None


def test_a_worker_that_does_not_return_to_the_bus_is_gone() -> None:
    pulse = Pulse()
    pulse.bus_broke(0.0)

    assert pulse.refused(RECONNECT_GRACE_S - 0.1) is None
    assert pulse.refused(RECONNECT_GRACE_S) == "gone"


def test_a_watch_that_begins_after_an_outage_of_the_bus_knows_of_it() -> None:
    pulse = Pulse(bus_returned_at=10.0)

    assert [pulse.refused(10.1), pulse.refused(10.2)] == [None, None]
    assert pulse.refused(10.0 + RECONNECT_GRACE_S) == "gone"
