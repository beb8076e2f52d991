"""A caller who is put through, and comes back when nobody answers."""

import pytest
from talk import HUNG_UP, STREAM_LOST, recorded, verdict_of
from tool_talk import (
    ATTACHED_AGAIN,
    DESK,
    able_call,
    asked,
    calls,
    hang_ups,
    heard,
    told,
)

from trunkline_common.call_events import TransferChanged
from trunkline_common.control import NextStep, Transfer
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.absence import BACK_S, DIAL_MARGIN_S
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.commands import (
    Command,
    Finish,
    HangUp,
    OpenSession,
)
from trunkline_worker.model_link import Link


@pytest.fixture
def call() -> Call:
    return able_call()


@pytest.fixture
def dialing(call: Call) -> Call:
    """A call whose caller hears the front desk ring."""
    calls(call, "transfer_call", '{"target": "front desk"}', now=1.0, says_ms=400)
    heard(call, "A1", 400, now=1.5)
    return call


def test_a_transfer_begins_once_its_announcement_was_heard(call: Call) -> None:
    calls(call, "transfer_call", '{"target": "front desk"}', now=1.0, says_ms=400)

    following = heard(call, "A1", 400, now=1.5)

    assert hang_ups(following) == [HangUp(NextStep.TRANSFER, Transfer(number="+12025550160", timeout_s=20))]
    assert [event.status for event in recorded(following) if isinstance(event, TransferChanged)] == [
        "dialing"
    ]
    assert call.state is State.LEAVING
    assert "+1202" not in repr(following)


def test_the_end_of_the_stream_is_not_the_end_of_a_call_that_is_put_through(dialing: Call) -> None:
    dialing.handle(STREAM_LOST, now=1.6)

    assert dialing.state is State.LEAVING


def test_a_caller_who_hung_up_before_twilio_could_dial_is_not_put_through(dialing: Call) -> None:
    assert verdict_of(dialing.handle(HUNG_UP, now=1.6)) is Verdict.CALLER_HUNG_UP


@pytest.mark.parametrize("status", ["completed", "answered"])
def test_somebody_answered(dialing: Call, status: str) -> None:
    following = dialing.handle(events.Dialed(status), now=8.0)

    assert verdict_of(following) is Verdict.TRANSFERRED
    assert following[-1] == Finish(Verdict.TRANSFERRED, NextStep.HANG_UP)


def test_no_word_for_longer_than_it_rings_means_that_somebody_answered(dialing: Call) -> None:
    due_at = 1.5 + DESK.timeout_s + DIAL_MARGIN_S
    following: list[Command] = []
    while dialing.state is not State.ENDED:
        wake_at = dialing.wake_at()
        assert wake_at is not None
        assert wake_at <= due_at
        following = dialing.handle(events.Tick(), now=wake_at)

    assert verdict_of(following) is Verdict.TRANSFERRED


@pytest.mark.parametrize("status", ["no-answer", "busy", "failed", "canceled"])
def test_nobody_answered_and_the_agent_goes_on(dialing: Call, status: str) -> None:
    following = dialing.handle(events.Dialed(status), now=22.0)
    assert [event.status for event in recorded(following) if isinstance(event, TransferChanged)] == [status]
    assert dialing.state is State.ORPHANED, "the gateway is told that the call goes on"

    following = dialing.handle(ATTACHED_AGAIN, now=22.5)

    (message,) = told(following)
    assert f"nobody could be reached at front desk ({status})" in message
    assert len(asked(following)) == 1
    assert dialing.wake_at() != 22.0 + BACK_S


def test_a_caller_who_did_not_wait_for_the_agent_to_come_back_hung_up(dialing: Call) -> None:
    dialing.handle(events.Dialed("no-answer"), now=22.0)

    following: list[Command] = []
    while dialing.state is not State.ENDED:
        wake_at = dialing.wake_at()
        assert wake_at is not None
        assert wake_at <= 22.0 + BACK_S
        following = dialing.handle(events.Tick(), now=wake_at)

    assert verdict_of(following) is Verdict.CALLER_HUNG_UP


def test_a_model_that_is_lost_while_it_rings_has_until_nobody_answers(dialing: Call) -> None:
    tried = lose_the_model(dialing, at=2.0, until=12.0)
    assert tried > 3, "it is asked for again and again"
    assert dialing.state is State.LEAVING

    dialing.handle(events.Dialed("no-answer"), now=12.0)
    dialing.handle(ATTACHED_AGAIN, now=12.3)
    number = tried + 1
    while dialing.link is not Link.OPEN:
        wake_at = dialing.wake_at()
        assert wake_at is not None
        dialing.handle(events.Tick(), now=wake_at)
        dialing.handle(events.SessionCreated(number, "sess"), now=wake_at)
        following = dialing.handle(events.SessionConfigured(number, {}), now=wake_at)

    assert "nobody could be reached" in "".join(told(following))
    assert len(asked(following)) == 1


def test_a_model_that_is_lost_does_not_end_what_somebody_answered(dialing: Call) -> None:
    dialing.handle(events.SessionLost(1, "insufficient_quota", fatal=True), now=2.0)

    assert verdict_of(dialing.handle(events.Dialed("completed"), now=60.0)) is Verdict.TRANSFERRED


def test_without_a_model_a_caller_who_comes_back_hears_the_fallback(dialing: Call) -> None:
    assert hang_ups(dialing.handle(events.SessionLost(1, "insufficient_quota", fatal=True), now=2.0)) == []

    following = dialing.handle(events.Dialed("busy"), now=3.0)

    assert following[-1] == Finish(Verdict.MODEL_REFUSED, NextStep.FALLBACK)


def lose_the_model(call: Call, *, at: float, until: float) -> int:
    """Lose every session as soon as it is opened; return the number of the last one."""
    number, now = 1, at
    call.handle(events.SessionLost(number, "close-1011", fatal=False), now)
    while (wake_at := call.wake_at()) is not None and wake_at < until:
        now = max(now, wake_at)
        if any(isinstance(command, OpenSession) for command in call.handle(events.Tick(), now)):
            number += 1
            call.handle(events.SessionLost(number, "connect-http-503", fatal=False), now)
    return number


def test_a_dial_that_nobody_asked_for_means_nothing(call: Call) -> None:
    assert call.handle(events.Dialed("completed"), now=1.0) == []
    assert call.state is State.TALKING
