"""Pure: items of the conversation on the OpenAI Realtime wire: those that we create, and calls among the model's."""

import base64
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trunkline_worker import commands, events


class OutputItem(msgspec.Struct):
    """An item of a response (OpenAI: response.done), as far as it is a function call."""

    id: str | None = None
    type: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


def tool_calls(output: Iterable[OutputItem], session: int, response_id: str) -> tuple[events.ToolCalled, ...]:
    """Return the calls among a response's items; one that was cut off is none."""
    return tuple(
        # An item without an id is known by its call: the history keeps items by their ids.
        events.ToolCalled(
            session, response_id, item.id or item.call_id, item.call_id, item.name, item.arguments or ""
        )
        for item in output
        if item.type == "function_call" and item.status in {None, "completed"} and item.call_id and item.name
    )


_TEXT: Final = {"user": "input_text", "assistant": "output_text", "system": "input_text"}
"""The type of a message's content by role; the model's own audio cannot be inserted."""


def created(event: commands.CreateItem) -> dict[str, Any]:
    """Return the item that one of our events creates (OpenAI: conversation.item.create)."""
    match event:
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
