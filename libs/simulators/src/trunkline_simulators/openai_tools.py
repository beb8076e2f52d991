"""The tool calls of a simulated model: scripted by what the caller says, right or deliberately wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline_simulators import openai_mcp
from trunkline_simulators.openai_conversation import Item
from trunkline_simulators.openai_faults import ARGUMENTS, Fault
from trunkline_simulators.openai_response import Call, McpApproval, McpCall, Reply

UNKNOWN_TOOL = "no_such_tool"


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool to be called when the caller has said a certain thing; `arguments` is JSON text.

    With `server` it is a tool of that MCP server. `commentary` is what the agent says before it, an
    utterance's id.
    """

    name: str
    arguments: str
    server: str | None = None
    commentary: str | None = None


def next_call(
    script: ScriptedCall, settings: Mapping[str, Any], context: Sequence[Item], faults: Collection[Fault]
) -> Reply | None:
    """Return the call that comes next for a scripted one, or None when it is time to speak.

    The caller's question leads to one call, of a tool that the session offers; then it is answered
    aloud, whatever came of the call.
    """
    tools = settings["tools"]
    if settings["tool_choice"] == "none":
        return None
    since_asked: list[Item] = []
    for item in reversed(context):
        if item.role == "user":
            break
        since_asked.append(item)
    done = {item.fields["type"] for item in since_asked}
    broken = {fault.kind: fault.value for fault in faults}
    arguments = ARGUMENTS[broken["arguments"]] if "arguments" in broken else script.arguments
    name = UNKNOWN_TOOL if "unknown-tool" in broken else script.name
    if script.server is None:
        offered = any(tool.get("name") == script.name for tool in tools)
        return Call(name, arguments) if offered and "function_call" not in done else None
    tool_server = openai_mcp.server(tools, script.server)
    if tool_server is None or "mcp_call" in done:
        return None
    request_id, approved = openai_mcp.approval(since_asked)
    if request_id is None and openai_mcp.needs_approval(tool_server, script.name):
        return McpApproval(script.server, name, arguments)
    if request_id is not None and not approved:
        return None
    return McpCall(script.server, name, arguments, request_id, failed="mcp-failed" in broken)
