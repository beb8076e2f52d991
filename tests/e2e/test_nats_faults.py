"""Calls while NATS fails: one node of three dies, all are away, a gateway's link falls silent. Every word is heard, once."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chaos import stored
from chaos.fleet import NATS_NODES, Fleet, Size
from chaos.history import History
from trunkline_simulators import openai_ledger, recordings
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_webhooks import ConnectTo

LIMIT_S = 60.0
AFTER_QUIET_MS = 2_200
"""Longer than the pause between two comfort sounds: what is not answered yet is waited for."""

LINES = ["caller-digits-1", "caller-digits-2"]
TALK = Conversation(
    "dictates digits, whatever happens to NATS",
    (
        *(Step(say=line, after_quiet_ms=AFTER_QUIET_MS) for line in LINES),
        Step(hang_up=True, after_quiet_ms=AFTER_QUIET_MS),
    ),
    patience_ms=15_000,
)

Fault = Callable[[Fleet], Awaitable[None]]


async def kill_the_gateways_node(fleet: Fleet) -> None:
    (gateway,) = fleet.of("gateway")
    for node, link in enumerate(gateway.links["nats"]):
        if link.connections:
            await fleet.nats.kill(node)
            return


async def take_all_away(fleet: Fleet) -> None:
    await asyncio.gather(*(fleet.nats.kill(node) for node in range(NATS_NODES)))
    await asyncio.sleep(4)  # the fault itself: so long nobody is there
    await asyncio.gather(*(server.restart() for server in fleet.nats.servers))


async def swallow_the_gateways_frames(fleet: Fleet) -> None:
    (gateway,) = fleet.of("gateway")
    for link in gateway.links["nats"]:
        link.swallow()
    await asyncio.sleep(2)  # the fault itself
    for link in gateway.links["nats"]:
        link.heal()


@pytest.mark.parametrize("fault", [kill_the_gateways_node, take_all_away, swallow_the_gateways_frames])
async def test_a_call_outlives_nats(tmp_path: Path, fault: Fault) -> None:
    history = await asyncio.to_thread(History, tmp_path)
    async with Fleet.running(tmp_path, Size(workers=1, gateways=1), history) as fleet:
        first_answer = asyncio.Event()

        def on_event(event: dict[str, Any]) -> None:
            if event["event"] == "caller-silent":
                first_answer.set()

        calling = asyncio.create_task(place_call(settings(fleet), on_event))
        async with asyncio.timeout(LIMIT_S):
            # The caller has said the first line, and its answer is under way.
            await first_answer.wait()
            await fault(fleet)
            result = await calling
        await stored.collect(fleet.nats, fleet.postgres, tmp_path)
    history.close()
    kept = await asyncio.to_thread(stored.read, tmp_path)

    assert result.script_finished
    assert (result.attaches, result.warnings) == (1, []), "Twilio noticed nothing"
    ledger = await asyncio.to_thread(openai_ledger.read, tmp_path / "recordings")
    assert [each.utterance for each in ledger] == LINES, "every word was heard, and heard once"
    said = [recordings.utterance(line).text for line in LINES]
    assert [words for _, words in kept.caller_texts] == said
    assert sorted(kept.rows) == sorted(kept.events)
    assert kept.outcomes == [(result.call_sid, "success")]


def settings(fleet: Fleet) -> CallSettings:
    return CallSettings(
        webhook=fleet.line.webhook,
        auth_token=fleet.line.auth_token,
        account_sid=fleet.line.account_sid,
        conversation=TALK,
        connect_to=ConnectTo("trunkline.example", "127.0.0.1", fleet.front.port),
        record=fleet.folder / "recordings",
    )
