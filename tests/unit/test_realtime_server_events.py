"""The Realtime codec: what it reads, built with the types of OpenAI's own package, and what no server should send."""

import base64
import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import BaseModel
from openai.types import realtime as openai_types
from openai.types.realtime.realtime_response_status import Error as StatusError
from openai.types.realtime.realtime_response_status import RealtimeResponseStatus
from openai.types.realtime.realtime_response_usage import RealtimeResponseUsage

from trunkline_common.call_events import TranscriptionUsage, Usage
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.realtime_api import (
    decode,
    differences,
)

SESSION = 7

# What it reads


ITEM = openai_types.RealtimeConversationItemAssistantMessage(
    id="item_1", content=[], role="assistant", type="message", status="in_progress"
)
USAGE = RealtimeResponseUsage.model_validate(
    {
        "total_tokens": 205,
        "input_tokens": 41,
        "output_tokens": 164,
        "input_token_details": {
            "text_tokens": 14,
            "audio_tokens": 27,
            "image_tokens": 0,
            "cached_tokens": 8,
            "cached_tokens_details": {"text_tokens": 8, "audio_tokens": 0, "image_tokens": 0},
        },
        # The second generation adds the reasoning's tokens.
        "output_token_details": {"text_tokens": 28, "audio_tokens": 136, "reasoning_tokens": 9},
    }
)
SERVER_EVENTS: list[tuple[BaseModel, events.ModelEvent]] = [
    (
        openai_types.SessionCreatedEvent.model_validate(
            {
                "type": "session.created",
                "event_id": "event_1",
                "session": {"type": "realtime", "id": "sess_1"},
            }
        ),
        events.SessionCreated(SESSION, "sess_1"),
    ),
    (
        openai_types.RealtimeErrorEvent.model_validate(
            {
                "type": "error",
                "event_id": "event_1",
                "error": {
                    "type": "invalid_request_error",
                    "code": "unknown_parameter",
                    "message": "Unknown parameter: 'session.x'.",
                    "param": "session.x",
                    "event_id": "configure_1",
                },
            }
        ),
        events.ModelError(SESSION, "unknown_parameter", False, "configure_1", "session.x"),
    ),
    (
        openai_types.InputAudioBufferSpeechStartedEvent(
            type="input_audio_buffer.speech_started",
            event_id="event_1",
            audio_start_ms=1460,
            item_id="item_1",
        ),
        events.SpeechStarted(SESSION, "item_1", 1460),
    ),
    (
        openai_types.InputAudioBufferSpeechStoppedEvent(
            type="input_audio_buffer.speech_stopped", event_id="event_1", audio_end_ms=4256, item_id="item_1"
        ),
        events.SpeechStopped(SESSION, "item_1", 4256),
    ),
    (
        openai_types.InputAudioBufferTimeoutTriggered(
            type="input_audio_buffer.timeout_triggered",
            event_id="event_1",
            audio_start_ms=4256,
            audio_end_ms=10256,
            item_id="item_1",
        ),
        events.SilenceCommitted(SESSION, "item_1"),
    ),
    (
        openai_types.ConversationItemAdded(type="conversation.item.added", event_id="event_1", item=ITEM),
        events.ItemAdded(SESSION, "item_1", "assistant"),
    ),
    (
        openai_types.ConversationItemAdded(
            type="conversation.item.added",
            event_id="event_1",
            item=openai_types.RealtimeConversationItemFunctionCall(
                id="item_1", type="function_call", name="end_call", arguments="", call_id="call_1"
            ),
        ),
        events.ItemAdded(SESSION, "item_1", ""),
    ),
    (
        openai_types.ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(
            {
                "type": "conversation.item.input_audio_transcription.completed",
                "event_id": "event_1",
                "item_id": "item_1",
                "content_index": 0,
                "transcript": "Good morning.",
                "usage": {"type": "duration", "seconds": 3},
            }
        ),
        events.CallerText(
            SESSION, "item_1", "Good morning.", TranscriptionUsage(item_id="item_1", model="", seconds=3.0)
        ),
    ),
    (
        openai_types.ConversationItemInputAudioTranscriptionFailedEvent.model_validate(
            {
                "type": "conversation.item.input_audio_transcription.failed",
                "event_id": "event_1",
                "item_id": "item_1",
                "content_index": 0,
                "error": {
                    "type": "server_error",
                    "code": "DeploymentNotFound",
                    "message": "…",
                    "param": None,
                },
            }
        ),
        events.CallerText(SESSION, "item_1", None),
    ),
    (
        openai_types.ResponseCreatedEvent(
            type="response.created",
            event_id="event_1",
            response=openai_types.RealtimeResponse(id="resp_1", status="in_progress", output=[]),
        ),
        events.ResponseCreated(SESSION, "resp_1"),
    ),
    (
        openai_types.ResponseAudioDeltaEvent(
            type="response.output_audio.delta",
            event_id="event_1",
            response_id="resp_1",
            item_id="item_1",
            output_index=0,
            content_index=0,
            delta=base64.b64encode(b"\x01\x02\x03").decode(),
        ),
        events.AudioDelta(SESSION, "resp_1", "item_1", b"\x01\x02\x03"),
    ),
    (
        openai_types.ResponseAudioDoneEvent(
            type="response.output_audio.done",
            event_id="event_1",
            response_id="resp_1",
            item_id="item_1",
            output_index=0,
            content_index=0,
        ),
        events.AudioDone(SESSION, "resp_1", "item_1"),
    ),
    (
        openai_types.ResponseAudioTranscriptDeltaEvent(
            type="response.output_audio_transcript.delta",
            event_id="event_1",
            response_id="resp_1",
            item_id="item_1",
            output_index=0,
            content_index=0,
            delta="How ",
        ),
        events.SpokenText(SESSION, "item_1", "How ", final=False),
    ),
    (
        openai_types.ResponseAudioTranscriptDoneEvent(
            type="response.output_audio_transcript.done",
            event_id="event_1",
            response_id="resp_1",
            item_id="item_1",
            output_index=0,
            content_index=0,
            transcript="How can I help?",
        ),
        events.SpokenText(SESSION, "item_1", "How can I help?", final=True),
    ),
    (
        openai_types.ResponseDoneEvent(
            type="response.done",
            event_id="event_1",
            response=openai_types.RealtimeResponse(
                id="resp_1", status="completed", output=[ITEM], usage=USAGE
            ),
        ),
        events.ResponseDone(
            SESSION,
            "resp_1",
            "completed",
            "",
            Usage(
                response_id="resp_1",
                input_tokens=41,
                input_text_tokens=14,
                input_audio_tokens=27,
                cached_tokens=8,
                cached_text_tokens=8,
                output_tokens=164,
                output_text_tokens=28,
                output_audio_tokens=136,
                reasoning_tokens=9,
            ),
        ),
    ),
    (
        openai_types.RateLimitsUpdatedEvent.model_validate(
            {
                "type": "rate_limits.updated",
                "event_id": "event_1",
                "rate_limits": [
                    {"name": "tokens", "limit": 15_000_000, "remaining": 14_999_371, "reset_seconds": 0.002},
                    {"name": "requests"},
                ],
            }
        ),
        events.RateLimits(
            SESSION,
            (events.RateLimit("tokens", 15_000_000, 14_999_371),),
        ),
    ),
]


