"""Whole calls: telephone → gateway → NATS → worker → model and back, checked by what was heard at both ends."""

import json
import wave
from itertools import pairwise

import numpy as np
import pytest
from digit_recognition import spoken_digits
from e2e.conftest import PlacedCall, StartSystem, dial, dial_and_read_back
from numpy.typing import NDArray

from trunkline_local.system import Model, System
from trunkline_simulators import recordings

AUDIO_PATHS = [
    pytest.param({}, id="pcm24k-polyphase"),
    pytest.param({"RESAMPLER": "soxr"}, id="pcm24k-soxr"),
    pytest.param({"AUDIO_PATH": "pcmu"}, id="pcmu"),
]


@pytest.mark.parametrize("worker_settings", AUDIO_PATHS)
async def test_spoken_digits_arrive_at_both_ends(
    start_system: StartSystem, worker_settings: dict[str, str]
) -> None:
    async with start_system(settings={"worker": worker_settings}) as running:
        call = await dial_and_read_back(running, "digits")

    assert call.result.script_finished
    assert call.result.warnings == []
    assert rejected_events(call) == []
    assert digits_heard_by_model(call) == [text_of(f"caller-digits-{number}") for number in range(1, 5)]
    assert digits_heard_by_caller(call) == [text_of(f"agent-digits-{number}") for number in range(1, 5)]


async def test_an_interruption_cuts_what_the_caller_did_not_hear(start_system: StartSystem) -> None:
    async with start_system() as running:
        call = await dial_and_read_back(running, "demo")

    assert call.result.clean, call.result
    assert rejected_events(call) == []
    turns = call.rows.turns
    assert [turn.speaker for turn in turns] == ["agent", "caller"] * 3 + ["agent"]
    assert [turn.said for turn in turns if turn.speaker == "caller"] == [
        text_of("caller-hours"),
        text_of("caller-price"),
        text_of("caller-book"),
    ]
    cut = [turn for turn in turns if turn.interrupted]
    assert len(cut) == call.rows.call.interruptions == 1
    assert text_of("agent-price").startswith(cut[0].heard)
    assert 0 < len(cut[0].heard) < len(cut[0].said)
    # Twilio dropped what it still held, and played nothing of it afterwards.
    assert call.result.cleared_bytes > 0
    # Marks come every 200 ms, and between them the clock runs on.
    assert cut[0].heard_ms == pytest.approx(played_of_the_cut_item_ms(call), abs=200)


async def test_a_call_is_stored_whole(start_system: StartSystem) -> None:
    async with start_system() as running:
        call = await dial_and_read_back(running, "digits")

    row = call.rows.call
    assert (row.outcome, row.reason) == ("success", "caller-hung-up")
    assert call.rows.events == row.events_expected
    assert [turn.position for turn in call.rows.turns] == sorted(turn.position for turn in call.rows.turns)
    answers = call.rows.latencies
    assert len(answers) == 4
    for answer in answers:
        # Each part was measured, and none of them is the wrong unit.
        assert all(0 <= part < 10_000 for part in answer), answer


async def test_nothing_private_is_in_any_log(start_system: StartSystem) -> None:
    async with start_system() as running:
        call = await dial_and_read_back(running, "digits")
        logs = "\n".join(path.read_text() for path in (running.folder / "logs").glob("*.log"))

    assert call.result.call_sid in logs
    private = [
        "+12025550123", "12025550123", "+12025550147", running.line.auth_token,
        *(text_of(f"caller-digits-{number}") for number in range(1, 5)),
        *(text_of(f"agent-digits-{number}") for number in range(1, 5)),
    ]  # fmt: skip
    assert [secret for secret in private if secret in logs] == []


async def test_a_wrong_key_lets_the_caller_hear_the_fallback_and_the_log_say_what_to_do(
    start_system: StartSystem,
) -> None:
    async with start_system(Model(api_key="wrong"), simulator_options=["--api-key", "right"]) as running:
        result = await dial(running, "digits")
        log = [json.loads(line) for line in (running.folder / "logs/worker.log").read_text().splitlines()]

    assert len(result.said) == 1
    assert "sorry" in result.said[0].lower()
    assert [line["do"] for line in log if line["event"] == "model-refused"] == ["check OPENAI_API_KEY"]


async def test_without_a_worker_the_caller_hears_the_fallback_at_once(start_system: StartSystem) -> None:
    async with start_system() as running:
        await stop_service(running, "worker")
        result = await dial(running, "digits")

    assert len(result.said) == 1
    assert "busy" in result.said[0]
    assert result.attaches == 0


def text_of(utterance_id: str) -> str:
    return recordings.utterance(utterance_id).text


def played_of_the_cut_item_ms(call: PlacedCall) -> float:
    """How much of the item that was cleared the telephone had really played, by its own trace."""
    assert call.result.trace is not None
    began_bytes: dict[str, int] = {}
    total_bytes = unmarked_from = 0
    for event in (json.loads(line) for line in call.result.trace.read_text().splitlines()):
        if event["event"] == "media-received":
            total_bytes = event["total_bytes"]
        elif event["event"] == "mark-received":
            began_bytes.setdefault(event["name"].split(":")[1], unmarked_from)
            unmarked_from = total_bytes
        elif event["event"] == "clear-received":
            cut_item_began = list(began_bytes.values())[-1]
            return float(total_bytes - event["dropped_bytes"] - cut_item_began) / 8
    raise AssertionError("nothing was cleared")


def rejected_events(call: PlacedCall) -> list[dict[str, object]]:
    return [event for event in call.model_trace if event["event"] == "rejected"]


async def stop_service(running: System, name: str) -> None:
    process = next(process for process in running.processes if process.name == name)
    assert await process.stop() == 0


def digits_heard_by_model(call: PlacedCall) -> list[str]:
    with wave.open(str(call.model_wav)) as wav:
        sound = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
        return [
            spoken_digits(utterance, wav.getframerate())
            for utterance in utterances_in(sound, wav.getframerate())
        ]


def digits_heard_by_caller(call: PlacedCall) -> list[str]:
    assert call.result.heard_wav is not None
    with wave.open(str(call.result.heard_wav)) as wav:
        both = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2").reshape(-1, 2)
        heard = utterances_in(both[:, 1], wav.getframerate())
        # The first thing that the caller hears is the greeting.
        return [spoken_digits(utterance, wav.getframerate()) for utterance in heard[1:]]


def utterances_in(sound: NDArray[np.int16], rate_hz: int) -> list[NDArray[np.int16]]:
    """Cut sound where it is silent for more than 0.6 s; each part keeps 0.2 s around it."""
    step = rate_hz // 50
    frames = sound[: sound.size // step * step].reshape(-1, step).astype(np.float64)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 200)
    breaks = [0, *(index + 1 for index, (a, b) in enumerate(pairwise(loud)) if b - a > 30), loud.size]
    margin = rate_hz // 5
    return [
        sound[max(loud[first] * step - margin, 0) : (loud[last - 1] + 1) * step + margin]
        for first, last in pairwise(breaks)
        if last > first
    ]
