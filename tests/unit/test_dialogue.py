"""The talk: answers, turns, the caller's words, latency. Interruptions have a file of their own."""

from talk import SESSION, Talk, latencies, played, recorded, sent

from trunkline_common.call_events import AgentTurn, CallerTurn, TurnLatency, Usage
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.commands import AppendAudio, Count, CreateResponse, Measure, PutMark, SendToModel
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.uplink import STALL_MS

USAGE = Usage(
    response_id="R1",
    input_tokens=41,
    input_text_tokens=14,
    input_audio_tokens=27,
    cached_tokens=0,
    output_tokens=164,
    output_text_tokens=28,
    output_audio_tokens=136,
)


# Responses


def test_the_end_of_a_response_ends_its_items() -> None:
    talk = Talk()
    talk.agent_speaks(110)

    assert len(played(talk.done())[0].ulaw) == 160


def test_a_response_may_be_done_that_was_never_created() -> None:
    talk = Talk()
    talk.agent_speaks(1_000, response_id="R1")

    assert talk.done("R7", status="cancelled") == []
    talk.caller_starts()
    assert talk.audio(250, response_id="R1") == [Count(Measure.LATE_DELTA)]


def test_a_failed_response_is_counted_with_its_reason() -> None:
    # A rate limit sends no error event: this is all that tells of it.
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))

    following = talk.done(status="failed", reason="rate_limit_exceeded")

    assert following == [
        Count(Measure.RESPONSE_FAILED, detail="rate_limit_exceeded"),
        Count(Measure.RESPONSE_RETRIED),
    ]


def test_a_response_that_was_cut_off_by_its_limits_is_heard_as_far_as_it_went() -> None:
    talk = Talk()
    talk.agent_speaks(200)
    talk.hear(events.SpokenText(SESSION, "A1", "one two", final=False))
    talk.done(status="incomplete", reason="content_filter")

    (turn,) = recorded(talk.echo("0:A1:200"))

    assert isinstance(turn, AgentTurn)
    assert (turn.generated_text, turn.heard_ms, turn.interrupted) == ("one two", 200, False)


def test_interleaved_items_of_one_response_are_heard_in_order() -> None:
    talk = Talk()
    talk.agent_speaks(110)
    talk.hear(events.ItemAdded(SESSION, "A2", "assistant"))
    held = talk.audio(200, "A2")
    released = talk.hear(events.AudioDone(SESSION, "R1", "A1"))

    assert played(held) == []
    assert [mark.name for mark in released if isinstance(mark, PutMark)] == ["0:A1:120", "0:A2:200"]


def test_usage_is_recorded() -> None:
    talk = Talk()

    following = talk.hear(events.ResponseDone(SESSION, "R1", "completed", "", USAGE))

    assert recorded(following) == [USAGE]


def test_model_errors_are_counted_and_only_real_ones_are_warned_of() -> None:
    talk = Talk()

    assert talk.hear(events.ModelError(SESSION, "invalid_value", fatal=False)) == [
        Count(Measure.MODEL_ERROR, detail="invalid_value")
    ]
    assert talk.hear(events.ModelError(SESSION, "item_truncate_invalid_item_id", fatal=False)) == [
        Count(Measure.MODEL_ERROR)
    ]


# Turns


def test_a_turn_is_written_when_it_was_heard() -> None:
    talk = Talk()
    talk.agent_speaks(200)
    talk.agent_ends()

    (turn,) = recorded(talk.echo("0:A1:200"))

    assert isinstance(turn, AgentTurn)
    assert (turn.heard_text, turn.heard_ms, turn.interrupted) == ("one two three four", 200, False)
    assert talk.dialogue.agent_was_heard


def test_a_turn_whose_end_comes_after_its_last_echo_is_written_at_its_end() -> None:
    talk = Talk()
    talk.agent_speaks(200)
    talk.echo("0:A1:200")

    (turn,) = recorded(talk.agent_ends())

    assert isinstance(turn, AgentTurn)
    assert not turn.interrupted


def test_times_of_the_callers_turn_are_media_times() -> None:
    talk = Talk()
    talk.dialogue.caller_audio(60_000, b"\x21" * 8_000, talk.now)
    talk.caller_starts(audio_start_ms=100)
    talk.caller_stops(audio_end_ms=900)

    (turn,) = recorded(talk.hear(events.CallerText(SESSION, "U1", "Hello?")))

    assert isinstance(turn, CallerTurn)
    assert (turn.start_ms, turn.end_ms, turn.text) == (60_100, 60_900, "Hello?")


def test_words_that_do_not_come_are_given_up_when_their_time_has_come() -> None:
    talk = Talk()
    talk.caller_starts()
    talk.caller_stops()
    talk.agent_speaks(100)
    talk.agent_ends()
    wake_at = talk.dialogue.wake_at()
    assert wake_at is not None

    (turn,) = recorded(talk.dialogue.tick(wake_at))

    assert isinstance(turn, CallerTurn)
    assert turn.transcription == "missing"
    assert talk.dialogue.wake_at() is None


# The caller's audio


