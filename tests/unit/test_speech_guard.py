"""A cough does not stop the agent, speech does; and what follows from either."""

from talk import SESSION, Talk, counted, recorded, sent

from trunkline_common.call_events import CallerTurn
from trunkline_worker import events
from trunkline_worker.agent import Agent, SemanticVad
from trunkline_worker.commands import (
    AppendAudio,
    CancelResponse,
    ClearPlayback,
    Command,
    CreateResponse,
    DeleteItem,
    Measure,
    TruncateItem,
)
from trunkline_worker.speech_guard import TELL_MS, loud_ms

AGENT = Agent(audio_path="pcmu", min_speech_ms=200)
SILENCE = 0xFF


def interrupting(agent: Agent = AGENT) -> Talk:
    """The agent speaks, has been heard for a while, and now the caller makes a sound."""
    talk = Talk(agent)
    talk.caller_sends(300, SILENCE)
    talk.agent_speaks(9_000)
    talk.caller_sends(60, from_ms=300)
    talk.caller_starts(audio_start_ms=0)
    return talk


def model_is_told(following: list[Command]) -> list[object]:
    return [event for event in sent(following) if not isinstance(event, AppendAudio)]


def test_speech_stops_the_agent_at_the_moment_it_is_long_enough() -> None:
    talk = interrupting()

    assert model_is_told(talk.caller_sends(120, from_ms=360)) == []
    following = talk.caller_sends(20, from_ms=480)

    assert ClearPlayback(1) in following
    assert model_is_told(following) == [
        CancelResponse("cancel_1", "R1"),
        TruncateItem("truncate_2", "A1", 200),
    ]
    assert talk.dialogue.interruptions == 1
    assert counted(talk.audio(250)) == [Measure.LATE_DELTA]


def test_a_cough_changes_nothing() -> None:
    talk = interrupting()
    talk.caller_sends(60, from_ms=360)
    talk.caller_sends(500, SILENCE, from_ms=420)

    following = talk.caller_stops(audio_end_ms=900)

    assert (counted(following), sent(following)) == ([Measure.SHORT_SPEECH], [])
    assert counted(talk.audio(250)) == []
    assert talk.dialogue.interruptions == 0


def test_the_model_forgets_a_cough_and_nobody_writes_it_down() -> None:
    talk = interrupting()
    talk.caller_stops(audio_end_ms=900)

    assert sent(talk.hear(events.ItemAdded(SESSION, "U1", "user"))) == [DeleteItem("delete_1", "U1")]
    assert talk.hear(events.CallerText(SESSION, "U1", "Hm.")) == []
    assert not [turn for turn in recorded(talk.dialogue.close(talk.now)) if isinstance(turn, CallerTurn)]


def test_a_real_turn_is_answered_because_we_ask() -> None:
    talk = Talk(AGENT)
    talk.caller_starts()

    assert sent(talk.caller_stops()) == [CreateResponse("respond_1")]


def test_speech_into_silence_is_a_turn_at_once_however_short() -> None:
    # The model thinks: what it is about to say is not about these words.
    talk = Talk(AGENT)
    talk.hear(events.ResponseCreated(SESSION, "R1"))

    assert sent(talk.caller_starts()) == [CancelResponse("cancel_1", "R1")]
    talk.done(status="cancelled", reason="client_cancelled")
    assert sent(talk.caller_stops()) == [CreateResponse("respond_2")]


def test_speech_that_is_not_over_before_the_agent_is_was_an_answer() -> None:
    # "Yes." over the last words of the question.
    talk = Talk(AGENT)
    talk.agent_speaks(200)
    talk.agent_ends()
    talk.caller_starts()
    talk.echo("0:A1:200")

    assert sent(talk.caller_stops()) == [CreateResponse("respond_1")]


def test_speech_whose_end_the_model_does_not_tell_of_was_speech_although_it_was_quiet() -> None:
    talk = interrupting()
    told_by_ms = 200 + 500 + TELL_MS

    assert ClearPlayback(1) not in talk.caller_sends(told_by_ms - 20, SILENCE, from_ms=360)
    assert ClearPlayback(1) in talk.caller_sends(20, SILENCE, from_ms=360 + told_by_ms - 20)


def test_the_other_detector_may_take_longer_to_tell() -> None:
    # It waits for the thought to end, and after a cough there is none.
    talk = interrupting(Agent(audio_path="pcmu", min_speech_ms=200, turn_detection=SemanticVad("high")))

    assert ClearPlayback(1) not in talk.caller_sends(2_000, SILENCE, from_ms=360)
    assert counted(talk.caller_stops()) == [Measure.SHORT_SPEECH]


def test_silence_is_filled_in_while_a_cough_may_still_be_one() -> None:
    # Twilio sends nothing in silence, and without audio the model never tells that it ended.
    talk = interrupting()
    wake_at = talk.dialogue.wake_at()

    assert wake_at is not None
    assert [type(event) for event in sent(talk.dialogue.tick(wake_at))] == [AppendAudio]


def test_what_was_in_doubt_when_the_session_was_lost_is_heard_again() -> None:
    talk = interrupting()
    talk.dialogue.session_closed(talk.now)

    following, media_start_ms, _ = talk.dialogue.session_opened(talk.now, deaf=True)

    assert media_start_ms == 0
    assert AppendAudio(b"\xff" * 2_400 + b"\x21" * 480) in sent(following)


def test_silence_that_became_a_turn_is_answered_and_not_a_turn() -> None:
    talk = Talk(AGENT)

    assert sent(talk.hear(events.SilenceCommitted(SESSION, "S1"))) == [CreateResponse("respond_1")]
    assert talk.hear(events.ItemAdded(SESSION, "S1", "user")) == []
    assert talk.hear(events.CallerText(SESSION, "S1", "Thank you.")) == []


def test_line_noise_is_not_loud_and_a_voice_is() -> None:
    assert loud_ms(b"\x21" * 160 + b"\xff" * 160 + b"\x7a" * 160) == 20
    assert loud_ms(b"\x21" * 159) == 0
