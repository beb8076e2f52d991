"""A whole system for a test, and a caller who calls it."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trunkline_local import stored, system
from trunkline_local.stored import StoredCall
from trunkline_simulators import twilio_conversations
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo


@dataclass(frozen=True)
class PlacedCall:
    """A call that is over: what the telephone saw, what Postgres has, what the model's side recorded."""

    result: CallResult
    rows: StoredCall
    model_trace: list[dict[str, Any]]
    model_wav: Path


StartSystem = Callable[..., AbstractAsyncContextManager[system.System]]


@pytest.fixture
def start_system(tmp_path: Path) -> StartSystem:
    """Start everything under this test's folder; keyword arguments as for `system.run`."""

    def start(
        model: system.Model = system.SIMULATED, **options: Any
    ) -> AbstractAsyncContextManager[system.System]:
        return system.run(tmp_path, system.new_line(), model, lambda part, what: None, **options)

    return start


async def dial(running: system.System, conversation: str) -> CallResult:
    """Place one call; the numbers are reserved for fiction."""
    planned = await asyncio.to_thread(twilio_conversations.conversation, conversation)
    return await place_call(call_settings(running, planned))


def call_settings(running: system.System, conversation: Conversation, **more: Any) -> CallSettings:
    """Return what a call to the system needs; `more` is the rest of it."""
    return CallSettings(
        webhook=running.line.webhook,
        auth_token=running.line.auth_token,
        account_sid=running.line.account_sid,
        conversation=conversation,
        connect_to=ConnectTo("trunkline.example", "127.0.0.1", running.line.gateway_port),
        record=running.folder / "recordings",
        **more,
    )


async def dial_and_read_back(running: system.System, conversation: str) -> PlacedCall:
    """Place one call and wait until all of it is stored."""
    return await read_back(running, await dial(running, conversation))


async def read_back(running: system.System, result: CallResult) -> PlacedCall:
    """Wait until all of a call is stored, and return it."""
    rows = await stored.read_call(running.database_url, result.call_sid)
    session_id = rows.sessions[0]["session_id"]
    trace = running.folder / "recordings" / f"{session_id}.jsonl"
    return PlacedCall(
        result,
        rows,
        [json.loads(line) for line in trace.read_text().splitlines()],
        trace.with_suffix(".wav"),
    )
