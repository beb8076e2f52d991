"""What a new model session is told of the call so far."""

from trunkline_common.call_events import AgentTurn, CallerTurn
from trunkline_worker.commands import (
    CreateCallerAudio,
    CreateFunctionCall,
    CreateFunctionOutput,
    CreateItem,
    CreateMessage,
)
from trunkline_worker.history import (
    EARLIER,
    INAUDIBLE,
    ITEM_ID_CHARACTERS_MAX,
    ITEMS_MAX,
    REPLAYED_CHARACTERS_MAX,
    History,
)


def caller(item_id: str, position: int, text: str | None, start_ms: int = 0, end_ms: int = 100) -> CallerTurn:
    return CallerTurn(
        item_id=item_id,
        position=position,
        start_ms=start_ms,
        end_ms=end_ms,
        text=text,
        transcription="completed" if text else "missing",
    )


def agent(item_id: str, position: int, heard: str) -> AgentTurn:
    return AgentTurn(
        item_id=item_id,
        position=position,
        start_ms=0,
        end_ms=100,
        generated_text="all that was generated",
        heard_text=heard,
        generated_ms=1_000,
        heard_ms=500,
        interrupted=True,
    )


def replayed(history: History, audio: bytes = b"") -> list[CreateItem]:
    return history.replay(lambda what: what, lambda _start_ms, _end_ms: audio)


def test_turns_are_replayed_in_their_places_as_they_were_heard() -> None:
    history = History()
    history.take(agent("A1", 2, "On Saturdays"))
    history.take(caller("U1", 1, "When are you open?"))

    assert replayed(history) == [
        CreateMessage("item", "U1", "user", "When are you open?"),
        CreateMessage("item", "A1", "assistant", "On Saturdays"),
    ]


def test_what_was_not_heard_was_not_said() -> None:
    history = History()
    history.take(agent("A1", 1, ""))

    assert replayed(history) == []


def test_a_turn_without_words_is_replayed_as_sound_where_it_is_kept() -> None:
    history = History()
    history.take(caller("U1", 1, None, 100, 900))

    assert replayed(history, b"\x21") == [CreateCallerAudio("item", "U1", b"\x21")]
    assert replayed(history) == [CreateMessage("item", "U1", "user", INAUDIBLE)]


def test_a_turn_of_nothing_but_noise_is_left_out() -> None:
    history = History()
    history.take(caller("U1", 1, ""))

    assert replayed(history, b"\x21") == []


def test_a_function_call_is_replayed_with_its_output_or_not_at_all() -> None:
    history = History()
    history.take(caller("U1", 1, "Book me in."))
    history.tool_called("F1", "call_1", "book", "{}")
    history.tool_called("F2", "call_2", "cancel", "{}")
    history.take(agent("A1", 2, "You are booked."))
    history.tool_returned("call_1", "booked")

    assert replayed(history)[1:] == [
        CreateFunctionCall("item", "F1", "call_1", "book", "{}"),
        CreateFunctionOutput("item", "out_F1", "call_1", "booked"),
        CreateMessage("item", "A1", "assistant", "You are booked."),
    ]


def test_a_note_keeps_its_place() -> None:
    history = History()
    history.take(caller("U1", 1, "One moment."))
    history.note("The caller pressed 1 on the keypad.")
    history.take(agent("A1", 2, "Thank you."))

    assert replayed(history)[1] == CreateMessage(
        "item", "note_1", "system", "The caller pressed 1 on the keypad."
    )


def test_ids_are_no_longer_than_a_client_may_choose() -> None:
    history = History()
    history.take(caller("item_" + "x" * 40, 1, "Hello?"))

    (created,) = replayed(history)

    assert isinstance(created, CreateMessage)
    assert len(created.item_id) == ITEM_ID_CHARACTERS_MAX


def test_the_beginning_of_a_long_call_is_left_out_and_said_to_be() -> None:
    by_length, by_number = History(), History()
    half = "x" * (REPLAYED_CHARACTERS_MAX // 2)
    for position in range(1, 4):
        by_length.take(caller(f"U{position}", position, half))
    for position in range(1, ITEMS_MAX + 10):
        by_number.take(caller(f"U{position}", position, "Hm."))

    for history in (by_length, by_number):
        told = replayed(history)
        assert told[0] == CreateMessage("item", "note_0", "system", EARLIER)
    assert len(replayed(by_length)) == 3
    assert len(replayed(by_number)) == ITEMS_MAX + 1


def test_a_call_follows_the_question_whose_words_came_after_it() -> None:
    history = History()
    history.reached(1)
    history.tool_called("F1", "call_1", "book", "{}")
    history.tool_returned("call_1", "booked")
    history.take(caller("U1", 1, "Book me in."))

    assert [event.item_id for event in replayed(history)] == ["U1", "F1", "out_F1"]


def test_one_long_answer_of_a_tool_does_not_cost_the_talk_before_it() -> None:
    history = History()
    history.take(caller("U1", 1, "What is there?"))
    history.tool_called("F1", "call_1", "list", "{}")
    history.tool_returned("call_1", "x" * (REPLAYED_CHARACTERS_MAX + 1))

    newest = [event.item_id for event in replayed(history)]
    history.take(agent("A1", 2, "A lot."))
    older = [event.item_id for event in replayed(history)]

    assert newest == ["U1", "F1", "out_F1"]
    assert older == ["note_0", "U1", "A1"]
