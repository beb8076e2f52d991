"""The older shape of the Realtime API (beta), at the socket's edge of a simulated session.

The session inside speaks GA and does not know. What a client sends is judged by the older, strict types and then
translated; what the session sends is translated back: names of events, the flat session, content types, and the
paths in refusals. Traces show what was said inside.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from trunkline_simulators import openai_beta_schema, openai_schema
from trunkline_simulators.openai_rejection import Rejection, read

HEADER = "realtime=v1"  # what `OpenAI-Beta` must hold

_EVENTS = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
_NOT_SENT = {"conversation.item.done", "input_audio_buffer.timeout_triggered"}
_CONTENT = {"output_text": "text", "output_audio": "audio"}
_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FORMAT_NAMES = {ga: older for older, ga in _FORMATS.items()}

# The flat field, and where GA has it.
_INPUT = {
    "input_audio_format": "format",
    "input_audio_noise_reduction": "noise_reduction",
    "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection",
}
_OUTPUT = {"output_audio_format": "format", "voice": "voice", "speed": "speed"}
_TOP = {
    "model": "model",
    "instructions": "instructions",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_response_output_tokens": "max_output_tokens",
    "tracing": "tracing",
}
_DEFAULT_TEMPERATURE = 0.8

_DECODER = msgspec.json.Decoder(openai_beta_schema.ClientEvent)


@cache
def _client_event_type() -> inspect.Type:
    return inspect.type_info(openai_beta_schema.ClientEvent)


def parse_client_event(frame: str | bytes) -> openai_schema.ClientEvent:
    """Return one websocket message as the session understands it; `Rejection` in the older shape's words."""
    event = read(frame, _DECODER, _client_event_type)
    if isinstance(event, openai_schema.AudioAppend):
        return event
    try:
        return _translated(event)
    except Rejection as rejection:
        rejection.event_id = event.event_id
        raise


def _translated(event: openai_beta_schema.ClientEvent) -> openai_schema.ClientEvent:
    body = msgspec.to_builtins(event)
    match event:
        case openai_beta_schema.SessionUpdate():
            body["session"] = {"type": "realtime", **_nested(body["session"])}
        case openai_beta_schema.ItemCreate():
            body["item"] = _newer_item(body["item"])
        case openai_beta_schema.ResponseCreate() if body["response"] is not None:
            body["response"] = _newer_response(body["response"])
        case _:
            pass
    translated: openai_schema.ClientEvent = msgspec.convert(body, openai_schema.ClientEvent)
    return translated


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    session = {ga: flat[name] for name, ga in _TOP.items() if name in flat}
    if "modalities" in flat:
        session["output_modalities"] = _newer_modalities(flat["modalities"])
    sides = {
        "input": {ga: flat[name] for name, ga in _INPUT.items() if name in flat},
        "output": {ga: flat[name] for name, ga in _OUTPUT.items() if name in flat},
    }
    for side in sides.values():
        if "format" in side:
            name = _FORMATS[side["format"]]
            side["format"] = {"type": name} | ({"rate": 24_000} if name == "audio/pcm" else {})
    audio = {name: side for name, side in sides.items() if side}
    return session | ({"audio": audio} if audio else {})


def _newer_modalities(modalities: list[str]) -> list[str]:
    if sorted(modalities) == ["audio", "text"]:
        return ["audio"]
    if modalities == ["text"]:
        return modalities
    raise Rejection(
        f"Invalid modalities: {modalities}. Supported combinations are: ['text'] and ['audio', 'text'].",
        param="session.modalities",
    )


def _newer_response(flat: dict[str, Any]) -> dict[str, Any]:
    response = {name: flat[name] for name in ("conversation", "metadata") if name in flat} | _nested(flat)
    if "input" in flat:
        response["input"] = [_newer_item(item) for item in flat["input"]]
    return response


def _newer_item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    newer = {older: ga for ga, older in _CONTENT.items()}
    return item | {
        "content": [part | {"type": newer.get(part["type"], part["type"])} for part in item["content"]]
    }


# -- towards the client --------------------------------------------------------------------------


def server_event(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return an event in the older shape, or None for one that did not exist."""
    kind = event["type"]
    if kind in _NOT_SENT:
        return None
    older = event | {"type": _EVENTS.get(kind, kind)}
    if "session" in event:
        older["session"] = _flat_session(event["session"])
    if "item" in event:
        older["item"] = _older_item(event["item"])
    if "response" in event:
        older["response"] = _flat_response(event["response"])
    if kind == "error" and event["error"]["param"]:
        older["error"] = event["error"] | {"param": _older_path(event["error"]["param"])}
    return older


def _flat_session(session: dict[str, Any]) -> dict[str, Any]:
    audio = session["audio"]
    flat = {name: session[ga] for name, ga in _TOP.items()}
    flat |= {name: audio["input"][ga] for name, ga in _INPUT.items()}
    flat |= {name: audio["output"][ga] for name, ga in _OUTPUT.items()}
    for name in ("input_audio_format", "output_audio_format"):
        flat[name] = _FORMAT_NAMES[flat[name]["type"]]
    if flat["turn_detection"] is not None:
        flat["turn_detection"] = {
            name: value for name, value in flat["turn_detection"].items() if name != "idle_timeout_ms"
        }
    return {
        "id": session["id"],
        "object": "realtime.session",
        "expires_at": session["expires_at"],
        "modalities": _older_modalities(session["output_modalities"]),
        "temperature": _DEFAULT_TEMPERATURE,
        **flat,
    }


def _flat_response(response: dict[str, Any]) -> dict[str, Any]:
    flat = dict(response)
    output = flat.pop("audio", {}).get("output", {})
    flat["modalities"] = _older_modalities(flat.pop("output_modalities", ["audio"]))
    flat["voice"] = output.get("voice")
    flat["output_audio_format"] = _FORMAT_NAMES.get(output.get("format", {}).get("type"), "pcm16")
    flat["temperature"] = _DEFAULT_TEMPERATURE
    flat["output"] = [_older_item(item) for item in response["output"]]
    return flat


def _older_modalities(modalities: list[str]) -> list[str]:
    return ["text", "audio"] if "audio" in modalities else ["text"]


def _older_item(item: dict[str, Any]) -> dict[str, Any]:
    older = {"object": "realtime.item"} | {name: value for name, value in item.items() if name != "phase"}
    if "content" in item:
        older["content"] = [
            part | {"type": _CONTENT.get(part["type"], part["type"])} for part in item["content"]
        ]
    return older


def _older_path(path: str) -> str:
    sides = [("session.audio.input.", _INPUT), ("session.audio.output.", _OUTPUT), ("session.", _TOP)]
    for prefix, names in sides:
        if path.startswith(prefix):
            field, dot, rest = path.removeprefix(prefix).partition(".")
            back = {ga: older for older, ga in names.items()}
            return f"session.{back.get(field, field)}{dot}{rest}"
    return path
