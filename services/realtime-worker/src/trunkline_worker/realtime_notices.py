"""Pure: server events that change nothing in a call, and what they tell those who run it.

A codec's `decode` returns None for them. Most only inform; a few mean that a caller hears silence, or that a tool
of the model's own did not work; and one of a type that nobody knows may be the news of an API that moved on.
"""

from enum import StrEnum
from typing import Final

import msgspec

from trunkline_worker import realtime_api


class Notice(StrEnum):
    """What an ignored event tells; the label of a counter."""

    INFORMATIVE = "informative"
    TEXT_PART = "text-part"
    """The model writes where it was asked to speak: nobody hears it."""
    MCP_FAILED = "mcp-failed"
    """A tool server that the model itself calls could not be listed, or a call of it failed."""
    UNKNOWN = "unknown"


_INFORMATIVE: Final = frozenset(
    {
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.deleted",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "input_audio_buffer.committed",
        "input_audio_buffer.dtmf_event_received",
        "input_audio_buffer.timeout_triggered",
        "mcp_list_tools.completed",
        "mcp_list_tools.in_progress",
        "output_audio_buffer.cleared",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.text.delta",
        "response.text.done",
    }
)
"""Of both dialects (OpenAI: Realtime API reference, server events)."""

_MCP_FAILED: Final = frozenset({"mcp_list_tools.failed", "response.mcp_call.failed"})


class _Part(msgspec.Struct):
    type: str = ""


class _ContentPart(msgspec.Struct):
    part: _Part


_part_decoder: Final = msgspec.json.Decoder(_ContentPart)


def notice(data: str | bytes) -> tuple[Notice, str]:
    """Return what an event that `decode` ignored tells, and its type; raises nothing."""
    name = realtime_api.event_type(data)
    if name == "response.content_part.added" and _is_text(data):
        return Notice.TEXT_PART, name
    if name in _MCP_FAILED:
        return Notice.MCP_FAILED, name
    return (Notice.INFORMATIVE if name in _INFORMATIVE else Notice.UNKNOWN), name


def _is_text(data: str | bytes) -> bool:
    try:
        # GA's other names have `output_` in front; here the older ones stayed.
        return _part_decoder.decode(data).part.type in {"text", "output_text"}
    except (ValueError, RecursionError):
        return False
