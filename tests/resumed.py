"""Calls that go on at another owner, from what was known of them."""

from typing import Any

import msgspec
from talk import AGENT, new_call, sent

from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import (
    Command,
    CreateResponse,
)
from trunkline_worker.floor import Floor
from trunkline_worker.history import Remembered

NOW = 100.0
HELLO = Remembered("A1", "agent", 1, "Hello.")
QUESTION = Remembered("U1", "caller", 2, "When are you open?", 2_000, 3_000)
QUIET = Checkpoint(
    media_ms=5_000,
    stream_shift_ms=0.0,
    position=2,
    items=(HELLO, QUESTION),
    floor=Floor(owes=False, taken_ms=3_000),
    told_ms=5_000,
    in_session=True,
    greeted=True,
    agent_was_heard=True,
    signs=1,
)
"""A call in which nobody speaks, and nothing is owed."""


def but(known: Checkpoint, **changes: Any) -> Checkpoint:
    """Return what was known, with these changes."""
    return msgspec.structs.replace(known, **changes)


def standing_by(agent: Agent = AGENT) -> Call:
    """Return a call with a session that is ready, at a worker that does not own it yet."""
    call = new_call(agent)
    call.stand_by(NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)
    call.handle(events.SessionConfigured(1, agent.session(deaf=True)), NOW)
    return call


def owned(known: Checkpoint, **facts: Any) -> events.Owned:
    """Return the word that the call is ours."""
    return events.Owned("gw-1", "MZ1", known, "worker-lost", "1.1", facts.pop("generation", 0), **facts)


def state(call: Call) -> State:
    """Return where the call is now; mypy takes an attribute that was asserted once for settled."""
    return call.state


def taken_over(known: Checkpoint, agent: Agent = AGENT, **facts: Any) -> tuple[Call, list[Command]]:
    """Return a call that is ours by now, and what followed from that."""
    call = standing_by(agent)
    return call, call.handle(owned(known, **facts), NOW)


def requests(following: list[Command]) -> list[CreateResponse]:
    """Return the responses that the model was asked for."""
    return [event for event in sent(following) if isinstance(event, CreateResponse)]


def orders(following: list[Command]) -> list[str]:
    """Return what the model was asked to say."""
    return [each.instructions or "" for each in requests(following)]
