"""Whole calls to two numbers: each is answered by its own agent."""

import asyncio
from pathlib import Path

from e2e.conftest import StartSystem

from trunkline_local import stored
from trunkline_local.system import System
from trunkline_simulators import twilio_conversations
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_webhooks import ConnectTo


async def test_the_called_number_selects_the_agent(start_system: StartSystem, tmp_path: Path) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "desk.yaml").write_text(
        'name: desk\nnumbers: ["+12025550148"]\ninstructions: Be brief.\naudio_path: pcmu\n'
    )
    (folder / "thinker.yaml").write_text(
        'name: thinker\nnumbers: ["+12025550149"]\ninstructions: Be patient.\nmodel: gpt-realtime-2.1-mini\n'
    )

    async with start_system(settings={"worker": {"TRUNKLINE_AGENTS": str(folder)}}) as running:
        answered = await asyncio.gather(
            *(agent_and_model(running, called) for called in ("+12025550148", "+12025550149", "+12025550150"))
        )

    assert answered == [
        ("desk", "gpt-realtime-2.1"),
        ("thinker", "gpt-realtime-2.1-mini"),
        ("built-in", "gpt-realtime-2.1"),
    ]


async def agent_and_model(running: System, called: str) -> tuple[str, str]:
    """Call a number, and return who answered with which model."""
    settings = CallSettings(
        webhook=running.line.webhook,
        auth_token=running.line.auth_token,
        account_sid=running.line.account_sid,
        conversation=await asyncio.to_thread(twilio_conversations.conversation, "digits"),
        called=called,
        connect_to=ConnectTo("trunkline.example", "127.0.0.1", running.line.gateway_port),
    )
    result = await place_call(settings)
    assert result.clean, result
    row = (await stored.read_call(running.database_url, result.call_sid)).call
    return row.agent, row.model
