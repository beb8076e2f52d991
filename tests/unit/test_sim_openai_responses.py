"""Responses: one at a time, others out of band, function calls, usage, limits, the idle timeout."""

import base64
import json
from typing import Any

import pytest
from sim_openai_driver import Driver, Event

from trunkline_simulators import recordings
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_tools import ScriptedCall
from trunkline_simulators.openai_usage import Piece, retained, usage

BOOK = {"type": "function", "name": "book", "parameters": {"type": "object"}}


def said(driver: Driver) -> str:
    return str(driver.of("response.output_audio_transcript.done")[-1]["transcript"])


def done(driver: Driver) -> dict[str, Any]:
    response: dict[str, Any] = driver.of("response.done")[-1]["response"]
    return response


def write(driver: Driver, text: str) -> list[Event]:
    content = [{"type": "input_text", "text": text}]
    return driver.send(
        "conversation.item.create", item={"type": "message", "role": "user", "content": content}
    )


def test_before_any_turn_the_agent_greets_whatever_it_is_instructed() -> None:
    driver = Driver()

    driver.send("response.create", response={"instructions": "Greet the caller."})
    driver.wait(4)

    assert said(driver) == recordings.greeting().text


def test_a_restored_conversation_is_answered_by_its_last_text() -> None:
    driver = Driver()
    write(driver, recordings.utterance("caller-hours").text)

    driver.send("response.create")
    driver.wait(4)

    assert said(driver) == recordings.reply("caller-hours").text


def test_an_audio_item_that_the_client_created_is_heard_but_not_transcribed() -> None:
    driver = Driver()
    driver.configure(audio={"input": {"transcription": {"model": "whisper-1"}}})
    audio = base64.b64encode(driver.format.encode(recordings.samples("caller-hours", 24_000))).decode()
    content = [{"type": "input_audio", "audio": audio}]
    driver.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})

    driver.send("response.create")
    driver.wait(4)

    assert said(driver) == recordings.reply("caller-hours").text
    assert not [kind for kind in driver.kinds() if "transcription" in kind]


def test_a_second_response_is_refused_while_one_is_active() -> None:
    driver = Driver()
    driver.send("response.create")
    driver.wait(0.5)
    active_id = driver.one("response.created")["response"]["id"]

    (refused,) = driver.send("response.create", event_id="again")

    assert refused["error"]["code"] == "conversation_already_has_active_response"
    assert refused["error"]["message"] == (
        f"Conversation already has an active response in progress: {active_id}."
        " Wait until the response is finished before creating a new one."
    )
    assert refused["error"]["event_id"] == "again"


def test_an_out_of_band_response_runs_beside_it_and_leaves_no_item() -> None:
    driver = Driver()
    driver.send("response.create")
    wanted = {
        "conversation": "none",
        "output_modalities": ["text"],
        "input": [],
        "metadata": {"topic": "summary"},
    }

    driver.send("response.create", response=wanted)
    driver.wait(5)

    by_topic = {
        event["response"]["metadata"] is None: event["response"] for event in driver.of("response.done")
    }
    out_of_band, spoken = by_topic[False], by_topic[True]
    assert out_of_band["metadata"] == {"topic": "summary"}
    assert out_of_band["conversation_id"] is None
    assert out_of_band["output"][0]["content"][0]["type"] == "output_text"
    assert spoken["status"] == out_of_band["status"] == "completed"
    assert [event["item"]["id"] for event in driver.of("conversation.item.added")] == [
        spoken["output"][0]["id"]
    ]


