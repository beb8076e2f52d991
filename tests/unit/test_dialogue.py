"""The talk: interruptions in their order, what the model may believe it said, broken lines, latency."""

import pytest
from trunkline_common.call_events import AgentTurn, CallerTurn, CallEvent, TurnLatency, Usage
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.commands import (
    AppendAudio,
    CancelResponse,
    ClearPlayback,
    ClientEvent,
    Command,
    Count,
    CreateResponse,
    DeleteItem,
    Measure,
    Play,
    PutMark,
    RecordLatency,
    SendToModel,
    TruncateItem,
)
from trunkline_worker.dialogue import INTERRUPTED_RESPONSES_MAX, TRUNCATE_MARGIN_MS, Dialogue
from trunkline_worker.uplink import STALL_MS

SESSION = 1
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


class Talk:
    """A dialogue with an open session, and short names for what happens in it."""

    def __init__(self) -> None:
        self.dialogue = Dialogue(Agent(audio_path="pcmu"), "polyphase")
        self.dialogue.resume(now=0.0)
        self.dialogue.session_opened()
        self.now = 10.0

    def hear(self, event: events.ModelEvent) -> list[Command]:
        return self.dialogue.on_model(event, self.now)

    def agent_speaks(self, ms: int, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        following = self.hear(events.ResponseCreated(SESSION, response_id))
        following += self.hear(events.ItemAdded(SESSION, item_id, "assistant"))
        return following + self.audio(ms, item_id, response_id)

    def audio(self, ms: int, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        return self.hear(events.AudioDelta(SESSION, response_id, item_id, b"\x21" * (8 * ms)))

    def agent_ends(self, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        following = self.hear(events.AudioDone(SESSION, response_id, item_id))
        following += self.hear(events.SpokenText(SESSION, item_id, "one two three four", final=True))
        return following + self.done(response_id)

    def done(self, response_id: str = "R1", status: str = "completed", reason: str = "") -> list[Command]:
        return self.hear(events.ResponseDone(SESSION, response_id, status, reason, None))

    def caller_starts(self, item_id: str = "U1", audio_start_ms: int = 0) -> list[Command]:
        return self.hear(events.SpeechStarted(SESSION, item_id, audio_start_ms))

    def caller_stops(self, item_id: str = "U1", audio_end_ms: int = 1_000) -> list[Command]:
        return self.hear(events.SpeechStopped(SESSION, item_id, audio_end_ms))

    def echo(self, name: str) -> list[Command]:
        return self.dialogue.mark_played(name, self.now)


# Interruptions


def test_an_interruption_clears_truncates_and_records_in_this_order() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.agent_ends()
    talk.now += 0.15

    following = talk.caller_starts()

    assert [type(command) for command in following] == [ClearPlayback, SendToModel, commands.Record, Count]
    assert following[0] == ClearPlayback(1)
    assert sent(following) == [TruncateItem("truncate_1", "A1", 150)]
    assert counted(following) == [Measure.BARGE_IN]
    assert talk.dialogue.interruptions == 1


def test_the_caller_is_cleared_although_the_model_had_finished_long_ago() -> None:
    # Nine seconds are generated in two: Twilio still holds the rest, and nothing is left to cancel.
    talk = Talk()
    talk.agent_speaks(9_000)
    talk.agent_ends()
    talk.echo("0:A1:4000")
    talk.now += 0.1

    following = talk.caller_starts()

    assert following[0] == ClearPlayback(1)
    assert sent(following) == [TruncateItem("truncate_1", "A1", 4_100)]


def test_the_model_stops_by_itself_and_is_not_told_to() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)

    assert not [event for event in sent(talk.caller_starts()) if isinstance(event, CancelResponse)]


def test_late_audio_of_an_interrupted_response_is_ignored() -> None:
    talk = Talk()
    talk.agent_speaks(1_000)
    talk.caller_starts()

    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]


def test_late_audio_is_ignored_even_without_response_created() -> None:
    talk = Talk()
    talk.hear(events.ItemAdded(SESSION, "A1", "assistant"))
    talk.audio(1_000)
    talk.caller_starts()

    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]


def test_audio_of_a_response_that_had_not_begun_to_speak_is_late_too() -> None:
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))
    talk.caller_starts()

    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]


def test_the_next_answer_plays_in_the_next_generation() -> None:
    talk = Talk()
    talk.agent_speaks(1_000)
    talk.caller_starts()
    talk.done(status="cancelled", reason="turn_detected")

    assert played(talk.agent_speaks(100, "A2", "R2")) == [Play(1, b"\x21" * 800)]


def test_marks_that_the_clear_sends_back_are_not_playback() -> None:
    talk = Talk()
    talk.agent_speaks(400)
    talk.caller_starts()

    assert talk.echo("0:A1:200") == [Count(Measure.STALE_MARK)]
    assert not talk.dialogue.agent_was_heard


