"""Turns: their place, their words, what of them was heard, and when they are written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_common.call_events import AgentTurn, CallerTurn
from trunkline_worker.conversation import TRANSCRIPT_WAIT_S, TURNS_KEPT_MAX, Conversation, heard_part
from trunkline_worker.playing_item import Cut

# The caller's turns


def test_a_callers_turn_is_written_when_its_words_come() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1", start_ms=1_000, end_ms=2_500, now=2.5)

    assert conversation.caller_said("U1", "Good morning.") == [
        CallerTurn(
            item_id="U1",
            position=1,
            start_ms=1_000,
            end_ms=2_500,
            text="Good morning.",
            transcription="completed",
        )
    ]
    assert not conversation.waits_for_words()


def test_a_failed_transcript_is_a_turn_without_words() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1")

    (turn,) = conversation.caller_said("U1", None)

    assert (turn.text, turn.transcription) == (None, "failed")


def test_a_transcript_that_never_comes_is_given_up_at_its_deadline() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1", now=5.0)

    assert conversation.due_at() == 5.0 + TRANSCRIPT_WAIT_S
    assert conversation.overdue(now=5.1) == []
    (turn,) = conversation.overdue(now=5.0 + TRANSCRIPT_WAIT_S)
    assert (turn.text, turn.transcription, turn.revision) == (None, "missing", 1)
    assert conversation.due_at() is None
    assert not conversation.waits_for_words()


def test_a_transcript_after_the_deadline_revises_the_turn() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1", now=5.0)
    conversation.overdue(now=20.0)

    (turn,) = conversation.caller_said("U1", "Good morning.")

    assert (turn.position, turn.text, turn.transcription, turn.revision) == (
        1,
        "Good morning.",
        "completed",
        2,
    )


def test_the_soonest_deadline_is_the_next() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1", now=5.0)
    caller_speaks(conversation, "U2", now=7.0)

    conversation.caller_said("U1", "Good morning.")

    assert conversation.due_at() == 7.0 + TRANSCRIPT_WAIT_S


def test_words_of_an_unknown_item_are_no_turn() -> None:
    assert Conversation().caller_said("U9", "Who is this?") == []


def test_turns_whose_words_may_still_come_are_bounded() -> None:
    conversation = Conversation()
    for number in range(TURNS_KEPT_MAX + 1):
        caller_speaks(conversation, f"U{number}", now=float(number))
        conversation.overdue(now=number + 100.0)

    assert conversation.caller_said("U0", "Too late.") == []
    assert conversation.caller_said("U1", "In time.") != []


# Places


def test_turns_are_placed_as_their_items_were_added_not_as_their_words_came() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1")
    agent_speaks(conversation, "A1", "R1")
    caller_speaks(conversation, "U2")

    places = [turn.position for item_id in ("U2", "U1") for turn in conversation.caller_said(item_id, "…")]

    assert places == [3, 1]
    assert agent_position(conversation, "A1") == 2


def test_an_item_keeps_its_place_when_it_is_added_again() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1")
    conversation.added("U1", "user", "")
    caller_speaks(conversation, "U2")

    assert [turn.position for turn in conversation.caller_said("U2", "…")] == [2]


def test_words_at_which_the_call_ends_come_last() -> None:
    # The caller hung up in mid-sentence: the model never took the item in.
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")
    conversation.caller_started("U1", media_ms=4_000)

    agent, caller = conversation.close(media_ms=5_200)

    assert isinstance(agent, AgentTurn)
    assert isinstance(caller, CallerTurn)
    assert (agent.position, caller.position) == (1, 2)
    assert (caller.start_ms, caller.end_ms, caller.transcription) == (4_000, 5_200, "missing")


# The agent's turns


def test_words_that_come_again_are_no_further_turn() -> None:
    conversation = Conversation()
    conversation.agent_started("A1", "R1", 0)
    conversation.agent_said("A1", "Hello.", final=True)
    assert len(conversation.agent_heard("A1", 500, 500)) == 1

    assert conversation.agent_said("A1", "Hello.", final=True) == []
    assert conversation.close(1_000) == []


def test_an_agents_turn_waits_for_both_its_words_and_the_ear() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1", media_ms=3_000)

    assert conversation.agent_said("A1", "How can I help?", final=True) == []
    assert conversation.agent_heard("A1", generated_ms=1_400, media_ms=4_500) == [
        AgentTurn(
            item_id="A1",
            position=1,
            start_ms=3_000,
            end_ms=4_500,
            generated_text="How can I help?",
            heard_text="How can I help?",
            generated_ms=1_400,
            heard_ms=1_400,
            interrupted=False,
        )
    ]


def test_the_words_may_come_after_the_ear() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")

    assert conversation.agent_heard("A1", generated_ms=1_400, media_ms=4_500) == []
    assert len(conversation.agent_said("A1", "How can I help?", final=True)) == 1


def test_a_turn_starts_with_its_first_audio() -> None:
    conversation = Conversation()
    for media_ms in (3_000, 3_060, 3_120):
        conversation.agent_started("A1", "R1", media_ms)
    conversation.agent_said("A1", "Hi.", final=True)

    (turn,) = conversation.agent_heard("A1", generated_ms=600, media_ms=4_000)

    assert turn.start_ms == 3_000


def test_the_final_words_replace_the_pieces() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")
    conversation.agent_said("A1", "How ", final=False)
    conversation.agent_said("A1", "can I", final=False)
    conversation.agent_heard("A1", generated_ms=1_000, media_ms=2_000)

    (turn,) = conversation.agent_said("A1", "How can I help?", final=True)

    assert turn.generated_text == "How can I help?"


def test_an_interrupted_turn_keeps_what_was_generated_apart_from_what_was_heard() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1", media_ms=3_000)
    conversation.agent_cut(Cut("A1", heard_ms=500, generated_ms=1_000, complete=False), media_ms=3_600)

    (turn,) = conversation.agent_said("A1", "one two three four", final=True)

    assert (turn.generated_text, turn.heard_text) == ("one two three four", "one two")
    assert (turn.generated_ms, turn.heard_ms, turn.interrupted) == (1_000, 500, True)
    assert (turn.start_ms, turn.end_ms) == (3_000, 3_600)


def test_a_turn_that_was_cut_in_its_padding_was_not_interrupted() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")
    conversation.agent_said("A1", "one two", final=True)

    (turn,) = conversation.agent_cut(Cut("A1", heard_ms=1_000, generated_ms=1_000), media_ms=3_600)

    assert not turn.interrupted
    assert turn.heard_text == "one two"


def test_the_end_of_the_response_stands_in_for_final_words_that_never_came() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")
    conversation.agent_said("A1", "one two", final=False)
    conversation.agent_cut(Cut("A1", heard_ms=0, generated_ms=1_000, complete=False), media_ms=3_000)

    (turn,) = conversation.response_done("R1", cut_off=True)

    assert (turn.generated_text, turn.heard_text) == ("one two", "")


def test_words_that_never_became_audio_were_not_heard() -> None:
    # The transcript runs ahead of the audio, and the response was cancelled in between.
    conversation = Conversation()
    conversation.added("A1", "assistant", "R1")
    conversation.agent_said("A1", "one two", final=False)

    assert conversation.unheard_items("R1") == ["A1"]
    (turn,) = conversation.response_done("R1", cut_off=True)
    assert (turn.generated_text, turn.heard_text, turn.heard_ms, turn.interrupted) == ("one two", "", 0, True)


def test_only_items_of_which_nothing_was_sent_are_unheard() -> None:
    conversation = Conversation()
    conversation.added("A1", "assistant", "R1")
    agent_speaks(conversation, "A2", "R1")
    conversation.added("A3", "assistant", "R2")

    assert conversation.unheard_items("R1") == ["A1"]


def test_items_without_words_or_audio_are_no_turns() -> None:
    # A function call has no role, and a response may be cancelled at birth.
    conversation = Conversation()
    conversation.added("F1", "", "R1")
    conversation.added("A1", "assistant", "R1")

    assert conversation.response_done("R1", cut_off=True) == []
    assert conversation.close(media_ms=0) == []


def test_a_response_that_is_done_leaves_the_other_ones_turns_alone() -> None:
    conversation = Conversation()
    agent_speaks(conversation, "A1", "R1")
    conversation.agent_heard("A1", generated_ms=1_000, media_ms=2_000)

    assert conversation.response_done("R2", cut_off=False) == []
    assert len(conversation.response_done("R1", cut_off=False)) == 1


def test_an_item_that_was_added_outside_any_response_joins_the_one_that_speaks_it() -> None:
    # response.created may be missing.
    conversation = Conversation()
    conversation.added("A1", "assistant", "")
    conversation.agent_started("A1", "R1", media_ms=0)
    conversation.agent_heard("A1", generated_ms=1_000, media_ms=2_000)

    assert len(conversation.response_done("R1", cut_off=False)) == 1


def test_an_unknown_item_is_neither_heard_nor_cut() -> None:
    conversation = Conversation()

    assert conversation.agent_heard("A9", generated_ms=100, media_ms=200) == []
    assert conversation.agent_cut(Cut("A9", 0, 100), media_ms=200) == []


# The end of the call


def test_what_was_not_written_is_written_at_the_end_in_order_and_once() -> None:
    conversation = Conversation()
    caller_speaks(conversation, "U1")
    conversation.caller_said("U1", "Good morning.")
    agent_speaks(conversation, "A1", "R1")
    caller_speaks(conversation, "U2")

    rest = conversation.close(media_ms=9_000)

    assert [turn.item_id for turn in rest] == ["A1", "U2"]
    assert conversation.close(media_ms=9_000) == []


def test_the_call_waits_for_words_of_a_turn_that_was_never_written() -> None:
    conversation = Conversation()
    assert not conversation.waits_for_words()

    conversation.caller_started("U1", media_ms=0)

    assert conversation.waits_for_words()


# Heard words


@pytest.mark.parametrize(
    ("heard_ms", "heard"),
    [
        (0, ""),
        (150, ""),
        (300, "One"),
        (650, "One two"),
        (700, "One two"),
        (900, "One two"),
        (1_000, "One two three"),
    ],
)
def test_only_words_that_ended_were_heard(heard_ms: int, heard: str) -> None:
    assert heard_part("One two three", heard_ms, generated_ms=1_000) == heard


def test_without_audio_nothing_was_heard() -> None:
    assert heard_part("One two three", heard_ms=0, generated_ms=0) == ""


@given(text=st.text(max_size=60), heard_ms=st.integers(0, 5_000), generated_ms=st.integers(0, 5_000))
@settings(max_examples=300, deadline=None, database=None)
def test_heard_words_begin_the_generated_ones(text: str, heard_ms: int, generated_ms: int) -> None:
    heard = heard_part(text, heard_ms, generated_ms)

    assert text.startswith(heard)
    if heard_ms >= generated_ms > 0:
        assert heard == text


def caller_speaks(
    conversation: Conversation, item_id: str, *, start_ms: int = 0, end_ms: int = 1_000, now: float = 0.0
) -> None:
    conversation.caller_started(item_id, start_ms)
    conversation.caller_stopped(item_id, end_ms, now)
    conversation.added(item_id, "user", "")


def agent_speaks(conversation: Conversation, item_id: str, response_id: str, media_ms: int = 0) -> None:
    conversation.added(item_id, "assistant", response_id)
    conversation.agent_started(item_id, response_id, media_ms)


def agent_position(conversation: Conversation, item_id: str) -> int:
    conversation.agent_said(item_id, "…", final=True)
    (turn,) = conversation.agent_heard(item_id, generated_ms=1_000, media_ms=2_000)
    return turn.position
