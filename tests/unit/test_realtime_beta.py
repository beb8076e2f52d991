"""The older shape of the Realtime wire: what is sent and read, by the beta types of OpenAI's own package."""

import json
from typing import Any

import pytest
from openai import BaseModel
from openai.types.beta import realtime as beta_types
from pydantic import TypeAdapter
from unit.test_realtime_api import CLIENT_EVENTS, unknown_fields

from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.realtime_api import NOT_TOLD, differences
from trunkline_worker.realtime_beta import EVENT_NAMES, UNSAYABLE, decode, encode, left_out

SESSION = 7


@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=lambda event: type(event).__name__)
def test_every_client_event_is_one_of_the_older_api(event: commands.ClientEvent) -> None:
    sent = json.loads(encode(event))

    parsed: BaseModel = TypeAdapter(beta_types.RealtimeClientEvent).validate_python(sent)

    assert parsed.to_dict(mode="json")["type"] == sent["type"]
    assert unknown_fields(parsed) == []


def test_the_session_is_flat() -> None:
    sent = json.loads(encode(commands.ConfigureSession("configure_1", Agent(audio_path="pcmu").session())))

    session = sent["session"]
    assert session.keys() & {"type", "audio", "output_modalities", "max_output_tokens"} == set()
    assert session["modalities"] == ["audio", "text"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("g711_ulaw", "g711_ulaw")
    assert session["turn_detection"]["type"] == "server_vad"
    assert session["input_audio_noise_reduction"] == {"type": "far_field"}


def test_a_partial_session_stays_partial() -> None:
    partial = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}

    sent = json.loads(encode(commands.ConfigureSession("configure_2", partial)))

    assert sent["session"] == {"turn_detection": None}


def test_what_cannot_be_said_is_named_and_not_sent() -> None:
    session = Agent().session()
    session["audio"]["input"]["turn_detection"]["idle_timeout_ms"] = 6_000
    session["tools"] = [{"type": "mcp", "server_label": "desk"}, {"type": "function", "name": "book"}]

    sent = json.loads(encode(commands.ConfigureSession("configure_1", session)))["session"]

    assert left_out(session) == [
        "session.truncation",
        "session.reasoning",
        "session.audio.input.turn_detection.idle_timeout_ms",
        "session.tools (of MCP servers)",
    ]
    assert "idle_timeout_ms" not in sent["turn_detection"]
    assert [tool["name"] for tool in sent["tools"]] == ["book"]


def test_what_cannot_be_said_does_not_differ() -> None:
    asked = Agent().session()
    flat = json.loads(encode(commands.ConfigureSession("configure_1", asked)))["session"]

    event = decode(json.dumps({"type": "session.updated", "session": flat}), SESSION)

    assert isinstance(event, events.SessionConfigured)
    assert event.echo["truncation"] is NOT_TOLD
    assert differences(asked, event.echo) == []


def test_what_the_server_changed_differs() -> None:
    asked = Agent().session()
    flat = json.loads(encode(commands.ConfigureSession("configure_1", asked)))["session"]
    flat |= {"voice": "alloy", "input_audio_format": "opus"}

    event = decode(json.dumps({"type": "session.updated", "session": flat}), SESSION)

    assert isinstance(event, events.SessionConfigured)
    assert differences(asked, event.echo) == [
        "session.audio.input.format",
        "session.audio.output.voice",
    ]


AUDIO: dict[str, Any] = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}


@pytest.mark.parametrize(
    ("openai_event", "meant"),
    [
        (
            beta_types.ResponseAudioDeltaEvent(
                type="response.audio.delta", event_id="event_1", delta="AQID", **AUDIO
            ),
            events.AudioDelta(SESSION, "resp_1", "item_1", b"\x01\x02\x03"),
        ),
        (
            beta_types.ResponseAudioDoneEvent(type="response.audio.done", event_id="event_1", **AUDIO),
            events.AudioDone(SESSION, "resp_1", "item_1"),
        ),
        (
            beta_types.ResponseAudioTranscriptDoneEvent(
                type="response.audio_transcript.done", event_id="event_1", transcript="Hello.", **AUDIO
            ),
            events.SpokenText(SESSION, "item_1", "Hello.", final=True),
        ),
        (
            beta_types.ConversationItemCreatedEvent(
                type="conversation.item.created",
                event_id="event_1",
                item=beta_types.ConversationItem(id="item_1", role="assistant", type="message"),
            ),
            events.ItemAdded(SESSION, "item_1", "assistant"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_older_names_mean_what_ga_means(openai_event: BaseModel, meant: events.ModelEvent) -> None:
    assert decode(openai_event.to_json(), SESSION) == meant


def test_names_of_ga_mean_nothing_here() -> None:
    for name in EVENT_NAMES:
        assert decode(json.dumps({"type": name}), SESSION) is None


def test_a_known_event_without_its_fields_is_an_error_of_the_model() -> None:
    event = decode(b'{"type":"response.audio.delta"}', SESSION)

    assert event == events.ModelError(SESSION, "malformed-event", fatal=False)


def test_every_setting_of_an_agent_can_be_said_or_is_listed() -> None:
    # A new field of the session has to be put into one of the two tables.
    session = Agent().session()
    flat = json.loads(encode(commands.ConfigureSession("configure_1", session)))["session"]
    echo = decode(json.dumps({"type": "session.updated", "session": flat}), SESSION)

    assert isinstance(echo, events.SessionConfigured)
    assert set(session) <= set(echo.echo) | {path[0] for path in UNSAYABLE}