def test_nothing_is_cut_while_nothing_plays() -> None:
    # A response without audio yet must not truncate the item before it, which was fully heard.
    talk = Talk()
    talk.agent_speaks(200)
    talk.agent_ends()
    talk.echo("0:A1:200")
    talk.hear(events.ResponseCreated(SESSION, "R2"))

    assert talk.caller_starts() == []
    assert talk.dialogue.interruptions == 0


def test_interrupted_responses_whose_end_never_comes_are_bounded() -> None:
    talk = Talk()
    for number in range(INTERRUPTED_RESPONSES_MAX + 1):
        talk.hear(events.ResponseCreated(SESSION, f"R{number}"))
        talk.caller_starts(f"U{number}")

    assert played(talk.audio(100, response_id="R0")) != []
    assert talk.audio(100, response_id="R1") == [Count(Measure.LATE_DELTA)]


# What the model may believe it said


def test_truncation_stays_a_margin_below_what_was_received() -> None:
    # The model counts less audio than it sent, and truncating beyond its count is an error.
    talk = Talk()
    talk.agent_speaks(400)
    talk.now += 0.39
    talk.echo("0:A1:200")
    talk.now += 0.19

    assert sent(talk.caller_starts()) == [TruncateItem("truncate_1", "A1", 400 - TRUNCATE_MARGIN_MS)]


def test_an_item_that_was_heard_to_within_the_margin_is_left_alone() -> None:
    # Truncating costs the item its transcript, and the model repeats itself.
    talk = Talk()
    talk.agent_speaks(400)
    talk.agent_ends()
    talk.echo("0:A1:200")
    talk.now += 0.15

    following = talk.caller_starts()

    assert following[0] == ClearPlayback(1)
    assert sent(following) == []


def test_a_short_item_that_was_fully_heard_is_left_alone() -> None:
    talk = Talk()
    talk.agent_speaks(80)
    talk.agent_ends()
    talk.now += 0.08

    assert sent(talk.caller_starts()) == []


def test_an_item_of_which_nothing_was_heard_is_deleted() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)

    assert sent(talk.caller_starts()) == [DeleteItem("delete_1", "A1")]


def test_what_is_too_short_to_be_truncated_is_deleted() -> None:
    talk = Talk()
    talk.agent_speaks(80)
    talk.now += 0.06

    assert sent(talk.caller_starts()) == [DeleteItem("delete_1", "A1")]


def test_of_two_items_the_playing_one_is_truncated_and_the_unheard_one_deleted() -> None:
    talk = Talk()
    talk.agent_speaks(1_000)
    talk.hear(events.AudioDone(SESSION, "R1", "A1"))
    talk.hear(events.ItemAdded(SESSION, "A2", "assistant"))
    talk.audio(1_000, "A2")
    talk.now += 0.15

    assert sent(talk.caller_starts()) == [
        TruncateItem("truncate_1", "A1", 150),
        DeleteItem("delete_2", "A2"),
    ]


def test_an_item_whose_audio_all_came_too_late_is_deleted_once_it_is_over() -> None:
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))
    talk.hear(events.ItemAdded(SESSION, "A1", "assistant"))
    talk.hear(events.SpokenText(SESSION, "A1", "one two", final=False))
    talk.caller_starts()
    talk.audio(250)

    following = talk.done(status="cancelled", reason="turn_detected")

    assert sent(following) == [DeleteItem("delete_1", "A1")]
    (turn,) = recorded(following)
    assert isinstance(turn, AgentTurn)
    assert (turn.generated_text, turn.heard_ms, turn.interrupted) == ("one two", 0, True)


def test_an_item_that_was_deleted_already_is_not_deleted_again() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.caller_starts()

    assert sent(talk.done(status="cancelled", reason="turn_detected")) == []


def test_a_completed_item_without_audio_is_kept() -> None:
    # A function call, or a reply in text.
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))
    talk.hear(events.ItemAdded(SESSION, "A1", "assistant"))

    assert sent(talk.done()) == []


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

    assert following == [Count(Measure.RESPONSE_FAILED, detail="rate_limit_exceeded")]


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

    assert dialogue.session_opened() == ([SendToModel(AppendAudio(b"\x21" * 160))], 40)


def test_silence_is_filled_in_only_while_the_caller_speaks() -> None:
    # The model's VAD never ends a turn without audio.
    talk = Talk()
    talk.dialogue.caller_audio(0, b"\x21" * 160, talk.now)
    assert talk.dialogue.wake_at() is None

    talk.caller_starts()
    wake_at = talk.dialogue.wake_at()
    assert wake_at == pytest.approx(talk.now + STALL_MS / 1000)
    assert sent(talk.dialogue.tick(wake_at)) == [AppendAudio(b"\xff" * (STALL_MS * 8))]

    talk.caller_stops()
    talk.hear(events.CallerText(SESSION, "U1", "Hello?"))
    assert talk.dialogue.wake_at() is None


# Greeting


