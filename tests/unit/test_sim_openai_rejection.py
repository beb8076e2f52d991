"""What the simulated Realtime API refuses, in the vendor's words."""

import json
from typing import Any

import pytest

from trunkline_simulators.openai_rejection import Rejection, parse_client_event
from trunkline_simulators.openai_schema import AudioAppend, ResponseCreate, SessionUpdate


def refusal_of(frame: str | bytes | dict[str, Any]) -> Rejection:
    with pytest.raises(Rejection) as caught:
        parse_client_event(json.dumps(frame) if isinstance(frame, dict) else frame)
    return caught.value


def refusal_of_session(session: dict[str, Any]) -> Rejection:
    return refusal_of({"type": "session.update", "session": {"type": "realtime"} | session})


def test_a_full_session_update_is_accepted() -> None:
    event = parse_client_event(
        json.dumps(
            {
                "event_id": "cfg_1",
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "output_modalities": ["audio"],
                    "instructions": "Be brief.",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "noise_reduction": {"type": "far_field"},
                            "transcription": {"model": "gpt-realtime-whisper", "language": "en"},
                            "turn_detection": {
                                "type": "server_vad",
                                "threshold": 0.5,
                                "prefix_padding_ms": 300,
                                "silence_duration_ms": 500,
                                "idle_timeout_ms": None,
                                "create_response": True,
                                "interrupt_response": True,
                            },
                        },
                        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.0},
                    },
                    "tools": [{"type": "function", "name": "end_call", "parameters": {"type": "object"}}],
                    "tool_choice": "auto",
                    "max_output_tokens": 1200,
                    "truncation": {
                        "type": "retention_ratio",
                        "retention_ratio": 0.8,
                        "token_limits": {"post_instructions": 8000},
                    },
                    "tracing": None,
                },
            }
        )
    )

    assert isinstance(event, SessionUpdate)
    assert event.event_id == "cfg_1"


def test_small_events_are_accepted() -> None:
    append = parse_client_event('{"type": "input_audio_buffer.append", "audio": "AAAA"}')
    create = parse_client_event('{"type": "response.create", "event_id": "r1"}')

    assert isinstance(append, AudioAppend)
    assert isinstance(create, ResponseCreate)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("hello", "The message is not valid JSON."),
        (b"\x00\x01", "Binary messages are not supported. Send JSON text."),
        ("[]", "The message is not a JSON object."),
        ("{}", "The 'type' field is missing."),
    ],
)
def test_what_is_no_event_at_all(frame: str | bytes, message: str) -> None:
    refusal = refusal_of(frame)

    assert (refusal.code, refusal.message) == ("invalid_event", message)


def test_an_unknown_event_type_is_answered_with_the_known_ones() -> None:
    refusal = refusal_of({"type": "session.destroy", "event_id": "e1"})

    assert (refusal.code, refusal.param, refusal.event_id) == ("invalid_value", "type", "e1")
    assert refusal.message.startswith(
        "Invalid value: 'session.destroy'. Supported values are: 'session.update', "
    )
    assert refusal.message.endswith(", 'session.close', and 'transcription_session.update'.")


def test_the_session_type_is_required_on_every_update() -> None:
    refusal = refusal_of({"type": "session.update", "session": {"instructions": "Be brief."}})

    assert (refusal.code, refusal.param) == ("missing_required_parameter", "session.type")
    assert refusal.message == "Missing required parameter: 'session.type'."


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"temperature": 0.8}, "session.temperature"),
        ({"modalities": ["audio"]}, "session.modalities"),
        ({"voice": "marin"}, "session.voice"),
        ({"input_audio_format": "g711_ulaw"}, "session.input_audio_format"),
        ({"turn_detection": None}, "session.turn_detection"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "session.tools[0].function"),
    ],
)
def test_unknown_parameters_among_them_those_of_the_beta(session: dict[str, Any], param: str) -> None:
    refusal = refusal_of_session(session)

    assert (refusal.code, refusal.param) == ("unknown_parameter", param)
    assert refusal.message == f"Unknown parameter: '{param}'."


def test_pcm_needs_its_rate() -> None:
    refusal = refusal_of_session({"audio": {"output": {"format": {"type": "audio/pcm"}}}})

    assert (refusal.code, refusal.param) == ("missing_required_parameter", "session.audio.output.format.rate")


def test_pcm_is_24_khz() -> None:
    refusal = refusal_of_session({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}})

    assert refusal.code == "integer_below_min_value"
    assert refusal.message == (
        "Invalid 'session.audio.input.format.rate': integer below minimum value."
        " Expected a value >= 24000, but got 16000 instead."
    )


@pytest.mark.parametrize(
    ("turn_detection", "code"),
    [
        ({"type": "server_vad", "threshold": 1.5}, "decimal_above_max_value"),
        ({"type": "server_vad", "threshold": -0.1}, "decimal_below_min_value"),
        ({"type": "server_vad", "idle_timeout_ms": 4_999}, "integer_below_min_value"),
        ({"type": "server_vad", "idle_timeout_ms": 30_001}, "integer_above_max_value"),
        ({"type": "server_vad", "silence_duration_ms": "500"}, "invalid_type"),
        ({"type": "semantic_vad", "eagerness": "eager"}, "invalid_value"),
        ({"type": "vad"}, "invalid_value"),
    ],
)
def test_turn_detection_out_of_range(turn_detection: dict[str, Any], code: str) -> None:
    refusal = refusal_of_session({"audio": {"input": {"turn_detection": turn_detection}}})

    assert refusal.code == code


def test_a_wrong_choice_is_answered_with_the_right_ones() -> None:
    refusal = refusal_of_session({"audio": {"input": {"noise_reduction": {"type": "strong"}}}})

    assert refusal.code == "invalid_value"
    assert refusal.message == "Invalid value: 'strong'. Supported values are: 'far_field' and 'near_field'."


def test_a_wrong_type_is_named() -> None:
    refusal = refusal_of_session({"instructions": 4})

    assert refusal.code == "invalid_type"
    assert refusal.message == (
        "Invalid type for 'session.instructions': expected a string, but got an integer instead."
    )


@pytest.mark.parametrize("tokens", [0, 4097])
def test_max_output_tokens_is_1_to_4096_or_inf(tokens: int) -> None:
    refusal = refusal_of_session({"max_output_tokens": tokens})

    assert refusal.param == "session.max_output_tokens"
    assert refusal.code in {"integer_below_min_value", "integer_above_max_value"}


def test_item_ids_have_at_most_32_characters() -> None:
    item = {"type": "message", "role": "user", "id": "x" * 33, "content": []}

    refusal = refusal_of({"type": "conversation.item.create", "item": item})

    assert (refusal.code, refusal.param) == ("string_above_max_length", "item.id")


def test_event_ids_have_at_most_512_characters() -> None:
    refusal = refusal_of({"type": "response.create", "event_id": "x" * 513})

    assert (refusal.code, refusal.param) == ("string_above_max_length", "event_id")


@pytest.mark.parametrize(
    "metadata", [{"x" * 65: "y"}, {"x": "y" * 513}, {str(number): "y" for number in range(17)}]
)
def test_metadata_is_limited(metadata: dict[str, str]) -> None:
    refusal = refusal_of({"type": "response.create", "response": {"metadata": metadata}})

    assert refusal.param is not None
    assert refusal.param.startswith("response.metadata")
