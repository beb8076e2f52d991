"""The life of a call: offer, attach, streams that come and go, and the link to the model beside it."""

import pytest
from talk import (
    AGENT,
    ATTACHED,
    STREAM_LOST,
    agent_speaks,
    caller_audio,
    new_call,
    offered,
    recorded,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.call_events import (
    CallAttached,
    CallStarted,
    DtmfReceived,
    ModelConnected,
    ModelLost,
    Verdict,
)
from trunkline_common.control import NextStep, StopReason
from trunkline_worker import events
from trunkline_worker.call import (
    GATEWAY_SILENCE_S,
    OFFER_S,
    ORPHAN_S,
    RETRY_S,
    SESSION_TRIES_MAX,
    SETUP_S,
    Call,
    Link,
    State,
)
from trunkline_worker.commands import (
    AppendAudio,
    ClearPlayback,
    CloseSession,
    ConfigureSession,
    Count,
    CreateResponse,
    Finish,
    HangUp,
    Measure,
    OpenSession,
)

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
    call = talking()

    for now in range(1, 3_000):
        assert call.handle(events.LineMeasured(None, 0.5), now=float(now)) == []
        assert call.handle(events.Tick(), now=now + 0.5) == []

    assert call.state is State.TALKING


def test_a_gateway_that_fell_silent_ends_the_call_instead_of_paying_for_nobody() -> None:
    call = talking()
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


# The link to the model


def test_a_session_is_configured_once_it_exists_and_open_once_that_is_accepted() -> None:
    call = new_call()
    call.start(now=100.0)

    created = call.handle(events.SessionCreated(1, "sess_1"), now=100.25)
    assert sent(created) == [ConfigureSession("configure_1", AGENT.session())]

    configured = call.handle(events.SessionConfigured(1, AGENT.session()), now=100.5)
    assert recorded(configured) == [
        ModelConnected(
            session=1, model=AGENT.model, session_id="sess_1", connect_ms=500.0, media_start_ms=None
        )
    ]
    assert call.link is Link.OPEN


def test_no_audio_leaves_before_the_configuration_is_accepted() -> None:
    # The default persona would answer, and its voice would then be locked.
    call = new_call()
    call.start(now=0.0)
    call.handle(ATTACHED, now=0.0)

    assert call.handle(caller_audio(0), now=0.02) == []
    call.handle(events.SessionCreated(1, "sess_1"), now=0.03)
    assert call.handle(caller_audio(20), now=0.04) == []

    following = call.handle(events.SessionConfigured(1, AGENT.session()), now=0.05)
    assert sent(following)[0] == AppendAudio(b"\x21" * 320)
    (connected,) = recorded(following)
    assert isinstance(connected, ModelConnected)
    assert connected.media_start_ms == 0


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


def test_an_echo_that_differs_is_counted_and_the_call_goes_on() -> None:
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    echo = {**AGENT.session(), "instructions": "You are a helpful, witty, and friendly AI."}

    following = call.handle(events.SessionConfigured(1, echo), now=0.2)

    assert Count(Measure.CONFIGURATION_DIFFERS, detail="session.instructions") in following
    assert call.link is Link.OPEN


@pytest.mark.parametrize(
    "event",
    [
        events.SessionCreated(0, "sess_0"),
        events.SessionConfigured(2, {}),
        events.SessionLost(0, "close-1006", fatal=False),
        events.AudioDelta(0, "R1", "A1", b"\xff"),
        events.ModelError(0, "invalid_api_key", fatal=True),
    ],
)
def test_answers_of_another_session_are_ignored_and_counted(event: events.ModelEvent) -> None:
    call = talking()

    assert call.handle(event, now=1.0) == [Count(Measure.STALE_SESSION)]
    assert call.link is Link.OPEN


def test_answers_of_a_session_that_was_given_up_are_ignored_and_counted() -> None:
    call = new_call()
    call.start(now=0.0)
    call.handle(events.Tick(), now=SETUP_S)

    assert call.handle(events.SessionCreated(1, "sess_1"), now=SETUP_S) == [Count(Measure.STALE_SESSION)]
    assert call.link is Link.WAITING


def test_answers_out_of_turn_change_nothing() -> None:
    call = new_call()
    call.start(now=0.0)

    assert call.handle(events.SessionConfigured(1, {}), now=0.1) == []
    assert call.handle(events.AudioDelta(1, "R1", "A1", b"\xff" * 160), now=0.1) == []
    call.handle(events.SessionCreated(1, "sess_1"), now=0.2)
    assert call.handle(events.SessionCreated(1, "sess_1"), now=0.3) == []


def test_a_session_that_does_not_come_is_tried_again_later_and_later() -> None:
    call = new_call()
    call.start(now=0.0)
    waits_s = []
    now = 0.0
    for session in range(1, SESSION_TRIES_MAX):
        following = call.handle(events.SessionLost(session, "connect-http-503", fatal=False), now)
        assert following == [CloseSession(session), *following[1:]]
        assert recorded(following) == [ModelLost(session=session, reason="connect-http-503")]
        wake_at = call.wake_at()
        assert wake_at is not None
        waits_s.append(wake_at - now)
        now = wake_at
        assert call.handle(events.Tick(), now) == [OpenSession(session + 1)]

    assert RETRY_S <= waits_s[0] <= 2 * RETRY_S
    assert waits_s[1] == pytest.approx(2 * waits_s[0])
    following = call.handle(events.SessionLost(SESSION_TRIES_MAX, "connect-http-503", fatal=False), now)
    assert verdict_of(following) is Verdict.MODEL_REFUSED


def test_calls_that_lose_their_sessions_together_do_not_come_back_together() -> None:
    wake_times = set()
    for number in range(20):
        call = Call(f"CA{number}", "", "", "wk-1", AGENT, "polyphase")
        call.start(now=0.0)
        call.handle(events.SessionLost(1, "close-1006", fatal=False), now=0.0)
        wake_times.add(call.wake_at())

    assert len(wake_times) > 15


def test_setting_up_a_session_has_a_time_limit() -> None:
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=SETUP_S - 0.1)

    following = call.handle(events.Tick(), now=SETUP_S)

    assert following[0] == CloseSession(1)
    assert recorded(following) == [ModelLost(session=1, reason="setup-timeout")]


