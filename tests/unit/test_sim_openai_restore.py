"""A conversation brought back after a lost connection: what the model makes of it, and what it gives away."""

import json
from pathlib import Path

import pytest
from sim_openai_driver import Driver

from trunkline_simulators import openai_ledger, recordings
from trunkline_simulators.openai_replies import Again, Behaviour

OFF = {"input": {"turn_detection": None}}
ON = {"input": {"turn_detection": {"type": "server_vad"}}}


def tell(driver: Driver, role: str, text: str, item_id: str) -> None:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {"type": "message", "id": item_id, "role": role, "content": [{"type": kind, "text": text}]}
    created = driver.send("conversation.item.create", item=item)
    assert [event["type"] for event in created] == ["conversation.item.added", "conversation.item.done"]


def restored(*turns: tuple[str, str], again: Again = "repeat") -> Driver:
    """Return a session whose client has brought these turns back, and nobody's turn is under way."""
    driver = Driver(behaviour=Behaviour(again=again))
    driver.configure(audio=OFF)
    for number, (role, text) in enumerate(turns):
        tell(driver, role, text, f"t{number}_{role}")
    driver.forget()
    return driver


def answer(driver: Driver) -> str:
    driver.send("response.create")
    driver.wait(6)
    text: str = driver.of("response.done")[-1]["response"]["output"][0]["content"][0]["transcript"]
    return text


def caller(utterance_id: str) -> tuple[str, str]:
    return "user", recordings.utterance(utterance_id).text


def agent(utterance_id: str) -> tuple[str, str]:
    return "assistant", recordings.utterance(utterance_id).text


def noted(driver: Driver, event: str) -> list[dict[str, object]]:
    return [note.fields for note in driver.notes if note.event == event]


def test_the_last_question_is_answered_however_it_came() -> None:
    driver = restored(caller("caller-hours"), agent("agent-hours"), caller("caller-digits-2"))

    assert answer(driver) == recordings.reply("caller-digits-2").text
    assert noted(driver, "answer")[0]["again"] is False


def test_a_needless_answer_is_given_and_noted() -> None:
    driver = restored(caller("caller-hours"), agent("agent-hours"))

    assert answer(driver) == recordings.reply("caller-hours").text
    (noticed,) = noted(driver, "answer")
    assert (noticed["utterance"], noticed["answers"], noticed["again"]) == (
        "agent-hours",
        "caller-hours",
        True,
    )


def test_a_cut_answer_can_be_continued() -> None:
    whole = recordings.utterance("agent-hours").text
    heard = "On Saturdays we are open from"

    driver = restored(caller("caller-hours"), ("assistant", heard), again="continue")

    assert f"{heard} {answer(driver)}" == whole


def test_a_truncated_answer_is_continued_from_the_cut() -> None:
    driver = Driver(behaviour=Behaviour(again="continue"))
    driver.say("caller-hours")
    driver.wait(6)
    item_id = driver.one("response.done")["response"]["output"][0]["id"]
    driver.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2_000)

    rest = answer(driver)

    assert recordings.utterance("agent-hours").text.endswith(rest)
    assert 3 < len(rest.split()) < 13


def test_without_turn_detection_the_caller_is_not_answered_but_the_clock_runs() -> None:
    driver = Driver()
    driver.configure(audio=OFF)
    driver.say("caller-hours")
    appended_ms = sum(1 for note in driver.notes if note.event == "append-received") * 20
    assert not driver.of("input_audio_buffer.speech_started")

    driver.configure(audio=ON)
    driver.be_silent(400)
    driver.say("caller-digits-1")

    started = driver.one("input_audio_buffer.speech_started")
    assert appended_ms <= started["audio_start_ms"] <= appended_ms + 400
    assert (started["audio_start_ms"] + 300) % 32 == 0
    (heard,) = noted(driver, "heard")
    assert heard["utterance"] == "caller-digits-1", "what was said before is not part of the turn"


def test_audio_of_the_outage_is_committed_by_hand_and_answered_once() -> None:
    driver = Driver()
    driver.configure(audio=OFF)
    driver.append(recordings.samples("caller-digits-3", 24_000))

    driver.send("input_audio_buffer.commit")
    assert answer(driver) == recordings.reply("caller-digits-3").text
    driver.configure(audio=ON)
    driver.be_silent(2_000)

    assert len(driver.of("response.created")) == 1


def test_a_turn_under_way_is_forgotten_when_turn_detection_is_switched_off() -> None:
    driver = Driver()
    driver.say("caller-digits-1", then_silence_ms=0)
    driver.configure(audio=OFF)

    driver.be_silent(1_000)

    assert not driver.of("input_audio_buffer.speech_stopped")


@pytest.mark.parametrize("item_id", ["x" * 32, "t1_user"])
def test_a_client_may_name_its_items(item_id: str) -> None:
    tell(Driver(), "user", "Hello", item_id)


def test_an_id_of_33_letters_is_too_long() -> None:
    item = {
        "type": "message",
        "id": "x" * 33,
        "role": "user",
        "content": [{"type": "input_text", "text": ""}],
    }

    (refused,) = Driver().send("conversation.item.create", item=item)

    assert (refused["error"]["code"], refused["error"]["param"]) == ("string_above_max_length", "item.id")


def test_the_ledger_joins_what_all_sessions_know(tmp_path: Path) -> None:
    first, second = Driver(), Driver()
    first.be_silent(400)
    first.say("caller-digits-1")
    tell(second, *caller("caller-digits-1"), "t0_user")
    tell(second, "user", "hello there", "t1_user")
    for number, driver in enumerate((first, second)):
        lines = [{"at_ns": number, "event": note.event, **note.fields} for note in driver.notes]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"sess_{number}.jsonl").write_text(text)

    heard, told, unknown = openai_ledger.read(tmp_path)

    assert (heard.source, heard.utterance) == ("heard", "caller-digits-1")
    assert heard.from_ms is not None
    assert heard.to_ms is not None
    assert 0 < heard.from_ms < 400 < heard.to_ms
    assert (told.source, told.utterance, told.from_ms) == ("told", "caller-digits-1", None)
    assert (unknown.source, unknown.utterance) == ("told", None)
