"""Pure: what is written of a tool call, and what the model is told of one that did not go as it wished."""

from collections.abc import Iterable
from typing import Final

import msgspec

from trunkline_common import call_events
from trunkline_worker import agent_tools, events

ARGUMENTS_BYTES_MAX: Final = 16_384
PROBLEM_CHARS_MAX: Final = 200


def recorded(call: events.ToolCalled, media_ms: int) -> call_events.ToolCalled:
    """Return the event of a call of the model's."""
    # What is keyed in may be a card number.
    hidden = call.name == agent_tools.SEND_DIGITS
    return call_events.ToolCalled(
        tool_call_id=call.tool_call_id,
        item_id=call.item_id,
        name=call.name,
        arguments='{"digits":"…"}' if hidden else call.arguments[:ARGUMENTS_BYTES_MAX],
        at_ms=media_ms,
    )


def failed(why: str) -> str:
    """Return what the model is told of a call that failed."""
    return msgspec.json.encode({"ok": False, "error": why}).decode()


def promised(tool: str) -> str:
    """Return what the model is told of a built-in tool that waits for its last words."""
    told = {
        agent_tools.END_CALL: "The call ends as soon as your goodbye was heard.",
        agent_tools.TRANSFER_CALL: "The caller is put through as soon as what you say now was heard.",
        agent_tools.SEND_DIGITS: "The keys are pressed as soon as what you say now was heard.",
    }[tool]
    return msgspec.json.encode({"ok": True, "result": told}).decode()


def problem(message: str, path: Iterable[str | int]) -> str:
    """Return one thing that is wrong with the arguments."""
    where = ".".join(str(part) for part in path)
    text = f"{where}: {message}" if where else message
    return text[:PROBLEM_CHARS_MAX]
