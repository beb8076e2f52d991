"""A call whose agent may do more than talk, and short names for what it does."""

import dataclasses
from typing import Any

from talk import AGENT, sent

from trunkline_worker import events
from trunkline_worker.agent_tools import HttpTool, TransferTarget
from trunkline_worker.call import Call
from trunkline_worker.commands import (
    Command,
    CreateMessage,
    CreateResponse,
    HangUp,
)

ANYTHING: dict[str, Any] = {"type": "object"}
DESK = TransferTarget("front desk", "+12025550160", timeout_s=20)
ABLE = dataclasses.replace(
    AGENT,
    tools=(
        HttpTool("look", "Look.", ANYTHING, "GET", "https://a.example/", filler="One moment."),
        HttpTool("act", "Act.", ANYTHING, "POST", "https://a.example/"),
    ),
    can_end_call=True,
    can_send_digits=True,
    transfer_targets=(DESK,),
)
ATTACHED_AGAIN = events.Attached("gw-2", "MZ2")


def able_call() -> Call:
    """A call that has greeted its caller."""
    call = Call("CA1", "+1555", "+1666", "wk-1", ABLE, "polyphase")
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, ABLE.session()), now=0.2)
    call.handle(events.Attached("gw-1", "MZ1"), now=0.3)
    call.handle(events.ResponseCreated(1, "R0"), now=0.4)
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.4)
    return call


def calls(call: Call, name: str, arguments: str = "{}", *, now: float, says_ms: int = 0) -> list[Command]:
    """Let the model call a tool in a response of its own, with or without words."""
    call.handle(events.ResponseCreated(1, "R1"), now)
    if says_ms:
        speaks(call, "R1", "A1", says_ms, now)
    called = events.ToolCalled(1, "R1", "F1", "call_1", name, arguments)
    following = call.handle(called, now)
    return following + call.handle(events.ResponseDone(1, "R1", "completed", "", None, None, (called,)), now)


def speaks(call: Call, response_id: str, item_id: str, ms: int, now: float) -> None:
    call.handle(events.ItemAdded(1, item_id, "assistant"), now)
    call.handle(events.AudioDelta(1, response_id, item_id, b"\x21" * (8 * ms)), now)
    call.handle(events.AudioDone(1, response_id, item_id), now)
    call.handle(events.SpokenText(1, item_id, "Good bye.", final=True), now)


def heard(call: Call, item_id: str, ms: int, now: float) -> list[Command]:
    return call.handle(events.MarkPlayed(f"0:{item_id}:{ms}"), now)


def hang_ups(following: list[Command]) -> list[HangUp]:
    return [command for command in following if isinstance(command, HangUp)]


def told(following: list[Command]) -> list[str]:
    return [event.text for event in sent(following) if isinstance(event, CreateMessage)]


def asked(following: list[Command]) -> list[CreateResponse]:
    return [event for event in sent(following) if isinstance(event, CreateResponse)]
