"""The link to the model: sessions that are set up, refused, mute, and replaced before they expire."""

import pytest
from talk import (
    AGENT,
    ATTACHED,
    HUNG_UP,
    LOST,
    ROTATES_AT,
    agent_speaks,
    an_hour_later,
    answered,
    caller_asks,
    caller_audio,
    caller_speaks,
    greeted,
    new_call,
    recorded,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.call_events import ModelConnected, ModelLost
from trunkline_common.control import NextStep
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.commands import (
    AppendAudio,
    CloseSession,
    ConfigureSession,
    Count,
    CreateResponse,
    HangUp,
    Measure,
    OpenSession,
    Record,
    UseSession,
)
from trunkline_worker.model_link import (
    MUTE_MAX,
    RESTORE_S,
    RETRY_S,
    ROTATION_RETRY_S,
    SETUP_S,
    Link,
)
from trunkline_worker.response_gate import CREATED_S

# Setting up a session


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


def test_a_session_that_does_not_come_is_tried_again_later_and_later_and_not_for_ever() -> None:
    call = new_call()
    call.start(now=0.0)
    waits_s = []
    now = 0.0
    session = 1
    while True:
        following = call.handle(events.SessionLost(session, "connect-http-503", fatal=False), now)
        assert following[0] == CloseSession(session)
        assert recorded(following)[0] == ModelLost(session=session, reason="connect-http-503")
        if call.state is State.ENDED:
            break
        wake_at = call.wake_at()
        assert wake_at is not None
        waits_s.append(wake_at - now)
        now = wake_at
        session += 1
        assert call.handle(events.Tick(), now) == [OpenSession(session)]

    assert waits_s[0] <= RETRY_S[0]
    assert waits_s == sorted(waits_s)
    assert now <= RESTORE_S
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


def test_an_error_that_cannot_pass_ends_the_call_even_in_mid_call() -> None:
    following = talking().handle(events.ModelError(1, "insufficient_quota", fatal=True), now=5.0)

    assert verdict_of(following) is Verdict.MODEL_REFUSED


def test_any_other_error_in_mid_call_is_only_counted() -> None:
    call = talking()

    assert call.handle(events.ModelError(1, "server_error", fatal=False), now=5.0) == [
        Count(Measure.MODEL_ERROR, detail="server_error")
    ]


# A session that is mute


def test_a_session_that_owes_an_answer_and_stays_mute_is_replaced() -> None:
    call = talking()
    agent_speaks(call, 100, now=1.0)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=1.1)
    caller_asks(call)

    following = call.handle(events.Tick(), now=3.0 + CREATED_S)

    assert Count(Measure.ANSWER_OVERDUE) in following
    assert ModelLost(session=1, reason="answer-overdue") in recorded(following)


def test_one_mute_session_after_another_ends_the_call() -> None:
    call = talking()
    now = 1.0
    for session in range(1, MUTE_MAX + 1):
        now += CREATED_S
        call.handle(events.Tick(), now)
        now += 0.5
        call.handle(events.Tick(), now)
        call.handle(events.SessionCreated(session + 1, "sess"), now)
        call.handle(events.SessionConfigured(session + 1, {}), now)

    following = call.handle(events.Tick(), now + CREATED_S)

    assert verdict_of(following) is Verdict.MODEL_LOST


# A session is replaced before it expires


def test_a_session_is_replaced_before_it_expires_while_it_serves_on() -> None:
    call = an_hour_later(answered())

    assert call.handle(events.Tick(), now=ROTATES_AT) == [OpenSession(2)]
    call.handle(events.SessionCreated(2, "sess_2"), now=ROTATES_AT)

    assert call.link is Link.OPEN
    assert sent(call.handle(caller_audio(4_000), now=ROTATES_AT)) != []


def test_the_next_session_takes_over_when_nobody_speaks() -> None:
    call = an_hour_later(answered())
    call.handle(events.SpeechStarted(1, "U2", 3_500), now=ROTATES_AT - 1)
    call.handle(events.Tick(), now=ROTATES_AT)
    call.handle(events.SessionCreated(2, "sess_2"), now=ROTATES_AT)
    assert call.handle(events.SessionConfigured(2, {}), now=ROTATES_AT)[1:] == []

    call.handle(events.SpeechStopped(1, "U2", 3_900), now=ROTATES_AT + 1)
    agent_speaks(call, 100, now=ROTATES_AT + 2, item_id="A2", response_id="R2")
    call.handle(events.SpokenText(1, "A2", "one two", final=True), now=ROTATES_AT + 2)
    call.handle(events.ResponseDone(1, "R2", "completed", "", None), now=ROTATES_AT + 2)
    taken_over = call.handle(events.MarkPlayed("0:A2:100"), now=ROTATES_AT + 3)

    assert CloseSession(1) in taken_over
    assert UseSession(2) in taken_over
    connected = next(event for event in recorded(taken_over) if isinstance(event, ModelConnected))
    assert (connected.cause, connected.items) == ("rotated", 4)
    assert CreateResponse not in map(type, sent(taken_over))


def test_a_session_that_is_lost_while_the_next_one_is_ready_costs_no_time() -> None:
    call = an_hour_later(answered())
    call.handle(events.SpeechStarted(1, "U2", 3_500), now=ROTATES_AT - 1)
    call.handle(events.Tick(), now=ROTATES_AT)
    call.handle(events.SessionCreated(2, "sess_2"), now=ROTATES_AT)
    call.handle(events.SessionConfigured(2, {}), now=ROTATES_AT)

    assert UseSession(2) in call.handle(LOST, now=ROTATES_AT + 1)


def test_a_next_session_that_does_not_come_harms_nobody() -> None:
    call = an_hour_later(answered())
    call.handle(events.Tick(), now=ROTATES_AT)

    following = call.handle(events.SessionLost(2, "connect-http-503", fatal=False), now=ROTATES_AT)

    assert following == [CloseSession(2), Record(ModelLost(session=2, reason="connect-http-503"))]
    assert call.link is Link.OPEN
    assert call.handle(events.Tick(), now=ROTATES_AT + ROTATION_RETRY_S) == [OpenSession(3)]


def test_a_session_that_is_made_ready_is_closed_when_the_caller_hangs_up() -> None:
    # It would take over from the one that still writes down the caller's last words.
    call = greeted()
    an_hour_later(call).handle(events.Tick(), now=ROTATES_AT)
    caller_speaks(call, now=ROTATES_AT + 0.05)

    assert CloseSession(2) in call.handle(HUNG_UP, now=ROTATES_AT + 0.1)
