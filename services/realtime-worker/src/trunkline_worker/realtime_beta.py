"""Pure: the older shape of the Realtime wire (beta), for servers that are compatible with it.

A codec with the interface of `realtime_api`, which does the work: here event types get their older names and the
nested session becomes a flat one, and back. OpenAI itself has refused this shape since May 2026; names and shapes
are those of its Realtime API reference (beta) before that.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from trunkline_worker import commands, events, realtime_api

HEADERS: Final[Mapping[str, str]] = MappingProxyType({"OpenAI-Beta": "realtime=v1"})
"""What this shape adds to the upgrade request."""

EVENT_NAMES: Final = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
"""GA's server events, and what they were called. `conversation.item.done` had no counterpart."""

SESSION_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "modalities": ("output_modalities",),
    "instructions": ("instructions",),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "tools": ("tools",),
    "tool_choice": ("tool_choice",),
    "max_response_output_tokens": ("max_output_tokens",),
    "tracing": ("tracing",),
}
"""The flat fields, and where each stands in a GA session. What stands nowhere here cannot be said."""

UNSAYABLE: Final[tuple[tuple[str, ...], ...]] = (
    ("truncation",),
    ("reasoning",),
    ("parallel_tool_calls",),
    ("include",),
    ("prompt",),
    ("audio", "input", "turn_detection", "idle_timeout_ms"),
)
"""Settings of GA that this shape has no field for: they are left out, and the server does as it likes."""

_FORMATS: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_FORMATS_BACK: Final = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_CONTENT_TYPES: Final = {"output_text": "text", "output_audio": "audio"}

_reader: Final = realtime_api.Reader(EVENT_NAMES)


def decode(data: str | bytes, session: int) -> events.ModelEvent | None:
    """Return what a server event means, as `realtime_api.decode` does; an echo comes in the GA shape."""
    event = _reader.decode(data, session)
    if isinstance(event, events.SessionConfigured):
        return replace(event, echo=_ga_session(event.echo))
    return event


def encode(event: commands.ClientEvent) -> bytes:
    """Return the event as it goes over the websocket, a UTF-8 text message."""
    return realtime_api.encode(event, _older)


def left_out(session: dict[str, Any]) -> list[str]:
    """Return the paths of a session's settings that this shape cannot say."""
    paths = [".".join(("session", *path)) for path in UNSAYABLE if _at(session, path) is not None]
    if any(tool.get("type") != "function" for tool in session.get("tools", [])):
        paths.append("session.tools (of MCP servers)")
    return paths


def _older(body: dict[str, Any]) -> dict[str, Any]:
    match body["type"]:
        case "session.update":
            return body | {"session": _flat_session(body["session"])}
        case "response.create" if "response" in body:
            return body | {"response": _flat_response(body["response"])}
        case "conversation.item.create":
            return body | {"item": _older_item(body["item"])}
    return body


def _flat_session(session: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, path in SESSION_FIELDS.items():
        holder = _at(session, path[:-1])
        if isinstance(holder, dict) and path[-1] in holder:
            flat[name] = _older_value(name, holder[path[-1]])
    return flat


def _flat_response(response: dict[str, Any]) -> dict[str, Any]:
    flat = _flat_session(response)
    for name in ("conversation", "metadata"):
        if name in response:
            flat[name] = response[name]
    if "input" in response:
        flat["input"] = [_older_item(item) for item in response["input"]]
    return flat


def _older_value(name: str, value: Any) -> Any:
    match name:
        case "modalities":
            # A spoken answer always had its transcript, and both words had to be said.
            return ["audio", "text"] if "audio" in value else ["text"]
        case "input_audio_format" | "output_audio_format":
            return _FORMATS[value["type"]]
        case "turn_detection" if value is not None:
            return {key: each for key, each in value.items() if key != "idle_timeout_ms"}
        case "tools":
            return [tool for tool in value if tool["type"] == "function"]
    return value


def _older_item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    content = [part | {"type": _CONTENT_TYPES.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"content": content}


def _ga_session(flat: dict[str, Any]) -> dict[str, Any]:
    """Return an echo in the GA shape; it comes from a server, and any value may be any JSON."""
    session: dict[str, Any] = {"type": "realtime", "audio": {"input": {}, "output": {}}}
    for name, path in SESSION_FIELDS.items():
        if name in flat:
            _at(session, path[:-1])[path[-1]] = _ga_value(name, flat[name])
    for *parents, last in UNSAYABLE:
        holder = _at(session, tuple(parents))
        if isinstance(holder, dict):
            holder[last] = realtime_api.NOT_TOLD
    return session


def _ga_value(name: str, value: Any) -> Any:
    match name:
        case "modalities" if isinstance(value, list):
            return ["audio"] if "audio" in value else value
        case "input_audio_format" | "output_audio_format" if isinstance(value, str):
            return _FORMATS_BACK.get(value, value)
        case "turn_detection" if isinstance(value, dict):
            return dict(value)
    return value


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
