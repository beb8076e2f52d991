"""What a session's settings are at first, and how updates change them or change nothing."""

from typing import Any

import pytest
from sim_openai_driver import CREATED_AT_UNIX_S, Driver

from trunkline_simulators.openai_configuration import is_known_model


def update(driver: Driver, **session: Any) -> dict[str, Any]:
    """Send an update and return the one event that answers it."""
    (answer,) = driver.send("session.update", event_id="cfg", session={"type": "realtime"} | session)
    return answer


@pytest.mark.parametrize(
    ("model", "voice", "silence_duration_ms"),
    [
        ("gpt-realtime", "alloy", 200),
        ("gpt-realtime-2025-08-28", "alloy", 200),
        ("gpt-realtime-2.1", "marin", 500),
        ("gpt-realtime-2.1-mini", "marin", 500),
    ],
)
def test_session_created_shows_the_defaults_of_the_model(
    model: str, voice: str, silence_duration_ms: int
) -> None:
    driver = Driver(model=model)

    session = driver.one("session.created")["session"]

    assert session["model"] == model
    assert session["audio"]["output"]["voice"] == voice
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == silence_duration_ms
    assert session["audio"]["input"]["transcription"] is None
    assert session["expires_at"] == CREATED_AT_UNIX_S + 3600
    assert session["id"].startswith("sess_")
    assert len(session["id"]) == len("sess_") + 21


def test_an_update_is_answered_with_the_full_session() -> None:
    driver = Driver()

    answer = update(driver, instructions="Be brief.")

    created = driver.one("session.created")["session"]
    assert answer["type"] == "session.updated"
    assert answer["session"] == created | {"instructions": "Be brief."}
    assert len(answer["session"]) == 15


def test_only_the_fields_of_an_update_change() -> None:
    driver = Driver()
    update(driver, audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}})

    answer = update(
        driver, audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 200}}}
    )

    turn_detection = answer["session"]["audio"]["input"]["turn_detection"]
    assert (turn_detection["threshold"], turn_detection["prefix_padding_ms"]) == (0.7, 200)
    assert turn_detection["silence_duration_ms"] == 500


def test_empty_and_null_clear() -> None:
    driver = Driver()
    update(driver, instructions="Be brief.", tools=[{"type": "function", "name": "end_call"}])

    answer = update(driver, instructions="", tools=[], audio={"input": {"turn_detection": None}})

    assert answer["session"]["instructions"] == ""
    assert answer["session"]["tools"] == []
    assert answer["session"]["audio"]["input"]["turn_detection"] is None


def test_transcription_and_semantic_vad_are_echoed_with_their_defaults() -> None:
    driver = Driver()

    answer = update(
        driver,
        audio={
            "input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "semantic_vad"}}
        },
    )

    input_settings = answer["session"]["audio"]["input"]
    assert input_settings["transcription"] == {"model": "whisper-1", "language": None, "prompt": None}
    assert input_settings["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_one_unknown_field_rejects_the_whole_update() -> None:
    driver = Driver()

    answer = update(driver, instructions="Be brief.", temperature=0.8)

    assert answer["error"] == {
        "type": "invalid_request_error",
        "code": "unknown_parameter",
        "message": "Unknown parameter: 'session.temperature'.",
        "param": "session.temperature",
        "event_id": "cfg",
    }
    assert update(driver)["session"]["instructions"] != "Be brief."


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"model": "gpt-realtime"}, "session.model"),
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"output_modalities": []}, "session.output_modalities"),
        (
            {"audio": {"input": {"transcription": {"model": "gpt-realtime-whisper", "prompt": "dental"}}}},
            "session.audio.input.transcription.prompt",
        ),
        (
            {"audio": {"input": {"transcription": {"model": "whisper-1", "delay": "low"}}}},
            "session.audio.input.transcription.delay",
        ),
        (
            {"audio": {"input": {"transcription": {"model": "whisper-1", "keywords": ["x ray"]}}}},
            "session.audio.input.transcription.keywords",
        ),
    ],
)
def test_what_contradicts_the_session_rejects_the_whole_update(session: dict[str, Any], param: str) -> None:
    driver = Driver()

    answer = update(driver, instructions="Be brief.", **session)

    assert answer["error"]["param"] == param
    assert update(driver)["session"]["instructions"] != "Be brief."


@pytest.mark.parametrize("field", [{"reasoning": {"effort": "low"}}, {"parallel_tool_calls": True}])
def test_reasoning_is_for_2_x_models_only(field: dict[str, Any]) -> None:
    assert update(Driver(model="gpt-realtime-1.5"), **field)["error"]["code"] == "unsupported_parameter"
    assert update(Driver(model="gpt-realtime-2.1"), **field)["type"] == "session.updated"


def test_a_transcription_update_is_refused() -> None:
    driver = Driver()

    (by_type,) = driver.send("session.update", session={"type": "transcription", "audio": {}})
    (by_event,) = driver.send("transcription_session.update", session={})

    message = "Passing a transcription session update event to a realtime session is not allowed."
    assert by_type["error"]["message"] == by_event["error"]["message"] == message


def test_tracing_stays_once_it_is_on() -> None:
    driver = Driver()
    update(driver, tracing="auto")

    assert update(driver, tracing="auto")["type"] == "session.updated"
    assert update(driver, tracing=None)["error"]["param"] == "session.tracing"


def test_the_voice_is_locked_after_the_first_audio() -> None:
    driver = Driver()
    assert update(driver, audio={"output": {"voice": "cedar"}})["type"] == "session.updated"
    driver.send("response.create")
    driver.wait(0.4)

    same = update(driver, audio={"output": {"voice": "cedar"}})
    other = update(driver, instructions="Be brief.", audio={"output": {"voice": "marin"}})

    assert same["type"] == "session.updated"
    assert other["error"]["code"] == "cannot_update_voice"
    assert other["error"]["message"] == (
        "Cannot update a conversation's voice if assistant audio is present."
    )
    assert update(driver)["session"]["instructions"] != "Be brief."


def test_speed_changes_only_between_responses() -> None:
    driver = Driver()
    driver.send("response.create")

    assert update(driver, audio={"output": {"speed": 1.2}})["error"]["param"] == "session.audio.output.speed"

    driver.wait(5)
    assert update(driver, audio={"output": {"speed": 1.2}})["type"] == "session.updated"


def test_models_that_were_shut_down_are_not_known() -> None:
    assert is_known_model("gpt-realtime-2.1-mini")
    assert not is_known_model("gpt-4o-realtime-preview-2024-12-17")
    assert not is_known_model("gpt-4o-mini-realtime-preview")
    assert not is_known_model("gpt-realtime-mini-2025-10-06")
    assert not is_known_model("gpt-5")
