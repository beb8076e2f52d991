from trunkline_common.pulse import RECONNECT_GRACE_S, Pulse
from trunkline_gateway.progress import STUCK_S, Progress


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


def test_a_first_refusal_is_asked_again_at_once() -> None:
    pulse = Pulse()
    doubts = []

    for now in (0.0, 0.02):
        pulse.refused(now)
        doubts.append(pulse.is_in_doubt)

    assert doubts == [True, False]


class Answers:
    """A call's answers to pings, five a second."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.now = 0.0

    def for_seconds(self, seconds: float, consumed: int | None, newest: int | None) -> list[bool]:
        """Return what each of them says about the call."""
        verdicts = []
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            verdicts.append(self.progress.is_stuck(consumed, newest, self.now))
        return verdicts


def test_a_call_that_takes_nothing_of_what_it_is_sent_is_stuck() -> None:
    answers = Answers()
    answers.for_seconds(2, consumed=10, newest=10)

    assert not any(answers.for_seconds(STUCK_S - 0.2, consumed=10, newest=60))
    assert answers.for_seconds(0.4, consumed=10, newest=60)[-1]


def test_a_call_that_its_worker_has_forgotten_is_as_good_as_stuck() -> None:
    answers = Answers()
    answers.for_seconds(1, consumed=10, newest=10)

    assert answers.for_seconds(STUCK_S + 0.4, consumed=None, newest=60)[-1]


def test_a_call_that_moves_or_has_nothing_to_take_is_not_stuck() -> None:
    answers = Answers()
    for consumed in range(10):
        assert not any(answers.for_seconds(STUCK_S - 0.2, consumed, newest=100))
    assert not any(answers.for_seconds(5, consumed=100, newest=100))
    assert not any(Answers().for_seconds(5, consumed=None, newest=100)), "a worker that does not say"
    assert not any(answers.for_seconds(5, consumed=9, newest=None)), "nothing is sent while frames wait"


def test_answers_that_were_missing_are_not_held_against_the_call() -> None:
    progress = Progress()
    progress.is_stuck(10, 20, 0.0)

    assert not progress.is_stuck(10, 20, 5.0)