def test_the_greeting_carries_the_agents_instructions_too() -> None:
    # The instructions of a response replace those of the session.
    agent = Agent(instructions="You are Robin.", greeting="Say hello.")

    (greeting,) = sent(Dialogue(agent, "polyphase").greet())

    assert greeting == CreateResponse("greet_1", "You are Robin.\n\nSay hello.")


def test_a_caller_who_is_being_answered_already_is_not_greeted() -> None:
    talk = Talk()
    talk.hear(events.ResponseCreated(SESSION, "R1"))

    assert talk.dialogue.greet() == []


# Broken lines


def test_a_broken_line_cuts_what_twilio_held_and_stops_the_model() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.now += 0.15

    following = talk.dialogue.suspend(talk.now)

    assert following[0] == ClearPlayback(1)
    assert sent(following) == [CancelResponse("cancel_1", "R1"), TruncateItem("truncate_2", "A1", 150)]
    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]
    assert talk.dialogue.interruptions == 0


def test_an_answer_that_the_line_cut_is_asked_for_again() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.agent_ends()
    talk.now += 0.15
    talk.dialogue.suspend(talk.now)

    assert sent(talk.dialogue.resume(talk.now)) == [CreateResponse("resume_2")]
    assert talk.dialogue.resume(talk.now) == []


def test_it_is_asked_for_only_once_the_cancelled_one_is_done() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.now += 0.15
    talk.dialogue.suspend(talk.now)

    assert talk.dialogue.resume(talk.now) == []
    assert sent(talk.done(status="cancelled", reason="client_cancelled")) == [CreateResponse("resume_3")]


def test_it_is_not_asked_for_while_there_is_no_line() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.dialogue.suspend(talk.now)

    assert sent(talk.done(status="cancelled", reason="client_cancelled")) == []


def test_it_is_not_asked_for_when_the_caller_has_spoken_since() -> None:
    # The model answers those words by itself.
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.agent_ends()
    talk.dialogue.suspend(talk.now)
    talk.caller_starts()

    assert sent(talk.dialogue.resume(talk.now)) == []


def test_nothing_is_owed_after_a_line_that_broke_in_silence() -> None:
    talk = Talk()
    assert talk.dialogue.suspend(talk.now) == []

    assert talk.dialogue.resume(talk.now) == []


def test_an_answer_that_is_made_while_there_is_no_line_waits_for_the_next() -> None:
    talk = Talk()
    talk.dialogue.suspend(talk.now)

    assert played(talk.agent_speaks(400)) == []
    talk.agent_ends()
    talk.now += 5.0

    assert b"".join(play.ulaw for play in played(talk.dialogue.resume(talk.now))) == b"\x21" * 3_200


def test_the_caller_is_heard_on_the_second_stream() -> None:
    # Its timestamps start again.
    talk = Talk()
    talk.dialogue.caller_audio(60_000, b"\x21" * 160, talk.now)
    talk.dialogue.suspend(talk.now)
    talk.dialogue.resume(talk.now)

    assert sent(talk.dialogue.caller_audio(0, b"\x22" * 160, talk.now)) == [AppendAudio(b"\x22" * 160)]


# Latency


def test_the_latency_of_a_turn_is_told_part_by_part() -> None:
    talk = Talk()
    talk.dialogue.line_measured(twilio_rtt_ms=80.0, bus_rtt_ms=2.0)
    talk.hear(events.SessionRoundTrip(SESSION, rtt_ms=30.0))
    talk.caller_starts()
    talk.caller_stops()
    talk.now += 0.4

    (latency,) = latencies(talk.agent_speaks(100))

    assert latency == TurnLatency(
        item_id="A1",
        position=1,
        response_ms=pytest.approx(400 + 80 + 2 + 30),
        twilio_to_gateway_ms=40.0,
        gateway_to_worker_ms=1.0,
        worker_to_model_ms=15.0,
        model_ms=pytest.approx(400),
        model_to_worker_ms=15.0,
        worker_to_gateway_ms=1.0,
        gateway_to_twilio_ms=40.0,
        worker_ms=0,
    )


def test_hops_that_nobody_has_measured_are_left_out() -> None:
    talk = Talk()
    talk.caller_starts()
    talk.caller_stops()
    talk.now += 0.4

    (latency,) = latencies(talk.agent_speaks(100))

    assert latency.response_ms == latency.model_ms == pytest.approx(400)
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


def sent(following: list[Command]) -> list[ClientEvent]:
    return [command.event for command in following if isinstance(command, SendToModel)]


def played(following: list[Command]) -> list[Play]:
    return [command for command in following if isinstance(command, Play)]


def recorded(following: list[Command]) -> list[CallEvent]:
    return [command.event for command in following if isinstance(command, commands.Record)]


def counted(following: list[Command]) -> list[Measure]:
    return [command.measure for command in following if isinstance(command, Count)]


def latencies(following: list[Command]) -> list[TurnLatency]:
    return [command.latency for command in following if isinstance(command, RecordLatency)]