def test_what_the_caller_said_before_the_session_goes_first() -> None:
    dialogue = Dialogue(Agent(audio_path="pcmu"), "polyphase")
    assert dialogue.caller_audio(40, b"\x21" * 160, 0.0) == []

    commands, media_start_ms, _ = dialogue.session_opened(0.1, deaf=False)

    assert (commands, media_start_ms) == ([SendToModel(AppendAudio(b"\x21" * 160))], 40)


def test_silence_is_filled_in_only_while_the_caller_speaks() -> None:
    # The model's VAD never ends a turn without audio.
    talk = Talk()
    talk.dialogue.caller_audio(0, b"\x21" * 160, talk.now)
    assert talk.dialogue.wake_at() is None

    talk.caller_starts()
    wake_at = talk.dialogue.wake_at()
    assert wake_at == talk.now + STALL_MS / 1000
    assert sent(talk.dialogue.tick(wake_at)) == [AppendAudio(b"\xff" * (STALL_MS * 8))]

    talk.caller_stops()
    talk.hear(events.CallerText(SESSION, "U1", "Hello?"))
    talk.agent_speaks(100)
    talk.agent_ends()
    assert talk.dialogue.wake_at() is None


# Greeting


def test_the_greeting_carries_the_agents_instructions_too() -> None:
    # The instructions of a response replace those of the session.
    agent = Agent(instructions="You are Robin.", greeting="Say hello.")

    dialogue = Dialogue(agent, "polyphase")
    dialogue.session_opened(0.0, deaf=False)

    (greeting,) = sent(dialogue.greet(0.1))

    assert greeting == CreateResponse("respond_1", "You are Robin.\n\nSay hello.")


def test_a_caller_who_is_being_answered_already_is_not_greeted() -> None:
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))

    assert talk.dialogue.greet(talk.now) == []


# Latency


def test_the_latency_of_a_turn_is_told_part_by_part() -> None:
    talk = Talk()
    talk.dialogue.line_measured(twilio_rtt_ms=80.0, bus_rtt_ms=2.0)
    talk.hear(events.SessionRoundTrip(SESSION, rtt_ms=30.0))
    talk.caller_starts()
    talk.caller_stops()
    talk.now += 0.5

    (latency,) = latencies(talk.agent_speaks(100))

    assert latency == TurnLatency(
        item_id="A1",
        position=1,
        response_ms=500.0 + 80.0 + 2.0 + 30.0,
        twilio_to_gateway_ms=40.0,
        gateway_to_worker_ms=1.0,
        worker_to_model_ms=15.0,
        model_ms=500.0,
        model_to_worker_ms=15.0,
        worker_to_gateway_ms=1.0,
        gateway_to_twilio_ms=40.0,
        worker_ms=0,
    )


def test_hops_that_nobody_has_measured_are_left_out() -> None:
    talk = Talk()
    talk.caller_starts()
    talk.caller_stops()
    talk.now += 0.5

    (latency,) = latencies(talk.agent_speaks(100))

    assert latency.response_ms == latency.model_ms == 500.0
    assert latency.twilio_to_gateway_ms is None
    assert latency.worker_to_model_ms is None


def test_a_round_trip_stays_known_when_a_report_does_not_repeat_it() -> None:
    talk = Talk()
    talk.dialogue.line_measured(twilio_rtt_ms=80.0, bus_rtt_ms=None)
    talk.dialogue.line_measured(twilio_rtt_ms=None, bus_rtt_ms=2.0)
    talk.caller_starts()
    talk.caller_stops()

    (latency,) = latencies(talk.agent_speaks(100))

    assert (latency.twilio_to_gateway_ms, latency.gateway_to_worker_ms) == (40.0, 1.0)


def test_only_the_first_audio_of_an_answer_has_a_latency() -> None:
    talk = Talk()
    assert latencies(talk.agent_speaks(100)) == []  # The greeting answers nobody.
    talk.agent_ends()
    talk.caller_starts()
    talk.caller_stops()

    assert len(latencies(talk.agent_speaks(100, "A2", "R2"))) == 1
    assert latencies(talk.audio(100, "A2", "R2")) == []


# The end


def test_at_the_end_what_was_playing_is_recorded_as_far_as_it_was_heard() -> None:
    talk = Talk()
    talk.agent_speaks(1_000)
    talk.agent_ends()
    talk.now += 0.15

    (turn,) = recorded(talk.dialogue.close(talk.now))

    assert isinstance(turn, AgentTurn)
    assert (turn.heard_ms, turn.interrupted) == (150, True)


def test_at_the_end_the_troubles_of_the_callers_audio_are_counted() -> None:
    dialogue = Dialogue(Agent(audio_path="pcmu"), "polyphase")
    dialogue.caller_audio(0, b"\x21" * 160, 0.0)
    dialogue.caller_audio(0, b"\x21" * 160, 0.0)
    dialogue.caller_audio(3_000, b"\x21" * 160, 3.0)

    assert dialogue.close(now=4.0) == [
        Count(Measure.CALLER_AUDIO_DROPPED_MS, 1_020),
        Count(Measure.CALLER_GAP_PADDED_MS, 2_980),
        Count(Measure.CALLER_AUDIO_REPEATED, 1),
    ]
