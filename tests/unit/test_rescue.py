"""When a call that lost its stream is asked back, and what Twilio's `stop` means meanwhile."""

from trunkline_worker.commands import AskForRedirect, RecordOrphan
from trunkline_worker.rescue import ASK_AGAIN_S, MOVING_S, NOTICES_S, REDIRECTS_MAX, Rescue

LOST_AT = 100.0
ASKED_AT = LOST_AT + NOTICES_S


def lost() -> Rescue:
    rescue = Rescue()
    rescue.stream_lost(LOST_AT)
    return rescue


def test_twilio_gets_a_moment_to_notice_by_itself() -> None:
    rescue = lost()

    assert rescue.wake_at() == ASKED_AT
    assert rescue.tick(ASKED_AT - 0.01) == []
    assert rescue.tick(ASKED_AT) == [AskForRedirect()]
    assert rescue.tick(ASKED_AT) == [], "once"


def test_a_stream_that_comes_by_itself_needs_nobody() -> None:
    rescue = lost()

    assert rescue.ended("attached", LOST_AT + 0.5) == [RecordOrphan(0.5, "attached")]

    assert rescue.wake_at() is None
    assert rescue.ended("over", LOST_AT + 9) == [], "measured once"


def test_while_no_gateway_takes_the_request_it_is_repeated() -> None:
    rescue = lost()
    asked = []

    for turn in range(10):
        now = ASKED_AT + turn * ASK_AGAIN_S
        asked += rescue.tick(now)
        rescue.answered("nobody", now + 0.01)

    assert len(asked) == 10
    assert not rescue.is_moving(now + 0.02), "Twilio was never asked"


def test_twilio_is_asked_a_bounded_number_of_times() -> None:
    rescue = lost()
    asked = []

    now = ASKED_AT
    while now < LOST_AT + 60:
        if rescue.tick(now):
            asked.append(now)
            rescue.answered("taken", now)
        now += 0.5

    assert asked == [ASKED_AT, ASKED_AT + MOVING_S]
    assert len(asked) == REDIRECTS_MAX


def test_each_lost_stream_has_its_own_requests() -> None:
    rescue = lost()
    for at in (ASKED_AT, ASKED_AT + MOVING_S):
        rescue.tick(at)
        rescue.answered("taken", at)
    rescue.ended("attached", 110.0)

    rescue.stream_lost(120.0)

    assert rescue.tick(120.0 + NOTICES_S) == [AskForRedirect()]


def test_a_second_word_of_the_same_loss_does_not_put_the_request_off() -> None:
    rescue = lost()

    rescue.stream_lost(LOST_AT + 1)

    assert rescue.wake_at() == ASKED_AT


def test_a_call_is_moving_for_a_while_after_twilio_was_asked_or_may_have_been() -> None:
    taken, silent = lost(), lost()

    taken.answered("taken", ASKED_AT)
    silent.answered("silent", ASKED_AT)
    silent.ended("attached", ASKED_AT + 0.1)

    for rescue in (taken, silent):
        assert rescue.is_moving(ASKED_AT + MOVING_S - 0.01)
        assert not rescue.is_moving(ASKED_AT + MOVING_S)
