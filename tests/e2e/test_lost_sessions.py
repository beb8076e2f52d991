"""Calls whose model session is lost: the caller finishes what they came for, and every word is understood once."""

import json
from typing import Any

import pytest
from e2e.conftest import StartSystem, dial

from trunkline_local import stored
from trunkline_local.stored import StoredCall
from trunkline_local.system import System
from trunkline_simulators import recordings

DIGITS = [f"caller-digits-{number}" for number in range(1, 5)]

FAULTS = {
    "in the middle of an answer": "close=1006@response.output_audio.delta:6",
    "while the caller speaks": "close=1012@input_audio_buffer.speech_started:2",
    "when the caller's turn has just ended": "close=1001@input_audio_buffer.committed:2",
    "before the greeting": "close=1013@response.create:1",
    "without being closed": "stall@response.created:3",
    "because it expires": "expire=6",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_call_outlives_the_loss_of_its_session(start_system: StartSystem, fault: str) -> None:
    async with start_system(simulator_options=["--fault", fault]) as running:
        result = await dial(running, "digits")
        rows = await stored.read_call(running.database_url, result.call_sid)
        understood = heard(running, rows)

    assert result.script_finished
    assert (rows.call.outcome, rows.call.reason) == ("success", "caller-hung-up")
    assert len(rows.sessions) == 2
    assert understood == DIGITS
    said = [turn.said for turn in rows.turns if turn.speaker == "caller"]
    assert said == [recordings.utterance(digits).text for digits in DIGITS]
    assert rejected(running, rows) == []


async def test_a_rate_limited_answer_comes_late_instead_of_never(start_system: StartSystem) -> None:
    fault = "failed=rate_limit_exceeded@response.created:3"
    async with start_system(simulator_options=["--fault", fault]) as running:
        result = await dial(running, "digits")
        rows = await stored.read_call(running.database_url, result.call_sid)

    assert result.script_finished
    assert rows.call.outcome == "success"
    assert len(rows.sessions) == 1
    assert len([turn for turn in rows.turns if turn.speaker == "agent"]) == 5


def traces(running: System, rows: StoredCall) -> list[dict[str, Any]]:
    """Return what the model's side wrote down, one session after the other."""
    lines = []
    for session in rows.sessions:
        trace = running.folder / "recordings" / f"{session['session_id']}.jsonl"
        lines += [json.loads(line) for line in trace.read_text().splitlines()]
    return lines


def heard(running: System, rows: StoredCall) -> list[str]:
    """Return which recordings the model took as turns of the caller."""
    return [
        line["utterance"] for line in traces(running, rows) if line["event"] == "heard" and line["finished"]
    ]


def rejected(running: System, rows: StoredCall) -> list[dict[str, Any]]:
    """Return what the model refused; that it ended a session is no refusal."""
    lines = [line for line in traces(running, rows) if line["event"] == "rejected"]
    return [line for line in lines if line["code"] != "session_expired"]
