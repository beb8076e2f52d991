"""A lost session is replaced by one that knows the call so far, and owes what the lost one owed."""

from talk import (
    AGENT,
    LOST,
    acts,
    agent_speaks,
    answered,
    caller_asks,
    caller_audio,
    new_call,
    recorded,
    restored,
    sent,
    talking,
    verdict_of,
)

from trunkline_common.call_events import ModelConnected, ModelLost
from trunkline_common.control import NextStep
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.commands import (
    AppendAudio,
    ClearPlayback,
    CloseSession,
    ConfigureSession,
    CreateMessage,
    CreateResponse,
    DeleteItem,
    Finish,
    HangUp,
    OpenSession,
    Record,
    SetTurnDetection,
)
from trunkline_worker.connect_limiter import DELAY_S_MAX
from trunkline_worker.debt import CONTINUE, UNNOTICED_MS
from trunkline_worker.model_link import (
    RESTORE_S,
    RETRY_S,
    SETUP_S,
)

# A lost session is restored


def test_a_lost_session_is_replaced_within_a_quarter_of_a_second() -> None:
    call = talking()

    following = acts(call.handle(LOST, now=5.0))

    assert following[:2] == [CloseSession(1), Record(ModelLost(session=1, reason="close-1006"))]
    wake_at = call.wake_at()
    assert wake_at is not None
    assert wake_at - 5.0 <= RETRY_S[0]
    assert call.handle(events.Tick(), wake_at) == [OpenSession(2)]


def test_a_session_that_follows_another_is_told_of_the_call_before_it_listens() -> None:
    # One that listened would answer while it is being told.
    call = answered()

    configured, opened = restored(call)

    (configure,) = sent(configured)
    assert isinstance(configure, ConfigureSession)
    assert configure.session["audio"]["input"]["turn_detection"] is None
    assert sent(opened)[:3] == [
        CreateMessage("item_2", "U1", "user", "When are you open?"),
        CreateMessage("item_3", "A1", "assistant", "one two three four"),
        SetTurnDetection("listen_4", AGENT.session()["audio"]["input"]["turn_detection"]),
    ]
    (connected,) = recorded(opened)
    assert isinstance(connected, ModelConnected)
    assert (connected.session, connected.cause, connected.items) == (2, "restored", 2)


def test_nothing_is_asked_for_when_no_answer_is_owed() -> None:
    _, opened = restored(answered())

    assert CreateResponse not in map(type, sent(opened))


def test_a_question_without_an_answer_is_answered() -> None:
    call = talking()
    caller_asks(call)
    call.handle(events.CallerText(1, "U1", "When are you open?"), now=3.0)

    _, opened = restored(call)

    assert CreateMessage("item_2", "U1", "user", "When are you open?") in sent(opened)
    assert CreateResponse("respond_3", None) in sent(opened)


def test_a_question_whose_words_are_not_known_is_heard_again_instead() -> None:
    # It is answered and written down like any other turn, under the id that it gets then.
    call = talking()
    caller_asks(call)

    _, opened = restored(call)

    assert [type(event) for event in sent(opened)] == [SetTurnDetection, AppendAudio]
    appended = sent(opened)[-1]
    assert isinstance(appended, AppendAudio)
    assert appended.audio.count(0x21) == 8 * 1_000


def test_a_caller_in_mid_speech_is_heard_from_the_first_word_on() -> None:
    call = talking()
    for t_ms in range(0, 4_000, 20):
        call.handle(caller_audio(t_ms), now=1.0 + t_ms / 1000)
    call.handle(events.SpeechStarted(1, "U1", 3_000), now=5.0)

    _, opened = restored(call)

    (appended,) = [event for event in sent(opened) if isinstance(event, AppendAudio)]
    assert len(appended.audio) == 8 * 1_000
    assert CreateResponse not in map(type, sent(opened))


def test_what_the_caller_says_without_a_session_is_not_lost() -> None:
    call = answered()
    call.handle(LOST, now=20.0)
    for t_ms in range(3_000, 4_000, 20):
        assert call.handle(caller_audio(t_ms), now=20.0) == []

    _, opened = restored(call, lost=False)

    (appended,) = [event for event in sent(opened) if isinstance(event, AppendAudio)]
    assert len(appended.audio) == 8 * (1_000 + UNNOTICED_MS)


