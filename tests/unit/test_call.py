"""The life of a call: offer, attach, streams that come and go, and the link to the model beside it."""

import pytest
from talk import (
    AGENT,
    ATTACHED,
    STREAM_LOST,
    agent_speaks,
    caller_audio,
    greeted,
    new_call,
    offered,
    recorded,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.call_events import CallAttached, CallStarted, DtmfReceived, ModelLost
from trunkline_common.control import NextStep, StopReason
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.call_life import GATEWAY_SILENCE_S, OFFER_S, ORPHAN_S, State
from trunkline_worker.commands import (
    ClearPlayback,
    CloseSession,
    CreateResponse,
    HangUp,
    OpenSession,
)
from trunkline_worker.model_link import SETUP_S
from trunkline_worker.rescue import NOTICES_S

# The offer


def test_a_session_is_opened_with_the_offer_before_there_is_a_stream() -> None:
    call = new_call()

    started, opened = call.start(now=0.0)

    assert recorded([started]) == [
        CallStarted(caller="+1555", called="+1666", agent="built-in", worker="wk-1")
    ]
    assert opened == OpenSession(1)
    assert call.state is State.OFFERED


def test_an_offer_that_nobody_takes_up_ends() -> None:
    call = offered()

    following = call.handle(events.Tick(), now=OFFER_S)

    assert verdict_of(following) is Verdict.NEVER_ATTACHED
    assert CloseSession(1) in following


def test_an_attached_call_lasts_as_long_as_its_gateway_speaks() -> None:
    call = greeted()

    for now in range(1, 3_000):
        assert call.handle(events.LineMeasured(None, 0.5), now=float(now)) == []
        assert call.handle(events.Tick(), now=now + 0.5) == []

    assert call.state is State.TALKING


def test_a_gateway_that_fell_silent_ends_the_call_instead_of_paying_for_nobody() -> None:
    call = greeted()
    call.handle(caller_audio(20), now=10.0)

    assert call.wake_at() == 10.0 + GATEWAY_SILENCE_S
    following = call.handle(events.Tick(), now=10.0 + GATEWAY_SILENCE_S)

    assert verdict_of(following) is Verdict.GATEWAY_LOST
    assert HangUp(NextStep.FALLBACK) in following
    assert CloseSession(1) in following


def test_a_response_that_failed_for_good_ends_the_call_with_the_fallback() -> None:
    call = talking()

    failed = events.ResponseDone(1, "resp_1", "failed", "insufficient_quota", None)
    following = call.handle(failed, now=3.0)

    assert ModelLost(session=1, reason="insufficient_quota", fatal=True) in recorded(following)
    assert verdict_of(following) is Verdict.MODEL_REFUSED


# The greeting


def test_the_greeting_follows_the_later_of_stream_and_session() -> None:
    stream_first, session_first = new_call(), offered()
    stream_first.start(now=0.0)

    assert sent(stream_first.handle(ATTACHED, now=0.1)) == []
    stream_first.handle(events.SessionCreated(1, "sess_1"), now=0.2)
    configured = stream_first.handle(events.SessionConfigured(1, AGENT.session()), now=0.3)

    assert [type(event) for event in sent(configured)] == [CreateResponse]
    assert [type(event) for event in sent(session_first.handle(ATTACHED, now=1.0))] == [CreateResponse]


def test_the_caller_is_greeted_once() -> None:
    call = talking()
    call.handle(STREAM_LOST, now=2.0)

    assert sent(call.handle(ATTACHED, now=3.0)) == []


# Streams come and go


@pytest.mark.parametrize("reason", [StopReason.STREAM_LOST, StopReason.REPLACED, StopReason.GATEWAY_STOPPED])
def test_a_call_whose_stream_broke_waits_for_the_next_one(reason: StopReason) -> None:
    call = greeted()

    call.handle(events.StreamStopped(reason), now=5.0)
    assert call.wake_at() == 5.0 + NOTICES_S

    following = call.handle(events.Attached("gw-2", "MZ2"), now=8.0)
    assert recorded(following) == [CallAttached(gateway="gw-2", stream_sid="MZ2")]
    assert call.state is State.TALKING
    assert call.wake_at() == 8.0 + GATEWAY_SILENCE_S


def test_a_call_whose_stream_stays_away_ends() -> None:
    call = talking()
    call.handle(STREAM_LOST, now=5.0)

    assert verdict_of(call.handle(events.Tick(), now=5.0 + ORPHAN_S)) is Verdict.STREAM_LOST


def test_a_second_stream_without_a_word_of_the_first_takes_over() -> None:
    # A gateway that was killed sends no stop, and what Twilio held of the answer is gone with it.
    call = talking()
    agent_speaks(call, 3_000, now=5.0)

    following = call.handle(events.Attached("gw-2", "MZ2"), now=5.15)

    assert ClearPlayback(1) in following
    assert call.state is State.TALKING


# Small things


def test_a_pressed_key_is_recorded_without_its_digit() -> None:
    call = talking()
    call.handle(caller_audio(980), now=1.0)

    assert recorded(call.handle(events.KeyPressed("7"), now=1.0)) == [DtmfReceived(at_ms=1_000)]


@pytest.mark.parametrize("now", [0.0, 1.0, SETUP_S - 0.001])
def test_a_wake_up_that_comes_too_early_is_harmless(now: float) -> None:
    call = new_call()
    call.start(now=0.0)

    assert call.handle(events.Tick(), now) == []
    assert call.wake_at() == SETUP_S