@pytest.mark.parametrize("exclude_unset", [True, False], ids=["as-it-is", "every-null-written"])
@pytest.mark.parametrize(("openai_event", "meant"), SERVER_EVENTS, ids=lambda event: type(event).__name__)
def test_server_events_mean_what_openais_types_say(
    openai_event: BaseModel, meant: events.ModelEvent, *, exclude_unset: bool
) -> None:
    assert decode(openai_event.model_dump_json(exclude_unset=exclude_unset), SESSION) == meant
    assert decode(openai_event.model_dump_json(exclude_unset=exclude_unset).encode(), SESSION) == meant


def test_the_configuration_comes_back_whole() -> None:
    session = Agent().session()
    data = json.dumps(
        {"type": "session.updated", "event_id": "event_1", "session": {**session, "tracing": None}}
    )

    event = decode(data, SESSION)

    assert isinstance(event, events.SessionConfigured)
    assert differences(session, event.echo) == []


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("cancelled", RealtimeResponseStatus(type="cancelled", reason="turn_detected"), "turn_detected"),
        ("incomplete", RealtimeResponseStatus(type="incomplete", reason="content_filter"), "content_filter"),
        (
            "failed",
            RealtimeResponseStatus(
                type="failed", error=StatusError(type="tokens", code="rate_limit_exceeded")
            ),
            "rate_limit_exceeded",
        ),
        ("failed", RealtimeResponseStatus(type="failed"), "failed"),
        ("completed", None, ""),
    ],
)
def test_how_a_response_ended(status: Any, details: RealtimeResponseStatus | None, reason: str) -> None:
    # There is no response.cancelled event: it is all in response.done.
    response = openai_types.RealtimeResponse(id="resp_1", status=status, status_details=details)
    done = openai_types.ResponseDoneEvent(type="response.done", event_id="event_1", response=response)

    assert decode(done.model_dump_json(), SESSION) == events.ResponseDone(
        SESSION, "resp_1", status, reason, None
    )


