"""Pure: the OpenAI Realtime wire to our events, and what we tell the model to the wire, in the GA shape.

Event names and shapes are those of OpenAI's Realtime API reference. Unknown event types are counted and
skipped, because new ones appear without notice; a known one that does not parse is an error of the model's
side and is reported as `malformed-event`.
"""

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Union, get_args

import msgspec

from trunkline_worker import commands, events, realtime_items, realtime_usage
from trunkline_worker.realtime_refusals import FATAL_CODES, SESSION_OVER_CODES
from trunkline_worker.realtime_usage import WireRateLimit
from trunkline_worker.response_gate import retry_after_s

HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
"""What this shape adds to the upgrade request."""


_NO_USAGE: Final = msgspec.Raw(b"null")


class _Wire(msgspec.Struct, tag_field="type"):
    """Base of the server events below; fields that we do not need are not named."""


class _Error(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class _SessionBody(msgspec.Struct):
    id: str = ""


class _SessionCreated(_Wire, tag="session.created"):
    session: _SessionBody


class _SessionUpdated(_Wire, tag="session.updated"):
    session: dict[str, Any]


class _ErrorEvent(_Wire, tag="error"):
    error: _Error


class _SpeechStarted(_Wire, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class _SpeechStopped(_Wire, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class _TimeoutTriggered(_Wire, tag="input_audio_buffer.timeout_triggered"):
    item_id: str


class _Item(msgspec.Struct):
    id: str
    role: str | None = None


class _ItemAdded(_Wire, tag="conversation.item.added"):
    item: _Item


class _TranscriptionCompleted(_Wire, tag="conversation.item.input_audio_transcription.completed"):
    item_id: str
    transcript: str | None = ""
    usage: msgspec.Raw = _NO_USAGE


class _TranscriptionFailed(_Wire, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str


class _StatusDetails(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    error: _Error | None = None


class _Response(msgspec.Struct):
    id: str
    output: list[realtime_items.OutputItem] | None = None
    status: str | None = None
    status_details: _StatusDetails | None = None
    usage: msgspec.Raw = _NO_USAGE


class _ResponseCreated(_Wire, tag="response.created"):
    response: _Response


class _ResponseDone(_Wire, tag="response.done"):
    response: _Response


class _ArgumentsDone(_Wire, tag="response.function_call_arguments.done"):
    response_id: str
    item_id: str
    call_id: str
    arguments: str
    name: str = ""  # without it, the call waits for the end of its response


class _McpCallCompleted(_Wire, tag="response.mcp_call.completed"):
    item_id: str


class _McpCallFailed(_Wire, tag="response.mcp_call.failed"):
    item_id: str


class _RateLimitsUpdated(_Wire, tag="rate_limits.updated"):
    rate_limits: list[WireRateLimit] | None = None


class _AudioDelta(_Wire, tag="response.output_audio.delta"):
    response_id: str
    item_id: str
    delta: str


class _AudioDone(_Wire, tag="response.output_audio.done"):
    response_id: str
    item_id: str


class _TranscriptDelta(_Wire, tag="response.output_audio_transcript.delta"):
    item_id: str
    delta: str


class _TranscriptDone(_Wire, tag="response.output_audio_transcript.done"):
    item_id: str
    transcript: str


_Known = (
    _AudioDelta
    | _TranscriptDelta
    | _AudioDone
    | _TranscriptDone
    | _SessionCreated
    | _SessionUpdated
    | _ErrorEvent
    | _SpeechStarted
    | _SpeechStopped
    | _TimeoutTriggered
    | _ItemAdded
    | _TranscriptionCompleted
    | _TranscriptionFailed
    | _ResponseCreated
    | _ResponseDone
    | _ArgumentsDone
    | _McpCallCompleted
    | _McpCallFailed
    | _RateLimitsUpdated
)


class _TypeOnly(msgspec.Struct):
    type: str = ""


_type_decoder: Final = msgspec.json.Decoder(_TypeOnly)


class Reader:
    """Decodes server events under the names that one dialect has for them: `names` maps GA's to its own."""

    def __init__(self, names: Mapping[str, str]) -> None:
        wires = [_renamed(wire, names) for wire in get_args(_Known)]
        self._decoder: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(Union[tuple(wires)])  # noqa: UP007 - made at run time
        self._not_events = {wire.__struct_config__.tag for wire in wires} | {""}

    def decode(self, data: str | bytes, session: int) -> events.ModelEvent | None:
        """Return what a server event means, or None for one that means nothing to a call.

        A message that is no event at all, or a known event without its fields, becomes a `ModelError`.
        """
        try:
            return _meaning(self._decoder.decode(data), session)
        except (ValueError, RecursionError):
            # Everything that msgspec and base64 raise, whatever a hostile or broken server sent.
            if event_type(data) in self._not_events:
                return events.ModelError(session, "malformed-event", fatal=False)
            return None


def _renamed(wire: type[_Wire], names: Mapping[str, str]) -> type[msgspec.Struct]:
    tag = str(wire.__struct_config__.tag)
    if tag not in names:
        return wire
    return msgspec.defstruct(wire.__name__, [], bases=(wire,), tag_field="type", tag=names[tag])


_reader: Final = Reader({})


def decode(data: str | bytes, session: int) -> events.ModelEvent | None:
    """Return what a server event in GA's shape means, see `Reader.decode`."""
    return _reader.decode(data, session)


def event_type(data: str | bytes) -> str:
    """Return the `type` of an event, or an empty string when it is none."""
    try:
        return _type_decoder.decode(data).type
    except (ValueError, RecursionError):
        return ""


def _meaning(wire: _Known, session: int) -> events.ModelEvent | None:
    match wire:
        case _AudioDelta(response_id, item_id, delta):
            audio = base64.b64decode(delta, validate=True)
            return events.AudioDelta(session, response_id, item_id, audio)
        case _TranscriptDelta(item_id, delta):
            return events.SpokenText(session, item_id, delta, final=False)
        case _TranscriptDone(item_id, transcript):
            return events.SpokenText(session, item_id, transcript, final=True)
        case _AudioDone(response_id, item_id):
            return events.AudioDone(session, response_id, item_id)
        case _SpeechStarted(audio_start_ms, item_id):
            return events.SpeechStarted(session, item_id, audio_start_ms)
        case _SpeechStopped(audio_end_ms, item_id):
            return events.SpeechStopped(session, item_id, audio_end_ms)
        case _TimeoutTriggered(item_id):
            return events.SilenceCommitted(session, item_id)
        case _ItemAdded(item):
            return events.ItemAdded(session, item.id, item.role or "")
        case _TranscriptionCompleted(item_id, transcript, usage):
            counted = realtime_usage.of_transcription(item_id, usage)
            return events.CallerText(session, item_id, transcript, counted)
        case _TranscriptionFailed(item_id):
            return events.CallerText(session, item_id, None)
        case _ResponseCreated(response):
            return events.ResponseCreated(session, response.id)
        case _ResponseDone(response):
            return _response_done(response, session)
        case _ArgumentsDone(response_id, item_id, tool_call_id, arguments, name):
            called = (session, response_id, item_id, tool_call_id, name, arguments)
            return events.ToolCalled(*called) if name else None
        case _McpCallCompleted(item_id) | _McpCallFailed(item_id):
            return events.McpCallEnded(session, item_id)
        case _RateLimitsUpdated(rate_limits):
            return _rate_limits(rate_limits, session)
        case _SessionCreated(body):
            return events.SessionCreated(session, body.id)
        case _SessionUpdated(echo):
            return events.SessionConfigured(session, echo)
        case _ErrorEvent(error):
            return _error(error, session)


def _response_done(response: _Response, session: int) -> events.ResponseDone:
    details = response.status_details
    reason = ""
    if details is not None:
        error = details.error or _Error()
        reason = details.reason or error.code or error.type or details.type or ""
    message = details.error.message if details is not None and details.error is not None else None
    return events.ResponseDone(
        session,
        response.id,
        response.status or "",
        reason,
        realtime_usage.of_response(response.id, response.usage),
        retry_after_s(message or ""),
        realtime_items.tool_calls(response.output or [], session, response.id),
    )


def _rate_limits(rate_limits: list[WireRateLimit] | None, session: int) -> events.RateLimits:
    return events.RateLimits(
        session,
        tuple(
            events.RateLimit(realtime_usage.limit_name(told.name), told.limit, told.remaining)
            for told in rate_limits or ()
            if told.limit is not None and told.remaining is not None
        ),
    )


def _error(error: _Error, session: int) -> events.ModelEvent:
    code = error.code or error.type or "unknown"
    if code in SESSION_OVER_CODES:
        return events.SessionLost(session, code, fatal=False)
    return events.ModelError(session, code, code in FATAL_CODES, error.event_id, error.param or "")


def _as_it_is(body: dict[str, Any]) -> dict[str, Any]:
    return body


def encode(
    event: commands.ClientEvent, reshape: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is
) -> bytes:
    """Return the event as it goes over the websocket, a UTF-8 text message.

    `reshape` turns every body but that of audio, which is the same everywhere, into another dialect's.
    """
    match event:
        case commands.AppendAudio(audio):
            return b'{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(audio) + b'"}'
        case commands.ConfigureSession(event_id, session):
            body: dict[str, Any] = {"event_id": event_id, "type": "session.update", "session": session}
        case commands.CreateResponse(event_id, instructions):
            body = {"event_id": event_id, "type": "response.create"}
            if instructions is not None:
                body["response"] = {"instructions": instructions}
        case commands.CancelResponse(event_id, response_id):
            body = {"event_id": event_id, "type": "response.cancel", "response_id": response_id}
        case commands.TruncateItem(event_id, item_id, audio_end_ms):
            body = {
                "event_id": event_id,
                "type": "conversation.item.truncate",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": audio_end_ms,
            }
        case commands.DeleteItem(event_id, item_id):
            body = {"event_id": event_id, "type": "conversation.item.delete", "item_id": item_id}
        case commands.SetTurnDetection(event_id, turn_detection):
            session = {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}
            body = {"event_id": event_id, "type": "session.update", "session": session}
        case _:
            body = {
                "event_id": event.event_id,
                "type": "conversation.item.create",
                "item": realtime_items.created(event),
            }
            if isinstance(event, commands.CreateMessage) and event.after is not None:
                body["previous_item_id"] = event.after
    return msgspec.json.encode(reshape(body))


def left_out(session: dict[str, Any]) -> list[str]:
    """Return the paths of a session's settings that this shape cannot say: none."""
    return []


NOT_TOLD: Final = object()
"""Stands in an echo for what its dialect cannot say: nobody knows, and so it does not differ."""


def differences(asked: Any, echoed: Any, path: str = "session") -> list[str]:
    """Return the paths at which the model's echo is not what was asked for; extra fields are fine."""
    if echoed is NOT_TOLD:
        return []
    if isinstance(asked, dict):
        if not isinstance(echoed, dict):
            return [path]
        return [
            found
            for key, value in asked.items()
            # Secrets are not echoed.
            if key != "authorization"
            for found in differences(value, echoed.get(key), f"{path}.{key}")
        ]
    if isinstance(asked, list) and isinstance(echoed, list) and len(asked) == len(echoed):
        pairs = enumerate(zip(asked, echoed, strict=True))
        return [found for at, pair in pairs for found in differences(*pair, f"{path}[{at}]")]
    return [] if asked == echoed else [path]
