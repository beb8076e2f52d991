"""The Realtime codec: what the worker sends against the types of OpenAI's own package; the echo."""

import base64
import json
from typing import get_args

import pytest
from openai import BaseModel
from openai.types import realtime as openai_types
from pydantic import TypeAdapter

from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.realtime_api import differences, encode

# What the worker sends


CLIENT_EVENTS: list[commands.ClientEvent] = [
    commands.AppendAudio(b"\x7f\xff\x00" * 160),
    commands.CreateResponse("greet_1", "You are Robin.\n\nSay hello."),
    commands.CreateResponse("resume_2"),
    commands.CancelResponse("cancel_3", "resp_1"),
    commands.TruncateItem("truncate_4", "item_1", 1_240),
    commands.DeleteItem("delete_5", "item_1"),
    commands.SetTurnDetection("listen_6", Agent().session()["audio"]["input"]["turn_detection"]),
    commands.CreateMessage("item_7", "item_1", "user", "When are you open?"),
    commands.CreateMessage("item_8", "item_2", "assistant", "On Saturdays", "item_1"),
    commands.CreateMessage("item_9", "note_1", "system", "The caller pressed 1.", "root"),
    commands.CreateCallerAudio("item_10", "item_3", b"\x7f" * 160),
    commands.CreateFunctionCall("item_11", "item_4", "call_1", "book", '{"day": "Saturday"}'),
    commands.CreateFunctionOutput("item_12", "out_item_4", "call_1", "booked"),
    commands.ConfigureSession("configure_2", Agent().session(deaf=True)),
    *(
        commands.ConfigureSession("configure_1", Agent(model=model, audio_path=audio_path).session())
        for model in ("gpt-realtime-2.1", "gpt-realtime-1.5")
        for audio_path in get_args(events.AudioPath)
    ),
]


@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=lambda event: type(event).__name__)
def test_every_client_event_is_one_of_openais(event: commands.ClientEvent) -> None:
    sent = json.loads(encode(event))

    parsed: BaseModel = TypeAdapter(openai_types.RealtimeClientEvent).validate_python(sent)

    assert parsed.model_dump(exclude_unset=True) == sent
    assert unknown_fields(parsed) == []


def test_the_check_above_sees_an_unknown_field() -> None:
    session = Agent().session()
    session["audio"]["input"]["turn_detection"]["eagernes"] = "low"
    sent = json.loads(encode(commands.ConfigureSession("configure_1", session)))

    parsed: BaseModel = TypeAdapter(openai_types.RealtimeClientEvent).validate_python(sent)

    assert unknown_fields(parsed) == ["session.audio.input.turn_detection.eagernes"]


def test_the_session_is_a_realtime_session_and_not_a_transcription_session() -> None:
    sent = json.loads(encode(commands.ConfigureSession("configure_1", Agent().session())))

    parsed = openai_types.SessionUpdateEvent.model_validate(sent)

    assert isinstance(parsed.session, openai_types.RealtimeSessionCreateRequest)


def test_audio_is_base64() -> None:
    audio = bytes(range(256))

    sent = json.loads(encode(commands.AppendAudio(audio)))

    assert base64.b64decode(sent["audio"], validate=True) == audio


def test_event_ids_are_short_enough() -> None:
    assert all(len(json.loads(encode(event)).get("event_id", "")) <= 512 for event in CLIENT_EVENTS)


@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=lambda event: type(event).__name__)
def test_nothing_of_the_beta_shape_is_sent(event: commands.ClientEvent) -> None:
    # One such word closes the session with 4000, or is answered with silence.
    sent = encode(event).decode()

    for word in (
        "input_audio_format",
        'modalities":["text',
        "g711_ulaw",
        "pcm16",
        "temperature",
        "response.audio.",
    ):
        assert word not in sent


# The echo of the configuration


def test_what_the_echo_adds_is_no_difference() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 1.0, "c": None}, "d": 2}) == []


def test_what_the_echo_changed_or_left_out_is_named() -> None:
    asked = {"voice": "marin", "audio": {"rate": 24_000, "format": {"type": "audio/pcm"}}, "tools": []}
    echoed = {"voice": "alloy", "audio": {"format": None}, "tools": []}

    assert differences(asked, echoed) == ["session.voice", "session.audio.rate", "session.audio.format"]


def unknown_fields(value: object, path: str = "") -> list[str]:
    """Return the paths of what openai's types do not name; they accept anything."""
    if isinstance(value, BaseModel):
        unknown = [f"{path}{name}" for name in value.model_extra or {}]
        return unknown + [
            found
            for name in value.model_fields_set
            for found in unknown_fields(getattr(value, name), f"{path}{name}.")
        ]
    if isinstance(value, list):
        return [found for inner in value for found in unknown_fields(inner, path)]
    return []