def test_server_events_that_mean_nothing_to_a_call_are_skipped() -> None:
    known = {openai_event.to_dict()["type"] for openai_event, _ in SERVER_EVENTS} | {
        "session.updated",
        # In test_realtime_items.py:
        *("response.function_call_arguments.done", "response.mcp_call.completed", "response.mcp_call.failed"),
    }
    every = {
        get_args(event_type.model_fields["type"].annotation)[0]
        for event_type in get_args(get_args(openai_types.RealtimeServerEvent)[0])
    }

    assert known < every
    for name in every - known:
        assert decode(json.dumps({"type": name, "event_id": "event_1"}), SESSION) is None


def test_event_types_that_nobody_knows_yet_are_skipped() -> None:
    assert decode(b'{"type":"response.hologram.delta","delta":{"x":[1,2]}}', SESSION) is None


# Bad input

MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"not json", id="not-json"),
    pytest.param(b"\xff\xfe\x00", id="binary"),
    pytest.param(b"[]", id="not-an-object"),
    pytest.param(b"{}", id="without-type"),
    pytest.param(b'{"type":7}', id="type-is-no-string"),
    pytest.param(b'{"type":"response.output_audio.delta"}', id="known-without-its-fields"),
    pytest.param(
        b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"AA"}',
        id="half-base64",
    ),
    pytest.param(
        b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"A\\u00e9AA"}',
        id="no-base64",
    ),
    pytest.param(
        b'{"type":"input_audio_buffer.speech_started","audio_start_ms":"1","item_id":"i"}', id="wrong-type"
    ),
    pytest.param(b'{"type":"response.done","response":null}', id="null-for-an-object"),
    pytest.param(b'{"type":"session.updated","session":' + b'{"a":' * 20_000, id="deep"),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_event_or_lacks_its_fields_is_an_error_of_the_model(data: bytes) -> None:
    assert decode(data, SESSION) == events.ModelError(SESSION, "malformed-event", fatal=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
SOME_TYPES = [openai_event.to_dict()["type"] for openai_event, _ in SERVER_EVENTS]
FIELDS = [
    "session",
    "error",
    "item",
    "response",
    "delta",
    "item_id",
    "response_id",
    "audio_start_ms",
    "transcript",
    "usage",
    "rate_limits",
]


@given(name=st.sampled_from(SOME_TYPES), fields=st.dictionaries(st.sampled_from(FIELDS), JSON))
@settings(max_examples=300, deadline=None, database=None)
def test_a_known_event_with_any_fields_breaks_nothing(name: object, fields: dict[str, Any]) -> None:
    decode(json.dumps({"type": name, **fields}), SESSION)


@given(data=st.binary(max_size=60))
@settings(max_examples=200, deadline=None, database=None)
def test_any_bytes_break_nothing(data: bytes) -> None:
    decode(data, SESSION)
