"""Pure: the OpenAI Realtime wire (GA) to our events, and what we tell the model to the wire.

Event names and shapes are those of OpenAI's Realtime API reference. Unknown event types are counted and
skipped, because new ones appear without notice; a known one that does not parse is an error of the model's
side and is reported as `malformed-event`.
"""

import base64
from typing import Any, Final

import msgspec

from trunkline_common.call_events import Usage
from trunkline_worker import commands, events
from trunkline_worker.response_gate import retry_after_s

FATAL_CODES: Final = {
    "invalid_api_key": "check OPENAI_API_KEY",
    "account_deactivated": "the OpenAI account is deactivated",
    "insufficient_quota": "the OpenAI account has no quota left; check its billing",
    "credit_balance_exhausted": "the OpenAI account has no credit left; check its billing",
    "billing_hard_limit_reached": "the OpenAI account reached its billing limit",
    "beta_api_shape_disabled": "the server wants the GA shape; check OPENAI_REALTIME_URL",
    "model_not_found": "set OPENAI_REALTIME_MODEL to a model that this key may use",
}
"""Codes after which trying again cannot help, and what a person should do (OpenAI: error events)."""

ALREADY_ANSWERING: Final = "conversation_already_has_active_response"

BENIGN_CODES: Final = frozenset(
    {
        ALREADY_ANSWERING,
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_retrieve_invalid_item_id",
        "item_create_duplicate_item_id",
    }
)
"""Races that lose nothing: the item is gone, the response has ended, …"""

PASSING_CODES: Final = frozenset(
    {"server_error", "rate_limit_exceeded", "inference_rate_limit_exceeded", "malformed-event"}
)
"""Troubles of the model's own side: while a session is set up they do not mean that its configuration is wrong."""

SESSION_OVER_CODES: Final = frozenset({"session_expired"})

CONFIGURATION_REJECTED: Final = "configuration-rejected"
_HTTP_ADVICE: Final = {
    "connect-http-401": "check OPENAI_API_KEY",
    "connect-http-403": "check OPENAI_API_KEY and what it may use",
    "connect-http-404": "check OPENAI_REALTIME_URL and OPENAI_REALTIME_MODEL",
    "connect-http-410": "set OPENAI_REALTIME_MODEL to a model that still exists",
    "connect-http-429": "the account's limit is reached, or raise it",
}
FATAL_CLOSES: Final = {
    3000: "check OPENAI_API_KEY",
    4000: "the server rejected our requests; check OPENAI_REALTIME_URL and OPENAI_REALTIME_MODEL",
    1009: "a frame was too big",
}


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
    transcript: str = ""


