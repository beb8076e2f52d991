"""Tool servers that the simulated OpenAI calls by itself: listing their tools, asking for approval, calling.

Nothing is really called: a server offers what `allowed_tools` names, and answers what the script
says. The order of the events is that of OpenAI's guide (Realtime API: MCP servers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline_simulators.openai_conversation import Conversation, Item
from trunkline_simulators.openai_response import ServerEvent


def list_tools(tools: Sequence[Mapping[str, Any]], conversation: Conversation) -> list[ServerEvent]:
    """Return the events of listing the tools of each server that this conversation has no list of yet."""
    listed = {item.fields.get("server_label") for item in conversation.items if _is_list(item)}
    events: list[ServerEvent] = []
    for tool in tools:
        if tool["type"] == "mcp" and tool["server_label"] not in listed:
            events += _list_one(tool, conversation)
    return events


def server(tools: Sequence[Mapping[str, Any]], label: str) -> Mapping[str, Any] | None:
    """Return the configured tool server with this label, if there is one."""
    return next((tool for tool in tools if tool["type"] == "mcp" and tool["server_label"] == label), None)


def needs_approval(tool_server: Mapping[str, Any], tool: str) -> bool:
    """Return whether the client must approve a call of `tool`; without a setting, it must.

    A filter (`{"never": {"tool_names": […]}}`) frees the tools that it names.
    """
    wanted = tool_server.get("require_approval") or "always"
    if isinstance(wanted, str):
        return wanted == "always"
    never = wanted.get("never") or {}
    return tool not in never.get("tool_names", ())


def approval(since_asked: Sequence[Item]) -> tuple[str | None, bool | None]:
    """Return the id of the approval request since the caller's question, and the client's answer so far."""
    request = next((each for each in since_asked if each.fields["type"] == "mcp_approval_request"), None)
    if request is None:
        return None, None
    for item in since_asked:
        if item.fields.get("approval_request_id") == request.id and "approve" in item.fields:
            return request.id, bool(item.fields["approve"])
    return request.id, None


def _is_list(item: Item) -> bool:
    return bool(item.fields["type"] == "mcp_list_tools")


def _list_one(tool: Mapping[str, Any], conversation: Conversation) -> list[ServerEvent]:
    allowed = tool.get("allowed_tools") or ()
    names = allowed.get("tool_names", ()) if isinstance(allowed, Mapping) else allowed
    offered = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    fields = {"type": "mcp_list_tools", "server_label": tool["server_label"], "tools": []}
    item = Item(conversation.new_id(), fields)
    previous = conversation.append(item)
    added = {"type": "conversation.item.added", "previous_item_id": previous, "item": item.wire()}
    fields["tools"] = offered
    return [
        added,
        {"type": "mcp_list_tools.in_progress", "item_id": item.id},
        {"type": "mcp_list_tools.completed", "item_id": item.id},
        {"type": "conversation.item.done", "previous_item_id": previous, "item": item.wire()},
    ]