def test_an_answer_that_broke_off_plays_on_as_far_as_it_came_and_is_continued() -> None:
    call = talking()
    caller_asks(call)
    call.handle(events.CallerText(1, "U1", "When are you open?"), now=3.0)
    call.handle(events.ResponseCreated(1, "R1"), now=3.1)
    call.handle(events.ItemAdded(1, "A1", "assistant"), now=3.1)
    call.handle(events.SpokenText(1, "A1", "On Saturdays we are open from nine", final=False), now=3.1)
    call.handle(events.AudioDelta(1, "R1", "A1", b"\x21" * 8_000), now=3.2)

    lost = call.handle(LOST, now=3.3)
    _, opened = restored(call, lost=False)

    assert ClearPlayback not in map(type, lost)
    told = [event.text for event in sent(opened) if isinstance(event, CreateMessage)]
    # A second of speech is about fifteen letters.
    assert told == ["When are you open?", "On Saturdays we"]
    (response,) = [event for event in sent(opened) if isinstance(event, CreateResponse)]
    assert response.instructions is not None
    assert response.instructions.endswith(CONTINUE)


def test_an_interruption_of_what_a_lost_session_said_is_told_as_text() -> None:
    # Only audio that the session made itself can be truncated.
    call = talking()
    agent_speaks(call, 4_000, now=1.0)
    call.handle(events.SpokenText(1, "A1", "one two three four", final=True), now=1.0)
    call.handle(events.AudioDone(1, "R1", "A1"), now=1.0)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=1.0)
    call.handle(LOST, now=1.5)
    restored(call, lost=False, at=1.6)

    call.handle(events.MarkPlayed("0:A1:2000"), now=3.0)
    following = call.handle(events.SpeechStarted(2, "U2", 0), now=3.0)

    assert sent(following) == [
        DeleteItem("delete_4", "A1"),
        CreateMessage("item_5", "A1", "assistant", "one two", "root"),
    ]


def test_the_greeting_is_spoken_by_the_next_session_when_the_first_did_not() -> None:
    call = talking()

    _, opened = restored(call)

    (response,) = [event for event in sent(opened) if isinstance(event, CreateResponse)]
    assert response.instructions is not None
    assert response.instructions.endswith(AGENT.greeting)


def test_a_caller_is_not_kept_waiting_for_a_model_that_stays_away() -> None:
    call = answered()
    following = call.handle(LOST, now=20.0)
    session = 1
    while not isinstance(following[-1], Finish):
        wake_at = call.wake_at()
        assert wake_at is not None
        session += 1
        call.handle(events.Tick(), wake_at)
        following = call.handle(events.SessionLost(session, "connect-http-503", fatal=False), wake_at)

    assert verdict_of(following) is Verdict.MODEL_LOST
    assert HangUp(NextStep.FALLBACK) in following


def test_a_session_that_cannot_be_made_to_listen_is_replaced() -> None:
    call = answered()
    restored(call)

    following = call.handle(events.ModelError(2, "invalid_value", fatal=False, event_id="listen_4"), now=21.0)

    assert following[0] == CloseSession(2)


def test_connects_that_wait_for_others_do_not_use_up_the_time() -> None:
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionDelayed(1, 3.0), now=0.0)

    assert call.wake_at() == SETUP_S + 3.0


def test_a_wait_for_others_that_comes_again_and_again_does_not_keep_the_caller_for_ever() -> None:
    call = answered()
    call.handle(events.LineMeasured(None, 0.5), now=20.0)
    following = call.handle(LOST, now=20.0)
    session = 1
    while not isinstance(following[-1], Finish):
        wake_at = call.wake_at()
        assert wake_at is not None
        following = call.handle(events.Tick(), wake_at)
        if isinstance(following[-1], OpenSession):
            session += 1
            call.handle(events.SessionDelayed(session, 60.0), wake_at)

    assert verdict_of(following) is Verdict.MODEL_LOST
    assert wake_at is not None
    assert wake_at <= 20.0 + RESTORE_S + DELAY_S_MAX + SETUP_S


def test_a_session_that_never_says_that_it_listens_is_replaced() -> None:
    # Its refusal may not name the event that it is about.
    call = answered()
    call.handle(LOST, now=20.0)
    call.handle(events.Tick(), now=20.3)
    call.handle(events.SessionCreated(2, "sess_2"), now=20.4)
    call.handle(events.SessionConfigured(2, AGENT.session(deaf=True)), now=20.5)

    following = call.handle(events.Tick(), now=20.5 + SETUP_S)

    assert following[0] == CloseSession(2)


def test_what_a_stalled_session_was_sent_and_did_not_hear_is_heard_by_the_next_one() -> None:
    call = answered()
    for t_ms in range(3_000, 8_000, 20):
        voice = b"\x21" if 4_000 <= t_ms < 5_000 else b"\xff"
        call.handle(events.CallerAudio(t_ms, voice * 160), now=t_ms / 1000)

    _, opened = restored(call)

    (appended,) = [event for event in sent(opened) if isinstance(event, AppendAudio)]
    assert appended.audio.count(0x21) == 8 * 1_000
