"""One spoken turn: the golden order of events, how audio and transcript come, and what is heard."""

import base64
from itertools import pairwise

import numpy as np
import pytest
from sim_openai_driver import Driver

from trunkline_simulators import recordings
from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_replies import Behaviour, sound
from trunkline_simulators.openai_transcription import Mode

TRANSCRIPTION = "conversation.item.input_audio_transcription"
WORDS, SOUND = "response.output_audio_transcript.delta", "response.output_audio.delta"


def after_one_turn(
    utterance_id: str = "caller-hours", transcription_model: str | None = None, mode: Mode = "auto"
) -> Driver:
    """Return a driver with the events of one turn and its answer."""
    driver = Driver(behaviour=Behaviour(transcription=mode), model="gpt-realtime-2.1")
    driver.configure_pcmu()
    if transcription_model is not None:
        driver.configure(audio={"input": {"transcription": {"model": transcription_model}}})
    driver.forget()
    driver.be_silent(400)
    driver.say(utterance_id)
    driver.wait(4)
    return driver


def test_the_golden_order_of_a_turn() -> None:
    driver = after_one_turn()

    kinds = [kind for kind in driver.collapsed() if kind not in {WORDS, SOUND}]
    assert kinds == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        # … deltas …
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]


def test_words_come_first_then_sound_then_both_by_turns() -> None:
    driver = after_one_turn()

    first = driver.kinds().index(WORDS)
    deltas = [kind for kind in driver.kinds() if kind in {WORDS, SOUND}]

    assert driver.kinds()[first - 1] == "response.content_part.added"
    assert deltas.index(SOUND) in {3, 4}
    assert WORDS in deltas[deltas.index(SOUND) :]
    assert deltas[-1] == SOUND


