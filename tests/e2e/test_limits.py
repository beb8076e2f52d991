"""A caller who says nothing is asked, bidden goodbye, and not kept on the line."""

import json
from pathlib import Path

from e2e.conftest import StartSystem, dial_and_read_back

PROFILE = """
name: desk
numbers: any
instructions: Be brief.
limits: {silence_s: 2}
"""


async def test_a_silent_caller_is_asked_and_bidden_goodbye(start_system: StartSystem, tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "desk.yaml").write_text(PROFILE)
    silent = tmp_path / "silent.json"
    silent.write_text(json.dumps({"name": "silent", "steps": []}))

    async with start_system(settings={"worker": {"TRUNKLINE_AGENTS": str(agents)}}) as running:
        call = await dial_and_read_back(running, str(silent))

    assert call.rows.call.reason == "caller-silent"
    assert [turn.speaker for turn in call.rows.turns] == ["agent"] * 3, "greeting, question and goodbye"
    assert all(turn.heard == turn.said for turn in call.rows.turns)
    assert [event for event in call.model_trace if event["event"] == "rejected"] == []
