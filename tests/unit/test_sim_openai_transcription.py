"""The caller's transcript: during speech, before, in or after the answer, failed, or never."""

import pytest
from sim_openai_driver import Driver

from trunkline_simulators import recordings
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_transcription import Mode

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"
TEXT = recordings.utterance("caller-hours").text


def after_one_turn(mode: Mode = "auto", transcription_model: str | None = "gpt-realtime-whisper") -> Driver:
    driver = Driver(behaviour=Behaviour(transcription=mode))
    transcription = None if transcription_model is None else {"model": transcription_model}
    driver.configure(audio={"input": {"transcription": transcription}})
    driver.forget()
    driver.say("caller-hours")
    driver.wait(4)
    return driver


def position(driver: Driver, kind: str) -> int:
    return driver.kinds().index(kind)


def test_gpt_realtime_whisper_writes_during_speech() -> None:
    driver = after_one_turn()

    started, stopped = (
        position(driver, "input_audio_buffer.speech_started"),
        position(driver, "input_audio_buffer.speech_stopped"),
    )
    deltas = driver.of(DELTA)

    assert DELTA in driver.kinds()[started:stopped]
    assert {event["item_id"] for event in deltas} == {driver.one("input_audio_buffer.committed")["item_id"]}
    assert "".join(event["delta"] for event in deltas) == TEXT
    assert driver.one(COMPLETED)["transcript"] == TEXT
    assert driver.one(COMPLETED)["usage"] == {"type": "duration", "seconds": 3}


def test_whisper_1_writes_everything_in_one_delta_while_the_answer_comes() -> None:
    driver = after_one_turn(transcription_model="whisper-1")

    assert driver.one(DELTA)["delta"] == TEXT
    assert driver.one(COMPLETED)["usage"] == {"type": "duration", "seconds": 3}
    assert (
        position(driver, "response.created") < position(driver, COMPLETED) < position(driver, "response.done")
    )


def test_gpt_4o_transcribe_is_billed_in_tokens() -> None:
    driver = after_one_turn(transcription_model="gpt-4o-mini-transcribe")

    usage = driver.one(COMPLETED)["usage"]

    assert usage == {
        "type": "tokens",
        "total_tokens": usage["input_tokens"] + usage["output_tokens"],
        "input_tokens": usage["input_token_details"]["audio_tokens"],
        "input_token_details": {"text_tokens": 0, "audio_tokens": usage["input_tokens"]},
        "output_tokens": 10,
    }
    assert 25 <= usage["input_tokens"] <= 35
    assert len(driver.of(DELTA)) == len(TEXT.split())


@pytest.mark.parametrize("transcription_model", ["whisper-1", "gpt-realtime-whisper"])
def test_before_the_response(transcription_model: str) -> None:
    driver = after_one_turn("before", transcription_model)

    assert position(driver, "conversation.item.done") < position(driver, COMPLETED)
    assert position(driver, COMPLETED) < position(driver, "response.created")
    assert driver.one("response.done")["response"]["status"] == "completed"


def test_late_is_after_the_next_turn_has_begun() -> None:
    driver = after_one_turn("late")
    first_item = driver.one("input_audio_buffer.committed")["item_id"]
    assert not driver.of(COMPLETED)

    driver.say("caller-price")
    driver.wait(3)

    assert driver.one(COMPLETED)["item_id"] == first_item
    assert len(driver.of("input_audio_buffer.committed")) == 2


def test_failed_is_an_event_of_its_own_and_the_answer_comes_all_the_same() -> None:
    driver = after_one_turn("failed")

    failed = driver.one(FAILED)

    assert failed["error"]["message"] == f"Input transcription failed for item '{failed['item_id']}'."
    assert failed["error"]["type"] == "server_error"
    assert not driver.of("error")
    assert driver.one("response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize(("mode", "model"), [("never", "whisper-1"), ("auto", None)])
def test_never_or_without_a_model_there_is_nothing(mode: Mode, model: str | None) -> None:
    driver = after_one_turn(mode, model)
    driver.wait(20)

    assert not [kind for kind in driver.kinds() if "transcription" in kind]


def test_a_completed_transcript_stands_in_the_item() -> None:
    driver = after_one_turn()
    item_id = driver.one(COMPLETED)["item_id"]

    (answer,) = driver.send("conversation.item.retrieve", item_id=item_id)

    assert answer["item"]["content"][0]["transcript"] == TEXT
