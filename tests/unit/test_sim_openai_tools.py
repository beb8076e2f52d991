"""Tool calls that a script asks for: with a commentary, broken on purpose, and those OpenAI makes by itself."""

import json
from typing import Any

import pytest
from sim_openai_driver import Driver, Event

from trunkline_simulators import recordings
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_tools import UNKNOWN_TOOL, ScriptedCall

BOOK = {"type": "function", "name": "book", "parameters": {"type": "object"}}
PRICES: dict[str, Any] = {
    "type": "mcp",
    "server_label": "prices",
    "server_url": "https://prices.example/mcp",
    "allowed_tools": ["look_up"],
}
ANSWER = recordings.reply("caller-book").text


def asked(*faults: str, script: ScriptedCall, tools: list[dict[str, Any]]) -> Driver:
    """Return a session in which the caller has just asked for what leads to a call."""
    driver = Driver(*faults, behaviour=Behaviour(calls={"caller-book": script}))
    driver.configure(tools=tools, audio={"input": {"transcription": None}})
    driver.say("caller-book")
    driver.wait(3)
    return driver


def output_of(driver: Driver) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = driver.of("response.done")[-1]["response"]["output"]
    return output


def respond(driver: Driver) -> list[dict[str, Any]]:
    driver.send("response.create")
    driver.wait(5)
    return output_of(driver)


def called(*faults: str) -> dict[str, Any]:
    (call,) = output_of(asked(*faults, script=ScriptedCall("book", '{"time": "10:00"}'), tools=[BOOK]))
    return call


def spoken(item: dict[str, Any]) -> str:
    text: str = item["content"][0]["transcript"]
    return text


def test_a_commentary_is_spoken_before_the_call_in_one_response() -> None:
    driver = asked(script=ScriptedCall("book", "{}", commentary="agent-moment"), tools=[BOOK])

    commentary, call = output_of(driver)
    kinds = driver.kinds()

    assert (commentary["phase"], spoken(commentary)) == ("commentary", "One moment, please.")
    assert (call["type"], call["name"]) == ("function_call", "book")
    assert kinds.index("response.function_call_arguments.delta") < kinds.index(
        "response.output_audio.done"
    ), "the call's first events overtake the end of what is spoken"


@pytest.mark.parametrize(
    ("how", "arguments"), [("garbage", None), ("list", []), ("foreign", {"no_such_field": True})]
)
def test_arguments_can_be_wrong(how: str, arguments: object) -> None:
    text = called(f"arguments={how}")["arguments"]

    if arguments is None:
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
    else:
        assert json.loads(text) == arguments


def test_a_tool_that_nobody_offered_can_be_called() -> None:
    assert called("unknown-tool")["name"] == UNKNOWN_TOOL


def test_a_call_can_be_announced_twice() -> None:
    driver = asked("twice", script=ScriptedCall("book", "{}"), tools=[BOOK])

    first, second = driver.of("response.function_call_arguments.done")

    assert first == second


def test_while_the_calling_response_goes_on_an_output_is_accepted_and_a_response_refused() -> None:
    driver = Driver("half", behaviour=Behaviour(calls={"caller-book": ScriptedCall("book", "{}")}))
    driver.configure(tools=[BOOK])
    driver.say("caller-book")
    driver.wait(1)
    call_id = driver.one("response.output_item.added")["item"]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "{}"}

    accepted = driver.send("conversation.item.create", item=output)
    (refused,) = driver.send("response.create")

    assert [event["type"] for event in accepted] == ["conversation.item.added", "conversation.item.done"]
    assert refused["error"]["code"] == "conversation_already_has_active_response"


def test_the_tools_of_a_server_are_listed_once() -> None:
    driver = Driver()
    driver.send("session.update", session={"type": "realtime", "tools": [PRICES]})
    driver.send("session.update", session={"type": "realtime", "tools": [PRICES]})

    assert driver.kinds() == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
        "session.updated",
    ]
    item = driver.one("conversation.item.done")["item"]
    assert (item["server_label"], [tool["name"] for tool in item["tools"]]) == ("prices", ["look_up"])


LOOK_UP = ScriptedCall("look_up", '{"what": "check up"}', server="prices")


def with_server(*faults: str, **settings: Any) -> Driver:
    driver = Driver(*faults, behaviour=Behaviour(calls={"caller-book": LOOK_UP}))
    driver.send("session.update", session={"type": "realtime", "tools": [PRICES | settings]})
    driver.forget()
    driver.say("caller-book")
    driver.wait(3)
    return driver


def test_a_server_that_needs_no_approval_is_called_by_openai_and_answered_aloud_when_asked() -> None:
    driver = with_server(require_approval="never")

    kinds = driver.collapsed()
    assert kinds[kinds.index("response.created") :] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    (call,) = output_of(driver)
    assert (call["arguments"], call["output"], call["error"]) == (LOOK_UP.arguments, '{"ok": true}', None)
    assert [spoken(item) for item in respond(driver)] == [ANSWER]


def test_a_failed_call_of_a_server() -> None:
    driver = with_server("mcp-failed", require_approval="never")

    (call,) = output_of(driver)

    assert driver.one("response.mcp_call.failed")["item_id"] == call["id"]
    assert (call["output"], call["error"]["type"]) == (None, "tool_execution_error")


def approve(driver: Driver, request_id: str, approve: bool) -> list[Event]:
    answer = {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}
    return driver.send("conversation.item.create", item=answer)


@pytest.mark.parametrize(("approved", "follows"), [(True, "mcp_call"), (False, "message")])
def test_by_default_a_server_is_called_after_approval_only(approved: bool, follows: str) -> None:
    driver = with_server()
    (request,) = output_of(driver)
    assert (request["type"], request["name"]) == ("mcp_approval_request", "look_up")

    approve(driver, request["id"], approved)

    (item,) = respond(driver)
    assert item["type"] == follows
    if approved:
        assert item["approval_request_id"] == request["id"]


def test_an_approval_of_nothing_is_refused() -> None:
    (refused,) = approve(Driver(), "mcpr_1", approve=True)

    assert refused["error"]["param"] == "item.approval_request_id"
