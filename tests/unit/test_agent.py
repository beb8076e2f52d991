"""The session that an agent asks for: explicit, without nulls, and fit for its model."""

from typing import Any

import pytest

from trunkline_worker.agent import DEAD_MODELS, Agent, SemanticVad, ServerVad
from trunkline_worker.events import AudioPath

BOTH_PATHS: list[AudioPath] = ["pcm24k", "pcmu"]


@pytest.mark.parametrize("audio_path", BOTH_PATHS)
def test_every_field_is_set_because_defaults_differ_from_model_to_model(audio_path: AudioPath) -> None:
    session = Agent(audio_path=audio_path).session()

    assert session.keys() == {
        *("type", "output_modalities", "instructions", "audio", "tools", "tool_choice"),
        *("max_output_tokens", "truncation", "reasoning"),
    }
    assert session["audio"]["input"].keys() == {
        "format",
        "noise_reduction",
        "transcription",
        "turn_detection",
    }
    assert session["audio"]["input"]["turn_detection"].keys() == {
        *("type", "threshold", "prefix_padding_ms", "silence_duration_ms"),
        *("create_response", "interrupt_response"),
    }
    assert session["audio"]["output"].keys() == {"format", "voice", "speed"}


@pytest.mark.parametrize("audio_path", BOTH_PATHS)
def test_nulls_are_left_out_rather_than_sent(audio_path: AudioPath) -> None:
    assert None not in leaves(Agent(audio_path=audio_path).session())


def test_pcm_has_its_rate_and_pcmu_has_none() -> None:
    # The API demands the first and rejects the whole update for the second.
    pcm24k, pcmu = Agent(audio_path="pcm24k").session()["audio"], Agent(audio_path="pcmu").session()["audio"]

    assert pcm24k["input"]["format"] == pcm24k["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert pcmu["input"]["format"] == pcmu["output"]["format"] == {"type": "audio/pcmu"}


def test_silence_is_answered_only_by_an_agent_that_is_told_to() -> None:
    turn_detection = Agent(turn_detection=ServerVad(idle_timeout_ms=6_000)).listening()

    assert turn_detection["idle_timeout_ms"] == 6_000
    assert "idle_timeout_ms" not in Agent().listening()


@pytest.mark.parametrize("detector", [ServerVad(), SemanticVad()])
def test_where_short_speech_does_not_count_the_model_does_nothing_by_itself(
    detector: ServerVad | SemanticVad,
) -> None:
    turn_detection = Agent(turn_detection=detector, min_speech_ms=250).listening()

    assert turn_detection["create_response"] is False
    assert turn_detection["interrupt_response"] is False


def test_the_model_answers_and_stops_by_its_own_vad() -> None:
    # The core never cancels at a barge-in, because of this.
    turn_detection = Agent().session()["audio"]["input"]["turn_detection"]

    assert turn_detection["create_response"] is True
    assert turn_detection["interrupt_response"] is True


@pytest.mark.parametrize(
    "model",
    ["gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2-2026-05-07"],
)
def test_models_of_the_second_generation_get_their_reasoning_set(model: str) -> None:
    assert Agent(model=model).session()["reasoning"] == {"effort": "low"}


@pytest.mark.parametrize(
    "model",
    [
        "gpt-realtime",
        "gpt-realtime-1.5",
        "gpt-realtime-mini",
        "gpt-realtime-2025-08-28",
        "gpt-realtime-mini-2025-12-15",
    ],
)
def test_older_models_reject_the_whole_update_for_reasoning_and_get_none(model: str) -> None:
    assert "reasoning" not in Agent(model=model).session()


def test_dead_models_are_replaced_by_living_ones() -> None:
    assert not DEAD_MODELS.keys() & set(DEAD_MODELS.values())
    assert Agent().model not in DEAD_MODELS


def test_what_an_agent_is_told_is_in_its_session() -> None:
    agent = Agent(
        instructions="Be brief.",
        voice="cedar",
        language="de",
        turn_detection=ServerVad(threshold=0.7, silence_duration_ms=800),
    )

    session = agent.session()

    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["audio"]["input"]["transcription"]["language"] == "de"
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 800


def test_turns_by_meaning_carry_no_field_about_loudness() -> None:
    # The API rejects the whole update for one.
    session = Agent(turn_detection=SemanticVad(eagerness="low")).session()

    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }


def test_what_is_switched_off_is_left_out() -> None:
    session = Agent(noise_reduction="none", language="auto").session()

    assert "noise_reduction" not in session["audio"]["input"]
    assert "language" not in session["audio"]["input"]["transcription"]


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]
