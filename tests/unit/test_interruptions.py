"""Interruptions, by the caller and by a broken line: what is cut, in which order, and what the model is told."""

from talk import SESSION, Talk, counted, played, recorded, sent

from trunkline_common.call_events import AgentTurn
from trunkline_worker import commands, events
from trunkline_worker.beliefs import TRUNCATE_MARGIN_MS
from trunkline_worker.commands import (
    AppendAudio,
    CancelResponse,
    ClearPlayback,
    Count,
    DeleteItem,
    Measure,
    Play,
    SendToModel,
    TruncateItem,
)
from trunkline_worker.response_gate import INTERRUPTED_RESPONSES_MAX, Wish

# The order


def test_an_interruption_clears_truncates_and_records_in_this_order() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.agent_ends()
    talk.now += 0.15

    following = talk.caller_starts()

    order = [ClearPlayback, SendToModel, commands.Record, Count, Count]
    assert [type(command) for command in following] == order
    assert following[0] == ClearPlayback(1)
    assert sent(following) == [TruncateItem("truncate_1", "A1", 150)]
    assert counted(following) == [Measure.BARGE_IN, Measure.BARGE_IN_REACTION_MS]
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


def test_the_reaction_to_an_interruption_runs_from_the_callers_first_word() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.caller_sends(500)

    following = talk.caller_starts(audio_start_ms=300)

    assert Count(Measure.BARGE_IN_REACTION_MS, 200) in following


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


def test_two_interruptions_in_a_row_cut_what_each_one_found() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.now += 0.15
    talk.caller_starts("U1")
    talk.caller_stops("U1")
    talk.done("R1", status="cancelled", reason="turn_detected")
    talk.agent_speaks(3_000, "A2", "R2")
    talk.now += 0.18

    following = talk.caller_starts("U2")

    assert following[0] == ClearPlayback(2)
    assert sent(following) == [TruncateItem("truncate_2", "A2", 180)]
    assert talk.audio(250, "A2", "R2") == [Count(Measure.LATE_DELTA)]


def test_a_response_that_was_asked_for_just_before_the_caller_spoke_is_cancelled() -> None:
    # It does not know the caller's words, and would talk over them.
    talk = Talk()
    talk.dialogue.greet(talk.now)
    talk.caller_starts()

    following = talk.hear(events.ResponseCreated(SESSION, "R1"))

    assert sent(following) == [CancelResponse("cancel_2", "R1")]
    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]


def test_an_answer_that_ended_before_its_cancel_arrived_was_cut_all_the_same() -> None:
    # Its second item was made while the line was already gone: nobody heard it.
    talk = Talk()
    talk.agent_speaks(1_000)
    talk.hear(events.AudioDone(SESSION, "R1", "A1"))
    talk.now += 0.15
    talk.dialogue.suspend(talk.now, for_good=True)
    talk.hear(events.ItemAdded(SESSION, "A2", "assistant"))
    talk.audio(250, "A2")

    assert DeleteItem("delete_3", "A2") in sent(talk.done())


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


# Broken lines


def test_a_line_that_is_gone_for_good_cuts_what_twilio_held_and_stops_the_model() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.now += 0.15

    following = talk.dialogue.suspend(talk.now, for_good=True)

    assert following[0] == ClearPlayback(1)
    assert sent(following) == [CancelResponse("cancel_1", "R1"), TruncateItem("truncate_2", "A1", 150)]
    assert talk.audio(250) == [Count(Measure.LATE_DELTA)]
    assert talk.dialogue.interruptions == 0


def test_what_a_broken_line_swallowed_follows_on_the_next_one_without_asking_the_model() -> None:
    talk = Talk()
    talk.agent_speaks(3_000)
    talk.echo("0:A1:1000")
    talk.now += 0.15

    assert talk.dialogue.suspend(talk.now) == [ClearPlayback(1)]
    assert talk.audio(250) == [], "what the model says meanwhile waits behind it"
    following = talk.dialogue.resume(talk.now)

    assert sent(following) == []
    assert sum(len(each.ulaw) for each in played(following)) == (2_000 + 240) * 8
    assert {each.generation for each in played(following)} == {1}


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


def test_a_response_that_was_asked_for_as_the_caller_began_to_speak_is_cancelled() -> None:
    talk = Talk()
    talk.dialogue.gate.request(Wish.ANSWER, talk.now)
    talk.caller_starts()

    created = talk.hear(events.ResponseCreated(SESSION, "R1"))

    assert sent(created) == [CancelResponse("cancel_2", "R1")]
    assert played(talk.audio(400)) == []


def test_a_response_is_over_when_it_is_told_to_be_and_not_once_more() -> None:
    talk = Talk()
    talk.agent_speaks(400)
    talk.agent_ends()

    assert talk.done() == []
    assert talk.audio(400) == [Count(Measure.LATE_DELTA)]
