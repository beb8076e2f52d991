"""What the next owner of a call must know: its bytes, what the log tells, and which of the two is right."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_common.call_events import (
    AgentTurn,
    CallerTurn,
    CallEvent,
    CallStarted,
    DtmfReceived,
    ToolCalled,
    ToolOutcome,
    ToolReturned,
    TranscriptionUsage,
    Usage,
)
from trunkline_worker import checkpoint
from trunkline_worker.checkpoint import STATE_BYTES_MAX, Checkpoint, CheckpointError
from trunkline_worker.conversation import AgentDraft, CallerDraft
from trunkline_worker.floor import Floor
from trunkline_worker.history import Remembered
from trunkline_worker.playback import InFlight
from trunkline_worker.playing_item import Cut
from trunkline_worker.response_gate import Request, Wish

STARTED = CallStarted(caller="+15550100", called="+15550199", agent="desk", worker="wk-1")

texts = st.text(max_size=40)
times = st.integers(0, 10_000_000)
costs = st.floats(0, 100)
checkpoints = st.builds(
    Checkpoint,
    media_ms=times,
    stream_shift_ms=st.none() | st.floats(-1e6, 1e6),
    position=st.integers(0, 1_000),
    items=st.lists(
        st.builds(
            Remembered,
            texts,
            st.sampled_from(["caller", "agent", "note", "tool"]),
            times,
            text=st.none() | texts,
            arguments=texts,
            output=st.none() | texts,
        ),
        max_size=3,
    ).map(tuple),
    caller=st.lists(st.builds(CallerDraft, texts, times, text=st.none() | texts), max_size=2).map(tuple),
    agent=st.lists(
        st.builds(AgentDraft, texts, texts, times, cut=st.none() | st.builds(Cut, texts, times, times)),
        max_size=2,
    ).map(tuple),
    in_flight=st.lists(st.builds(InFlight, texts, texts, times, times, st.booleans()), max_size=2).map(tuple),
    floor=st.none() | st.builds(Floor, st.none() | texts, st.none() | texts, hear_again_ms=st.none() | times),
    told_ms=times,
    in_session=st.booleans(),
    owed=st.none() | st.builds(Request, st.sampled_from(Wish), st.none() | texts),
    departure=texts,
    keys=st.text("0123456789*#", max_size=32),
    greeted=st.booleans(),
    signs=times,
    responses_usd=costs,
    transcriptions_usd=costs,
)


def said(item_id: str, text: str, position: int = 1, **facts: Any) -> AgentTurn:
    turn = {"start_ms": 0, "end_ms": 1_000, "generated_ms": 1_000, "heard_ms": 1_000, "interrupted": False}
    return AgentTurn(
        item_id=item_id, position=position, generated_text=text, **({"heard_text": text} | turn | facts)
    )


def asked(item_id: str, text: str | None, position: int = 2, revision: int = 1) -> CallerTurn:
    return CallerTurn(
        item_id=item_id,
        position=position,
        start_ms=2_000,
        end_ms=3_000,
        text=text,
        transcription="missing" if text is None else "completed",
        revision=revision,
    )


def look(number: int = 1) -> ToolCalled:
    return ToolCalled(
        tool_call_id=f"call_{number}", item_id=f"F{number}", name="look", arguments="{}", at_ms=4_000
    )


def texts_of(known: Checkpoint) -> list[tuple[str, str | None]]:
    return [(item.item_id, item.text) for item in known.items]


# Bytes


@given(checkpoints)
@settings(max_examples=100, deadline=None, database=None)
def test_every_part_comes_back_out_of_its_bytes(known: Checkpoint) -> None:
    assert checkpoint.decode(checkpoint.encode(known)) == known


def test_fields_that_a_later_release_adds_are_ignored() -> None:
    newer = json.loads(checkpoint.encode(Checkpoint(media_ms=5))) | {"added_later": [1]}

    assert checkpoint.decode(json.dumps(newer).encode()) == Checkpoint(media_ms=5)


def test_fields_that_an_older_release_did_not_know_have_defaults() -> None:
    assert checkpoint.decode(b"{}") == Checkpoint()


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(CheckpointError, match="version 99"):
        checkpoint.decode(b'{"v": 99}')


@pytest.mark.parametrize("state", [b"", b"[]", b"\xff", b'{"media_ms": "a"}', b'{"owed": {"wish": 99}}'])
def test_what_is_no_checkpoint_is_refused(state: bytes) -> None:
    with pytest.raises(CheckpointError):
        checkpoint.decode(state)


def test_of_a_conversation_that_is_too_large_the_newest_items_are_kept() -> None:
    items = tuple(Remembered(f"A{n}", "agent", n, "w" * 2_000) for n in range(100))

    state = checkpoint.encode(Checkpoint(items=items, media_ms=7))

    kept = checkpoint.decode(state)
    assert len(state) <= STATE_BYTES_MAX
    assert kept.items == items[-len(kept.items) :] != ()
    assert kept.media_ms == 7


# What the log tells


def test_a_log_tells_the_conversation_and_where_it_is() -> None:
    log: list[CallEvent] = [
        STARTED,
        said("A1", "Hello."),
        asked("U1", "Hi."),
        said("A2", "Yes?", 3, end_ms=5_000),
    ]

    known = checkpoint.of_log(log)

    assert texts_of(known) == [("A1", "Hello."), ("U1", "Hi."), ("A2", "Yes?")]
    assert (known.position, known.media_ms, known.signs) == (3, 5_000, 1)
    assert (known.greeted, known.agent_was_heard, known.owed) == (True, True, None)


def test_several_owners_write_one_log() -> None:
    # Each begins with a CallStarted, and a superseded one may still write what it heard.
    log: list[CallEvent] = [
        STARTED,
        said("A1", "Hello."),
        STARTED,
        asked("U1", "Hi."),
        STARTED,
        said("A2", "Yes?", 3),
    ]

    assert texts_of(checkpoint.of_log(log)) == [("A1", "Hello."), ("U1", "Hi."), ("A2", "Yes?")]


def test_a_transcript_that_comes_late_is_taken_and_one_that_is_missing_takes_nothing_away() -> None:
    late = checkpoint.of_log([asked("U1", None), said("A1", "Yes.", 3), asked("U1", "Hi.", revision=2)])
    missing = checkpoint.of_log([asked("U1", "Hi."), asked("U1", None)])

    assert texts_of(late) == [("U1", "Hi."), ("A1", "Yes.")]
    assert texts_of(missing) == [("U1", "Hi.")]
    assert late.signs == 1


def test_who_spoke_last_and_was_not_answered_is_owed_an_answer() -> None:
    assert checkpoint.of_log([said("A1", "Hello."), asked("U1", "Hi.")]).owed == Request(Wish.ANSWER)


def test_who_was_spoken_with_needs_no_greeting() -> None:
    assert checkpoint.of_log([asked("U1", "Hi.")]).greeted
    assert not checkpoint.of_log([STARTED]).greeted


def test_a_tool_that_was_not_answered_is_remembered_without_an_output() -> None:
    answer = ToolReturned(
        tool_call_id="call_1", name="look", outcome=ToolOutcome.OK, output="{}", duration_ms=5
    )

    known = checkpoint.of_log([asked("U1", "Hi."), look(1), look(2), answer])

    assert [(item.item_id, item.output) for item in known.items[1:]] == [("F1", "{}"), ("F2", None)]


def test_interruptions_keys_and_costs_are_counted() -> None:
    tokens: dict[str, Any] = dict.fromkeys(
        ["input_tokens", "input_text_tokens", "input_audio_tokens", "cached_tokens", "output_tokens"], 0
    ) | {"output_text_tokens": 0, "output_audio_tokens": 0}
    log: list[CallEvent] = [
        said("A1", "Hello.", interrupted=True, heard_ms=500),
        DtmfReceived(at_ms=9_000),
        Usage(response_id="R1", cost_usd=0.25, **tokens),
        Usage(response_id="R2", cost_usd=None, **tokens),
        TranscriptionUsage(item_id="U1", model="m", cost_usd=0.5),
    ]

    known = checkpoint.of_log(log)

    assert (known.interruptions, known.signs, known.media_ms) == (1, 1, 9_000)
    assert (known.responses_usd, known.transcriptions_usd) == (0.25, 0.5)


# Log and checkpoint together


def test_without_a_checkpoint_the_log_is_all_that_is_known() -> None:
    log = checkpoint.of_log([said("A1", "Hello.")])

    assert checkpoint.joined(log, None) == log


def test_of_turns_that_are_written_the_log_is_right() -> None:
    log = checkpoint.of_log([said("A1", "Hello, this", interrupted=True), asked("U1", "Hi.")])
    told = Checkpoint(
        items=(Remembered("A1", "agent", 1, "Hello, this is Robin."),),
        agent=(AgentDraft("A1", "R1", 1, started=True),),
        in_flight=(InFlight("A1", "R1", 2_000, 500, complete=True),),
        caller=(CallerDraft("U1", 2, 2_000),),
    )

    known = checkpoint.joined(log, told)

    assert texts_of(known) == [("A1", "Hello, this"), ("U1", "Hi.")]
    assert (known.agent, known.in_flight, known.caller) == ((), (), ())


def test_of_what_came_later_the_checkpoint_is_right() -> None:
    log = checkpoint.of_log([said("A1", "Hello.")])
    told = Checkpoint(
        media_ms=8_000,
        position=3,
        items=(Remembered("U1", "caller", 2, "Hi."), Remembered("note_1", "note", 2, "A key.")),
        agent=(AgentDraft("A2", "R2", 3, started=True),),
        owed=Request(Wish.CONTINUE),
    )

    known = checkpoint.joined(log, told)

    assert texts_of(known) == [("A1", "Hello."), ("U1", "Hi."), ("note_1", "A key.")]
    assert (known.media_ms, known.position, known.owed) == (8_000, 3, Request(Wish.CONTINUE))
    assert known.agent == told.agent


def test_words_and_answers_are_taken_from_whoever_knows_them() -> None:
    log = Checkpoint(items=(Remembered("U1", "caller", 1, "Hi."), Remembered("F1", "tool", 1, output="{}")))
    told = Checkpoint(items=(Remembered("U1", "caller", 1), Remembered("F1", "tool", 1, name="look")))

    words, tool = checkpoint.joined(log, told).items

    assert words.text == "Hi."
    assert (tool.name, tool.output) == ("look", "{}")


def test_what_is_counted_never_goes_down() -> None:
    log = Checkpoint(media_ms=9, position=4, interruptions=2, signs=3, responses_usd=0.5, greeted=True)

    known = checkpoint.joined(log, Checkpoint(media_ms=8, transcriptions_usd=0.25))

    assert (known.media_ms, known.position, known.interruptions, known.signs) == (9, 4, 2, 3)
    assert (known.responses_usd, known.transcriptions_usd, known.greeted) == (0.5, 0.25, True)