class _TranscriptionFailed(_Wire, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str


class _TokenDetails(msgspec.Struct):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _TokenDetails | None = None
    output_token_details: _TokenDetails | None = None


class _StatusDetails(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    error: _Error | None = None


class _Response(msgspec.Struct):
    id: str
    status: str | None = None
    status_details: _StatusDetails | None = None
    usage: _Usage | None = None


class _ResponseCreated(_Wire, tag="response.created"):
    response: _Response


class _ResponseDone(_Wire, tag="response.done"):
    response: _Response


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
)


class _TypeOnly(msgspec.Struct):
    type: str = ""


_known_decoder: Final[msgspec.json.Decoder[_Known]] = msgspec.json.Decoder(_Known)
_type_decoder: Final = msgspec.json.Decoder(_TypeOnly)
_known_types: Final = frozenset(wire.__struct_config__.tag for wire in _Wire.__subclasses__())


def decode(data: str | bytes, session: int) -> events.ModelEvent | None:
    """Return what a server event means, or None for one that means nothing to a call.

    A message that is no event at all, or a known event without its fields, becomes a `ModelError`.
    """
    try:
        wire = _known_decoder.decode(data)
        return _meaning(wire, session)
    except (ValueError, RecursionError):
        # Everything that msgspec and base64 raise, whatever a hostile or broken server sent.
        if _event_type(data) in _known_types | {""}:
            return events.ModelError(session, "malformed-event", fatal=False)
        return None


def _event_type(data: str | bytes) -> str:
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
        case _TranscriptionCompleted(item_id, transcript):
            return events.CallerText(session, item_id, transcript)
        case _TranscriptionFailed(item_id):
            return events.CallerText(session, item_id, None)
        case _ResponseCreated(response):
            return events.ResponseCreated(session, response.id)
        case _ResponseDone(response):
            return _response_done(response, session)
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
        reason = details.reason or (details.error.code if details.error else None) or details.type or ""
    message = details.error.message if details is not None and details.error is not None else None
    return events.ResponseDone(
        session,
        response.id,
        response.status or "",
        reason,
        _usage(response.id, response.usage),
        retry_after_s(message or ""),
    )


def _usage(response_id: str, usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    inside = usage.input_token_details or _TokenDetails()
    outside = usage.output_token_details or _TokenDetails()
    return Usage(
        response_id=response_id,
        input_tokens=usage.input_tokens or 0,
        input_text_tokens=inside.text_tokens or 0,
        input_audio_tokens=inside.audio_tokens or 0,
        cached_tokens=inside.cached_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        output_text_tokens=outside.text_tokens or 0,
        output_audio_tokens=outside.audio_tokens or 0,
    )


def _error(error: _Error, session: int) -> events.ModelEvent:
    code = error.code or error.type or "unknown"
    if code in SESSION_OVER_CODES:
        return events.SessionLost(session, code, fatal=False)
    return events.ModelError(session, code, code in FATAL_CODES, error.event_id, error.param or "")


def encode(event: commands.ClientEvent) -> bytes:
    """Return the event as it goes over the websocket, a UTF-8 text message."""
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
            body = {"event_id": event.event_id, "type": "conversation.item.create", "item": _item(event)}
            if isinstance(event, commands.CreateMessage) and event.after is not None:
                body["previous_item_id"] = event.after
    return msgspec.json.encode(body)


_Created = (
    commands.CreateMessage
    | commands.CreateCallerAudio
    | commands.CreateFunctionCall
    | commands.CreateFunctionOutput
)
_TEXT: Final = {"user": "input_text", "assistant": "output_text", "system": "input_text"}
"""The type of a message's content by role; the model's own audio cannot be inserted."""


def _item(created: _Created) -> dict[str, Any]:
    match created:
        case commands.CreateMessage(_, item_id, role, text):
            content: dict[str, Any] = {"type": _TEXT[role], "text": text}
            return {"id": item_id, "type": "message", "role": role, "content": [content]}
        case commands.CreateCallerAudio(_, item_id, audio):
            content = {"type": "input_audio", "audio": base64.b64encode(audio).decode()}
            return {"id": item_id, "type": "message", "role": "user", "content": [content]}
        case commands.CreateFunctionCall(_, item_id, tool_call_id, name, arguments):
            call = {"call_id": tool_call_id, "name": name, "arguments": arguments}
            return {"id": item_id, "type": "function_call", **call}
        case commands.CreateFunctionOutput(_, item_id, tool_call_id, output):
            return {"id": item_id, "type": "function_call_output", "call_id": tool_call_id, "output": output}


def lost_by_close(session: int, code: int | None, reason: str) -> events.SessionLost:
    """Return what a closed socket means; `reason` is the close frame's text."""
    known = reason.rpartition(".")[2]
    if known in FATAL_CODES:
        return events.SessionLost(session, known, fatal=True)
    return events.SessionLost(session, f"close-{code or 1006}", fatal=code in FATAL_CLOSES)


def advice(reason: str) -> str:
    """Return what a person should do about a lost session, or an empty string when it passes by itself."""
    if reason in _HTTP_ADVICE:
        return _HTTP_ADVICE[reason]
    if reason == "setup-timeout" or reason.startswith("connect-"):
        return "check OPENAI_REALTIME_URL and the way to it"
    if reason.startswith(CONFIGURATION_REJECTED):
        return (
            "the model does not take this session's configuration; check OPENAI_REALTIME_MODEL and the agent"
        )
    close_code = reason.removeprefix("close-")
    if close_code.isdecimal() and close_code != reason:
        return FATAL_CLOSES.get(int(close_code), "")
    return FATAL_CODES.get(reason, "")


def differences(asked: Any, echoed: Any, path: str = "session") -> list[str]:
    """Return the paths at which the model's echo is not what was asked for; extra fields are fine."""
    if isinstance(asked, dict):
        if not isinstance(echoed, dict):
            return [path]
        return [
            found
            for key, value in asked.items()
            for found in differences(value, echoed.get(key), f"{path}.{key}")
        ]
    return [] if asked == echoed else [path]
