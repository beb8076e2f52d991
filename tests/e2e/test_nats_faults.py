"""Calls while NATS fails: one node of three dies, all are away, a gateway's link falls silent. Every word is heard, once."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from chaos import stored
from chaos.fleet import NATS_NODES, Fleet, Size
from chaos.history import History
from trunkline_simulators import openai_ledger, recordings
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

LIMIT_S = 60.0
AFTER_QUIET_MS = 2_200
"""Longer than the pause between two comfort sounds: what is not answered yet is waited for."""

LINES = ["caller-digits-1"]
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
    node = next(node for node, link in enumerate(gateway.links["nats"]) if link.connections)
    await fleet.nats.kill(node)
    await fleet.nats.servers[node].restart()


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


FAULTS: list[tuple[Fault, str]] = [
    (swallow_the_gateways_frames, "agent-audible"),
    (take_all_away, "caller-speaking"),
    (kill_the_gateways_node, "caller-silent"),
]
"""Each with what it strikes into: the greeting, the caller's words, and what comes before the answer."""


async def test_calls_outlive_what_befalls_nats(tmp_path: Path) -> None:
    history = await asyncio.to_thread(History, tmp_path)
    async with Fleet.running(tmp_path, Size(workers=1, gateways=1), history) as fleet:
        async with asyncio.timeout(LIMIT_S * len(FAULTS)):
            results = [await talk(fleet, fault, moment) for fault, moment in FAULTS]
        await stored.collect(fleet.nats, fleet.postgres, tmp_path)
    history.close()
    kept = await asyncio.to_thread(stored.read, tmp_path)

    ledger = await asyncio.to_thread(openai_ledger.read, tmp_path / "recordings")
    for (fault, _), result in zip(FAULTS, results, strict=True):
        assert result.script_finished, fault
        assert (result.attaches, result.warnings) == (1, []), "Twilio noticed nothing"
        sessions = [session_id for sid, session_id in kept.sessions if sid == result.call_sid]
        heard = [each.utterance for each in ledger if each.session_id in sessions]
        assert (fault, heard) == (fault, LINES), "every word was heard, and heard once"
        said = [words for sid, words in kept.caller_texts if sid == result.call_sid]
        assert said == [recordings.utterance(line).text for line in LINES]
        assert (result.call_sid, "success") in kept.outcomes
    assert sorted(kept.rows) == sorted(kept.events)


async def talk(fleet: Fleet, fault: Fault, moment: str) -> CallResult:
    """Call, and let the fault strike when this first happens."""
    come = asyncio.Event()

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == moment:
            come.set()

    calling = asyncio.create_task(place_call(settings(fleet), on_event))
    await come.wait()
    await fault(fleet)
    return await calling


def settings(fleet: Fleet) -> CallSettings:
    return CallSettings(
        webhook=fleet.line.webhook,
        auth_token=fleet.line.auth_token,
        account_sid=fleet.line.account_sid,
        conversation=TALK,
        connect_to=ConnectTo("trunkline.example", "127.0.0.1", fleet.front.port),
        record=fleet.folder / "recordings",
    )