def test_a_written_response() -> None:
    driver = Driver()
    driver.configure(output_modalities=["text"])

    driver.send("response.create")
    driver.wait(4)

    kinds = driver.collapsed()
    assert kinds[kinds.index("response.content_part.added") :] == [
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert driver.one("response.content_part.added")["part"] == {"type": "text", "text": ""}
    assert done(driver)["output"][0]["content"] == [
        {"type": "output_text", "text": recordings.greeting().text}
    ]


def test_items_out_of_band_may_be_named_but_must_exist() -> None:
    driver = Driver()
    wanted = {"conversation": "none", "input": [{"type": "item_reference", "id": "nobody"}]}

    (refused,) = driver.send("response.create", response=wanted)

    assert refused["error"]["message"] == "Item with item_id not found: nobody"


@pytest.fixture
def calling() -> Driver:
    """A session whose model calls `book` when the caller asks for it, after that turn."""
    call = ScriptedCall("book", '{  \n  "time": "10:00" \n} \n')
    driver = Driver(behaviour=Behaviour(calls={"caller-book": call}))
    driver.configure(tools=[BOOK])
    driver.forget()
    driver.say("caller-book")
    driver.wait(1)
    return driver


def test_a_function_call_turn(calling: Driver) -> None:
    kinds = calling.collapsed()

    assert kinds[kinds.index("response.created") :] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    added, ended = calling.one("response.output_item.added")["item"], done(calling)["output"][0]
    assert (added["type"], added["status"], added["arguments"]) == ("function_call", "in_progress", "")
    assert (ended["name"], ended["call_id"], ended["status"]) == ("book", added["call_id"], "completed")
    assert json.loads(calling.one("response.function_call_arguments.done")["arguments"]) == {"time": "10:00"}
    deltas = calling.of("response.function_call_arguments.delta")
    assert "".join(event["delta"] for event in deltas) == ended["arguments"]


def test_after_the_output_of_the_call_the_model_speaks(calling: Driver) -> None:
    call_id = done(calling)["output"][0]["call_id"]

    output = {"type": "function_call_output", "call_id": call_id, "output": '{"booked": true}'}
    calling.send("conversation.item.create", item=output)
    calling.send("response.create")
    calling.wait(4)

    assert said(calling) == recordings.reply("caller-book").text


@pytest.mark.parametrize("settings", [{"tools": []}, {"tools": [BOOK], "tool_choice": "none"}])
def test_a_function_that_is_not_offered_is_not_called(settings: dict[str, Any]) -> None:
    driver = Driver(behaviour=Behaviour(calls={"caller-book": ScriptedCall("book", "{}")}))
    driver.configure(**settings)

    driver.say("caller-book")
    driver.wait(4)

    assert said(driver) == recordings.reply("caller-book").text


def test_output_is_cut_at_max_output_tokens() -> None:
    driver = Driver()

    driver.send("response.create", response={"max_output_tokens": 20})
    driver.wait(4)

    response = done(driver)
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def test_usage_is_counted_and_the_unchanged_beginning_is_cached() -> None:
    driver = Driver()
    driver.configure(instructions="word " * 100)
    driver.say("caller-hours")
    driver.wait(4)
    first = done(driver)["usage"]
    driver.say("caller-price")
    driver.wait(4)
    second = done(driver)["usage"]

    seconds = len(recordings.samples("agent-hours", 8_000)) / 8_000
    assert first["input_token_details"]["text_tokens"] == 130
    assert 25 <= first["input_token_details"]["audio_tokens"] <= 35
    assert first["input_token_details"]["cached_tokens"] == 0
    assert first["output_token_details"]["audio_tokens"] == round(seconds * 20)
    assert first["total_tokens"] == first["input_tokens"] + first["output_tokens"]
    assert second["input_tokens"] > first["input_tokens"] + first["output_tokens"] - 5
    assert second["input_token_details"]["cached_tokens"] == first["input_tokens"] // 64 * 64


def test_the_cache_works_in_blocks_of_64_and_breaks_at_the_first_change() -> None:
    before = [Piece("instructions", 100, 0), Piece("a", 0, 60), Piece("b", 0, 40)]
    after = [Piece("instructions", 100, 0), Piece("a", 0, 60), Piece("b", 0, 20), Piece("c", 0, 9)]

    details = usage(after, before, 1, 2)["input_token_details"]

    assert details["cached_tokens"] == 128
    assert details["cached_tokens_details"] == {"text_tokens": 100, "audio_tokens": 28, "image_tokens": 0}


def test_the_oldest_items_leave_a_full_context_and_leave_room() -> None:
    fixed = Piece("instructions", 100, 0)
    items = [Piece(str(number), 0, 100) for number in range(10)]

    assert retained(fixed, items, 1_100, 0.8, None) == [fixed, *items]
    assert retained(fixed, items, 1_099, 1.0, None) == [fixed, *items[1:]]
    assert retained(fixed, items, 1_000, 0.5, None) == [fixed, *items[6:]]
    assert retained(fixed, items, 10_000, 1.0, 300) == [fixed, *items[7:]]


def test_rate_limits_follow_the_response() -> None:
    driver = Driver()
    driver.send("response.create")
    driver.wait(4)

    (limits,) = driver.one("rate_limits.updated")["rate_limits"]

    assert driver.kinds()[-2:] == ["response.done", "rate_limits.updated"]
    assert limits["name"] == "tokens"
    assert limits["limit"] - limits["remaining"] == done(driver)["usage"]["total_tokens"]


def test_after_a_long_silence_the_model_speaks_by_itself() -> None:
    driver = Driver()
    turn_detection = {"type": "server_vad", "idle_timeout_ms": 5_000}
    driver.configure(audio={"input": {"turn_detection": turn_detection}})
    driver.send("response.create")
    playback_s = len(recordings.samples("agent-greeting", 8_000)) / 8_000

    driver.be_silent(int(playback_s * 1_000) + 5_000)
    assert not driver.of("input_audio_buffer.timeout_triggered")
    driver.be_silent(400)

    timeout = driver.one("input_audio_buffer.timeout_triggered")
    assert timeout["audio_end_ms"] - timeout["audio_start_ms"] == 5_000
    assert driver.one("input_audio_buffer.committed")["item_id"] == timeout["item_id"]
    driver.wait(4)
    assert len(driver.of("response.done")) == 2


def test_a_session_ends_after_60_minutes() -> None:
    driver = Driver()

    driver.wait(3_600)

    assert driver.errors()[0]["code"] == "session_expired"
    assert driver.errors()[0]["message"] == "Your session hit the maximum duration of 60 minutes."
    assert driver.closed is not None
    assert (driver.closed.code, driver.closed.reason) == (1001, driver.errors()[0]["message"])


def test_output_audio_clear_is_for_webrtc_only() -> None:
    assert Driver().send("output_audio_buffer.clear")[0]["type"] == "error"


def test_the_same_seed_gives_the_same_session() -> None:
    def events() -> list[Event]:
        driver = Driver()
        driver.say("caller-hours")
        driver.wait(4)
        return driver.events

    assert events() == events()