def test_the_user_item_has_one_id_from_the_first_sound_on() -> None:
    driver = after_one_turn()

    started = driver.one("input_audio_buffer.speech_started")
    stopped = driver.one("input_audio_buffer.speech_stopped")
    committed = driver.one("input_audio_buffer.committed")
    user, assistant = driver.of("conversation.item.added")

    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == user["item"]["id"]
    assert committed["previous_item_id"] is user["previous_item_id"] is None
    assert assistant["previous_item_id"] == user["item"]["id"]
    assert user["item"] == {
        "id": started["item_id"],
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


def test_on_later_turns_the_previous_item_is_the_assistants() -> None:
    driver = after_one_turn()
    answer_id = driver.one("response.done")["response"]["output"][0]["id"]
    driver.forget()

    driver.say("caller-price")

    assert driver.one("input_audio_buffer.committed")["previous_item_id"] == answer_id


def test_vad_positions_are_milliseconds_of_appended_audio() -> None:
    driver = after_one_turn()

    start_ms = driver.one("input_audio_buffer.speech_started")["audio_start_ms"]
    end_ms = driver.one("input_audio_buffer.speech_stopped")["audio_end_ms"]

    assert (start_ms + 300) % 32 == end_ms % 32 == 0
    assert 100 <= start_ms < 400
    assert end_ms > 400 + 2_000 + 500


def test_the_response_says_what_it_is_before_and_after() -> None:
    driver = after_one_turn()

    created = driver.one("response.created")["response"]
    done = driver.one("response.done")["response"]

    assert created["status"] == "in_progress"
    assert created["output"] == []
    assert created["usage"] is created["status_details"] is created["metadata"] is None
    assert created["output_modalities"] == ["audio"]
    assert created["max_output_tokens"] == "inf"
    assert created["audio"] == {"output": {"format": {"type": "audio/pcmu"}, "voice": "marin"}}
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert done["output"] == [driver.one("response.output_item.done")["item"]]


def test_the_part_is_called_audio_and_the_content_output_audio() -> None:
    driver = after_one_turn()
    text = recordings.utterance("agent-hours").text

    assert driver.one("response.content_part.added")["part"] == {"type": "audio", "transcript": ""}
    assert driver.one("response.content_part.done")["part"] == {"type": "audio", "transcript": text}
    assert driver.one("response.output_item.done")["item"]["content"] == [
        {"type": "output_audio", "transcript": text}
    ]
    assert "".join(event["delta"] for event in driver.of(WORDS)) == text


@pytest.mark.parametrize("name", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_the_audio_is_the_recording_in_the_sessions_format(name: AudioFormatName) -> None:
    driver = Driver()
    rate = {"rate": 24_000} if name == "audio/pcm" else {}
    driver.configure(audio={"output": {"format": {"type": name} | rate}})

    driver.send("response.create")
    driver.wait(4)

    response_id = driver.one("response.done")["response"]["id"]
    assert driver.audio_of(response_id) == sound("agent-greeting", name)


@pytest.mark.parametrize("name", ["audio/pcm", "audio/pcmu"])
def test_deltas_are_about_250_ms_and_never_whole_frames(name: AudioFormatName) -> None:
    driver = Driver()
    rate = {"rate": 24_000} if name == "audio/pcm" else {}
    driver.configure(audio={"output": {"format": {"type": name} | rate}})
    driver.send("response.create")
    driver.wait(4)

    sizes = [len(base64.b64decode(event["delta"])) for event in driver.of(SOUND)]
    durations_ms = [FORMATS[name].duration_ms(size) for size in sizes]

    assert durations_ms[0] < 200
    assert all(225 <= duration <= 275 for duration in durations_ms[1:-1])
    assert all(duration % 20 for duration in durations_ms[:-1])
    assert all(size % FORMATS[name].sample_bytes == 0 for size in sizes)


def test_samples_can_be_split_between_deltas() -> None:
    driver = Driver(behaviour=Behaviour(split_samples=True))
    driver.send("response.create")
    driver.wait(4)

    sizes = [len(base64.b64decode(event["delta"])) for event in driver.of(SOUND)]

    assert all(size % 2 == 1 for size in sizes[:-1])
    assert driver.audio_of(driver.one("response.done")["response"]["id"]) == sound(
        "agent-greeting", "audio/pcm"
    )


@pytest.mark.parametrize("pace", [3.0, 5.0])
def test_audio_comes_faster_than_it_sounds(pace: float) -> None:
    driver = Driver(behaviour=Behaviour(pace=pace))
    driver.send("response.create")
    driver.wait(4)

    sent = [
        (at, event) for at, event in zip(driver.times, driver.events, strict=True) if event["type"] == SOUND
    ]
    (first_at, _), (last_at, last) = sent[0], sent[-1]
    received_s = len(sound("agent-greeting", "audio/pcm")) / 48_000
    before_last_s = received_s - len(base64.b64decode(last["delta"])) / 48_000

    assert last_at - first_at == pytest.approx(before_last_s / pace)
    assert all(later >= earlier for (earlier, _), (later, _) in pairwise(sent))


@pytest.mark.parametrize("latency_ms", [0, 300, 1_000])
def test_the_first_audio_comes_the_latency_after_the_commit(latency_ms: int) -> None:
    driver = Driver(behaviour=Behaviour(latency_ms=latency_ms))
    driver.say("caller-hours")
    driver.wait(2)

    times = dict(zip(reversed(driver.kinds()), reversed(driver.times), strict=True))  # the first of each kind

    waited_s = times[SOUND] - times["input_audio_buffer.committed"]
    assert waited_s == pytest.approx(latency_ms / 1000)
    assert times["response.created"] == times["input_audio_buffer.committed"]


@pytest.mark.parametrize("utterance", recordings.utterances("caller"), ids=lambda each: each.id)
def test_each_utterance_gets_its_reply(utterance: recordings.Utterance) -> None:
    driver = after_one_turn(utterance.id)

    said = driver.one("response.output_audio_transcript.done")["transcript"]

    assert said == recordings.reply(utterance.id).text


def test_what_was_not_understood_gets_an_apology() -> None:
    driver = Driver()
    driver.play(np.random.default_rng(1).normal(0, 3_000, 24_000).astype(np.int16))
    driver.be_silent(700)
    driver.wait(3)

    said = driver.one("response.output_audio_transcript.done")["transcript"]

    assert said == recordings.reply(None).text


def test_a_turn_inside_one_long_append_is_found() -> None:
    driver = Driver()
    quiet = np.zeros(24_000, np.int16)

    driver.append(np.concatenate((quiet, recordings.samples("caller-hours", 24_000), quiet)))
    driver.wait(4)

    assert (
        driver.one("response.output_audio_transcript.done")["transcript"]
        == recordings.reply("caller-hours").text
    )


def test_without_turn_detection_the_client_commits_and_asks() -> None:
    driver = Driver()
    driver.configure(audio={"input": {"turn_detection": None}})
    driver.say("caller-price")
    assert driver.kinds() == ["session.created", "session.updated"]

    committed = driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    driver.wait(4)

    assert [event["type"] for event in committed] == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert (
        driver.one("response.output_audio_transcript.done")["transcript"]
        == recordings.reply("caller-price").text
    )


def test_cleared_audio_is_forgotten() -> None:
    driver = Driver()
    driver.configure(audio={"input": {"turn_detection": None}})
    driver.say("caller-price")

    (cleared,) = driver.send("input_audio_buffer.clear")
    (refused,) = driver.send("input_audio_buffer.commit")

    assert cleared["type"] == "input_audio_buffer.cleared"
    assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
    assert "buffer only has 0.00ms of audio." in refused["error"]["message"]


def test_vad_events_alone_if_no_response_is_wanted() -> None:
    driver = Driver()
    turn_detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
    driver.configure(audio={"input": {"turn_detection": turn_detection}})

    driver.say("caller-hours")
    driver.wait(2)

    assert driver.of("input_audio_buffer.committed")
    assert not driver.of("response.created")


def test_semantic_vad_waits_for_as_long_as_it_is_eager() -> None:
    driver = Driver()
    driver.configure(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}})

    driver.say("caller-hours", then_silence_ms=1_500)
    assert not driver.of("input_audio_buffer.speech_stopped")
    driver.be_silent(700)

    assert driver.of("input_audio_buffer.speech_stopped")
