"""A whole call with a model of the older shape: both sides understand each other's words, through a lost socket too."""

import json

from e2e.conftest import StartSystem, dial_and_read_back
from e2e.test_calls import digits_heard_by_caller, text_of

CALLER = [text_of(f"caller-digits-{number}") for number in range(1, 5)]
AGENT = [text_of(f"agent-digits-{number}") for number in range(1, 5)]


async def test_a_call_through_a_compatible_server_of_the_older_shape(start_system: StartSystem) -> None:
    # The session is lost while an answer is made, and restored in the same shape.
    async with start_system(
        settings={"worker": {"OPENAI_REALTIME_DIALECT": "beta"}},
        simulator_options=["--dialect", "beta", "--fault", "close=1011@response.created:3"],
    ) as running:
        call = await dial_and_read_back(running, "digits")
        traces = [
            json.loads(line)
            for path in (running.folder / "recordings").glob("sess_*.jsonl")
            for line in path.read_text().splitlines()
        ]

    assert call.result.script_finished
    assert [event for event in traces if event["event"] == "rejected"] == []
    assert len(call.rows.sessions) == 2
    assert [turn.said for turn in call.rows.turns if turn.speaker == "caller"] == CALLER
    assert digits_heard_by_caller(call) == AGENT
