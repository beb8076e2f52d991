"""The simulator's older shape: strict about names, and translated at the edge without a loss."""

import json
from typing import Any

import pytest
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from sim_openai_driver import Driver
from unit.test_realtime_api import unknown_fields

from trunkline_simulators.openai_beta import parse_client_event, server_event
from trunkline_simulators.openai_rejection import Rejection

FLAT = {
    "modalities": ["audio", "text"],
    "instructions": "Be brief.",
    "voice": "alloy",
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_ulaw",
    "input_audio_transcription": {"model": "whisper-1"},
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "create_response": True},
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
}


def update(**session: Any) -> str:
    return json.dumps({"type": "session.update", "event_id": "configure_1", "session": session})


def test_the_session_that_clients_of_old_send_is_taken_and_echoed() -> None:
    driver = Driver(parse=parse_client_event)

    driver.send_frame(update(**FLAT))

    echo = server_event(driver.one("session.updated"))
    assert echo is not None
    assert {name: part_of(echo["session"][name], asked) for name, asked in FLAT.items()} == FLAT


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime"}, "unknown_parameter", "session.type"),
        ({"audio": {"input": {}}}, "unknown_parameter", "session.audio"),
        ({"output_modalities": ["audio"]}, "unknown_parameter", "session.output_modalities"),
        ({"truncation": "auto"}, "unknown_parameter", "session.truncation"),
        ({"modalities": ["audio"]}, "invalid_value", "session.modalities"),
        ({"input_audio_format": "audio/pcmu"}, "invalid_value", "session.input_audio_format"),
        ({"temperature": 0.2}, "decimal_below_min_value", "session.temperature"),
        (
            {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6_000}},
            "unknown_parameter",
            "session.turn_detection.idle_timeout_ms",
        ),
    ],
)
def test_names_of_ga_and_wrong_values_are_refused(session: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_client_event(update(**session))

    assert (caught.value.code, caught.value.param, caught.value.event_id) == (code, param, "configure_1")


def test_content_of_ga_is_refused() -> None:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}

    with pytest.raises(Rejection, match="'output_text'"):
        parse_client_event(json.dumps({"type": "conversation.item.create", "item": item}))


def test_a_refusal_from_inside_names_the_flat_field() -> None:
    driver = Driver(parse=parse_client_event)
    driver.send("response.create")
    driver.wait(1)

    driver.send_frame(update(speed=1.4))

    error = server_event(driver.one("error"))
    assert error is not None
    assert error["error"]["param"] == "session.speed"


def test_a_talk_is_one_of_the_older_api() -> None:
    driver = Driver(parse=parse_client_event, model="gpt-realtime")
    driver.send_frame(update(input_audio_transcription={"model": "whisper-1"}))
    driver.send("response.create", response={"modalities": ["audio", "text"], "instructions": "Greet."})
    driver.wait(10)
    driver.say("caller-hours")
    driver.wait(10)

    sent = [shown for event in driver.events if (shown := server_event(event)) is not None]

    kinds = {event["type"] for event in sent}
    assert {"conversation.item.created", "response.audio.delta", "response.audio_transcript.done"} <= kinds
    assert not [
        kind for kind in kinds if "output_audio." in kind or kind.startswith("conversation.item.done")
    ]
    assert driver.errors() == []
    for event in sent:
        if event["type"] not in {"response.done", "rate_limits.updated"}:
            parsed = TypeAdapter(RealtimeServerEvent).validate_python(event)
            assert parsed.type == event["type"]
    done = next(event for event in sent if event["type"] == "response.done")
    # Its usage has grown since; readers take what they know.
    del done["response"]["usage"]
    assert done["response"]["output"][0]["content"][0]["type"] == "audio"
    assert unknown_fields(TypeAdapter(RealtimeServerEvent).validate_python(done)) == []


def part_of(echoed: Any, asked: Any) -> Any:
    """Return of an echoed value what was asked about; the order of modalities means nothing."""
    if isinstance(asked, dict):
        return {name: echoed[name] for name in asked}
    return sorted(echoed) if isinstance(asked, list) else echoed