def test_a_fatal_refusal_is_not_tried_again() -> None:
    call = new_call()
    call.start(now=0.0)

    following = call.handle(events.SessionLost(1, "invalid_api_key", fatal=True), now=0.1)

    assert verdict_of(following) is Verdict.MODEL_REFUSED
    assert HangUp(NextStep.FALLBACK) in following


def test_a_rejected_configuration_is_fatal_and_names_the_field() -> None:
    # One bad key rejects the whole update, and the session would go on with its default persona.
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    error = events.ModelError(1, "unknown_parameter", fatal=False, param="session.reasoning")

    following = call.handle(error, now=0.2)

    assert verdict_of(following) is Verdict.MODEL_REFUSED
    reason = "configuration-rejected: unknown_parameter session.reasoning"
    assert ModelLost(session=1, reason=reason, fatal=True) in recorded(following)


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "malformed-event"])
def test_passing_trouble_during_the_set_up_does_not_condemn_the_configuration(code: str) -> None:
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)

    call.handle(events.ModelError(1, code, fatal=False), now=0.2)

    assert call.link is Link.WAITING


def test_a_session_that_is_lost_in_mid_call_gives_the_caller_the_fallback() -> None:
    call = talking()

    following = call.handle(events.SessionLost(1, "close-1006", fatal=False), now=5.0)

    assert following[0] == CloseSession(1)
    assert HangUp(NextStep.FALLBACK) in following
    assert following[-1] == Finish(Verdict.MODEL_LOST, NextStep.FALLBACK)


def test_an_error_that_cannot_pass_ends_the_call_even_in_mid_call() -> None:
    following = talking().handle(events.ModelError(1, "insufficient_quota", fatal=True), now=5.0)

    assert verdict_of(following) is Verdict.MODEL_REFUSED


def test_any_other_error_in_mid_call_is_only_counted() -> None:
    call = talking()

    assert call.handle(events.ModelError(1, "server_error", fatal=False), now=5.0) == [
        Count(Measure.MODEL_ERROR, detail="server_error")
    ]


# Streams come and go


@pytest.mark.parametrize("reason", [StopReason.STREAM_LOST, StopReason.REPLACED, StopReason.GATEWAY_STOPPED])
def test_a_call_whose_stream_broke_waits_for_the_next_one(reason: StopReason) -> None:
    call = talking()

    call.handle(events.StreamStopped(reason), now=5.0)
    assert call.wake_at() == 5.0 + ORPHAN_S

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
