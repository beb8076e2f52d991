"""One call more than there is room for: whole systems with a single line, and what the second caller gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from e2e.conftest import StartSystem, call_settings, read_back

from trunkline_local.system import System
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_queues import Queues
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_trace import Event

LIMIT_S: Final = 90.0
FRONT_DESK: Final = "+12025550160"
CALLER: Final = "+12025550123"

TALKS: Final = Conversation("keeps the line", (Step(say="caller-digits-1"), Step(hang_up=True)))
ASKS: Final = Conversation(
    "waits for an agent",
    (Step(say="caller-digits-3", after_quiet_ms=4_000), Step(hang_up=True)),
    patience_ms=60_000,
)
"""Music is never quiet for so long: so this is said to the agent."""

LISTENS: Final = Conversation("just listens", (), patience_ms=30_000)

OneLine = tuple[System, asyncio.Task[CallResult]]


@asynccontextmanager
async def taken_line(start_system: StartSystem, folder: Path, when_full: str) -> AsyncIterator[OneLine]:
    """A system with room for one call, and that call."""
    agents = folder / "agents"
    agents.mkdir()
    (agents / "desk.yaml").write_text(
        f"name: front desk\nnumbers: any\ninstructions: Be brief.\nwhen_full:\n{when_full}"
    )
    settings = {"worker": {"TRUNKLINE_AGENTS": str(agents), "WORKER_CAPACITY": "1"}}
    async with asyncio.timeout(LIMIT_S), start_system(settings=settings) as running:
        connected = asyncio.Event()

        def notice(event: Event) -> None:
            if event["event"] == "agent-audible":
                connected.set()

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(place_call(call_settings(running, TALKS), notice))
            await connected.wait()
            yield running, first


async def test_the_second_caller_waits_and_is_answered_when_the_first_hangs_up(
    start_system: StartSystem, tmp_path: Path
) -> None:
    wait = '  type: wait\n  text: Please hold.\n  position_text: "Number {position}."\n'
    queues = Queues()
    async with taken_line(start_system, tmp_path, wait) as (running, first):
        second = await place_call(call_settings(running, ASKS, queues=queues, word_ms=50))
        stored = [await read_back(running, each) for each in (await first, second)]
        logs = "".join(path.read_text() for path in (running.folder / "logs").glob("*.log"))

    assert second.said[:2] == ["Please hold.", "Number 1."]
    assert {url.rpartition("/")[2] for url in second.played} == {"hold-music.wav"}
    assert (second.queues, second.queue_results) == (["front desk"], ["leave"])
    assert (second.attaches, second.end_reason, second.warnings) == (1, "caller-hung-up", [])
    assert [turn.speaker for turn in stored[1].rows.turns] == ["agent", "caller", "agent"]
    assert [each.rows.call.reason for each in stored] == ["caller-hung-up"] * 2
    assert queues.waiting("front desk") == []
    assert CALLER[1:] not in logs


@pytest.mark.parametrize(
    ("when_full", "verb"),
    [
        ("  type: say\n  text: Call tomorrow.\n", "say"),
        (f'  type: dial\n  number: "{FRONT_DESK}"\n', "dial"),
        ("  type: busy\n", "busy"),
    ],
)
async def test_the_second_caller_gets_what_the_profile_says(
    start_system: StartSystem, tmp_path: Path, when_full: str, verb: str
) -> None:
    async with taken_line(start_system, tmp_path, when_full) as (running, first):
        callee = Callee(after_s=0.2, talk_s=0.2)
        second = await place_call(call_settings(running, LISTENS, callee=callee, word_ms=0))
        assert (await first).script_finished

    assert second.attaches == 0
    got = (second.said, second.dialled, second.status)
    assert (
        got
        == {
            "say": (["Call tomorrow."], [], "completed"),
            "dial": ([], [FRONT_DESK], "completed"),
            "busy": ([], [], "busy"),
        }[verb]
    )
