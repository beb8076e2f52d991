"""Tool calls on the wire: announced twice, complete ones only."""

import json
from typing import Any

from trunkline_worker import events, realtime_api

CALL = {
    "id": "F1",
    "type": "function_call",
    "status": "completed",
    "call_id": "c1",
    "name": "look",
    "arguments": "{}",
}
CALLED = events.ToolCalled(1, "R1", "F1", "c1", "look", "{}")


def decoded(event: dict[str, Any]) -> events.ModelEvent | None:
    return realtime_api.decode(json.dumps(event), session=1)


def test_a_call_is_known_once_its_arguments_are_complete() -> None:
    done = {
        "type": "response.function_call_arguments.done",
        "response_id": "R1",
        "item_id": "F1",
        "call_id": "c1",
    }

    assert decoded({**done, "name": "look", "arguments": "{}"}) == CALLED
    assert decoded({**done, "arguments": "{}"}) is None, "the end of its response will name it"


def test_the_end_of_a_response_tells_its_complete_calls() -> None:
    cut_off = CALL | {"call_id": "c2", "status": "incomplete"}
    message = {"id": "A1", "type": "message", "status": "completed", "content": []}
    response = {"id": "R1", "status": "completed", "output": [message, CALL, cut_off]}

    done = decoded({"type": "response.done", "response": response})

    assert isinstance(done, events.ResponseDone)
    assert done.tool_calls == (CALLED,)


def test_the_end_of_an_mcp_call_is_known() -> None:
    for kind in ("completed", "failed"):
        assert decoded({"type": f"response.mcp_call.{kind}", "item_id": "M1"}) == events.McpCallEnded(1, "M1")


def test_an_echo_may_say_more_of_a_tool_and_nothing_of_its_secret() -> None:
    asked = {"tools": [{"type": "mcp", "server_label": "stock", "authorization": "secret"}]}
    echoed = {"tools": [{"type": "mcp", "server_label": "stock", "headers": None}]}

    assert realtime_api.differences(asked, echoed) == []
    assert realtime_api.differences(asked, {"tools": []}) == ["session.tools"]


def test_an_item_full_of_nulls_does_not_cost_the_end_of_its_response() -> None:
    nulls = dict.fromkeys(CALL)
    named = {**CALL, "id": None, "arguments": None}

    event = decoded({"type": "response.done", "response": {"id": "R1", "output": [nulls, named]}})

    assert isinstance(event, events.ResponseDone)
    assert event.tool_calls == (events.ToolCalled(1, "R1", "c1", "c1", "look", ""),)
