"""Barge-in: who cancels, in which order, and what is left to do when the answer was already sent."""

from sim_openai_driver import Driver

from trunkline_simulators.openai_replies import Behaviour

SOUND = "response.output_audio.delta"
CUT = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def interrupted(*, in_flight_deltas: int = 0, latency_ms: int = 300, **turn_detection: bool) -> Driver:
    """Return a driver in whose events the caller has begun to speak into the answer about prices."""
    # At twice real time the answer of ten seconds takes five to be sent.
    behaviour = Behaviour(pace=2.0, latency_ms=latency_ms, in_flight_deltas=in_flight_deltas)
    driver = Driver(behaviour=behaviour)
    driver.configure_pcmu()
    if turn_detection:
        settings = {"type": "server_vad"} | turn_detection
        driver.configure(audio={"input": {"turn_detection": settings}})
    driver.say("caller-price", then_silence_ms=1_500)
    driver.forget()
    driver.say("caller-book", then_silence_ms=0)
    return driver


def test_the_server_cancels_the_response_when_speech_starts() -> None:
    driver = interrupted()

    started = driver.kinds().index("input_audio_buffer.speech_started")
    response = driver.one("response.done")["response"]

    assert driver.kinds()[started + 1 : started + 1 + len(CUT)] == CUT
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert [item["status"] for item in response["output"]] == ["incomplete"]


def test_the_cut_item_has_the_words_that_were_sent() -> None:
    driver = interrupted()

    transcript = driver.one("response.output_audio_transcript.done")["transcript"]
    item = driver.one("response.output_item.done")["item"]

    assert transcript.startswith("A check up is sixty dollars.")
    assert not transcript.endswith("if you have one.")
    assert item["content"] == [{"type": "output_audio", "transcript": transcript}]


def test_deltas_in_flight_still_arrive_after_speech_started() -> None:
    driver = interrupted(in_flight_deltas=3)

    kinds = driver.kinds()
    started, done = kinds.index("input_audio_buffer.speech_started"), kinds.index("response.done")

    assert kinds[started:done].count(SOUND) == 3
    assert kinds[done - 5 : done + 2] == CUT
    assert driver.one("response.done")["response"]["status_details"]["reason"] == "turn_detected"
    assert SOUND not in kinds[done:]


def test_a_response_that_has_not_spoken_is_cancelled_without_items() -> None:
    driver = interrupted(in_flight_deltas=3, latency_ms=5_000)

    started = driver.kinds().index("input_audio_buffer.speech_started")

    assert driver.kinds()[started + 1 :] == ["response.done", "rate_limits.updated"]
    assert driver.one("response.done")["response"]["output"] == []


def test_when_the_answer_was_already_sent_nothing_is_cancelled() -> None:
    driver = Driver(behaviour=Behaviour(pace=8.0))
    driver.say("caller-price", then_silence_ms=3_500)
    driver.forget()

    driver.say("caller-book", then_silence_ms=0)

    assert driver.kinds() == ["input_audio_buffer.speech_started"]


def test_without_interrupt_response_it_goes_on_until_the_client_cancels() -> None:
    driver = interrupted(interrupt_response=False)
    assert not driver.of("response.done")
    response_id = driver.of(SOUND)[-1]["response_id"]

    cancelled = driver.send("response.cancel", response_id=response_id)

    assert [event["type"] for event in cancelled] == CUT
    assert cancelled[-2]["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


def test_an_answer_that_may_not_interrupt_fails_beside_the_active_one() -> None:
    driver = interrupted(interrupt_response=False)

    driver.be_silent(700)

    (error,) = driver.errors()
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] is None


def test_cancelling_nothing_is_an_error() -> None:
    driver = Driver()

    (answer,) = driver.send("response.cancel", event_id="c")

    assert answer["error"]["code"] == "response_cancel_not_active"
    assert answer["error"]["message"] == "Cancellation failed: no active response found"
    assert answer["error"]["event_id"] == "c"


def test_the_interrupting_turn_is_answered_and_the_cut_item_can_be_truncated() -> None:
    driver = interrupted()
    item_id = driver.one("response.output_item.done")["item"]["id"]

    (truncated,) = driver.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500
    )
    driver.be_silent(700)
    driver.wait(4)

    assert truncated["type"] == "conversation.item.truncated"
    assert driver.of("response.done")[-1]["response"]["status"] == "completed"
    assert driver.of("response.output_audio_transcript.done")[-1]["transcript"].startswith("You are booked")
