"""Simulated calls that wait in a queue, or are refused or put through before they are answered."""

import asyncio
import io
import wave
from collections.abc import Callable

from media_server import PUBLIC_HOST, Answer, Asked, MediaServer
from simulated_calls import WAITS, call, codes, documents, settings_for, signature, twiml

from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_queues import Queues

WAIT_URL = f"https://{PUBLIC_HOST}/wait"
PATIENT = Conversation("listens to music", (), patience_ms=20_000)
ENQUEUE = "<Enqueue action='/waited' waitUrl='/wait'>desk</Enqueue>"


def sound() -> bytes:
    """Return half a second of PCM16 in a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8_000)
        writer.writeframes(bytes(8_000))
    return file.getvalue()


SOUND = sound()


def queueing(wait: Callable[[Asked], str]) -> Callable[[Asked], Answer]:
    """A webhook that makes everybody wait, and hangs up on whoever leaves."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/hold.wav":
            return Answer(SOUND, content_type="audio/wav")
        verbs = {"/voice": ENQUEUE, "/waited": "<Hangup/>"}
        return Answer(f"<Response>{verbs.get(asked.path) or wait(asked)}</Response>")

    return answer


async def test_a_waiting_call_is_told_its_place_by_signed_requests() -> None:
    result, server = await call(queueing(lambda asked: "<Leave/>"))

    asked = {each.path: each for each in server.asked}
    wait, waited = asked["/wait"], asked["/waited"]
    assert wait.headers["x-twilio-signature"] == signature(WAIT_URL, wait.fields)
    assert (wait.fields["QueuePosition"], wait.fields["CurrentQueueSize"]) == ("1", "1")
    assert wait.fields["CallStatus"] == "in-progress", "<Enqueue> answers the call"
    assert (waited.fields["QueueResult"], waited.fields["QueueTime"]) == ("leave", "0")
    assert (result.queues, result.queue_results, result.end_reason) == (["desk"], ["leave"], "hangup")
    assert result.warnings == []


async def test_hold_music_is_fetched_and_must_be_a_sound() -> None:
    documents_left = ["<Play>/hold.wav</Play>", "<Leave/>"]
    result, server = await call(queueing(lambda asked: documents_left.pop(0)), conversation=PATIENT)
    silent, _ = await call(queueing(lambda asked: "<Play>/waited</Play>"), conversation=WAITS)

    assert result.played == ["https://voice.example.com/hold.wav"]
    assert [each.path for each in server.asked].count("/hold.wav") == 1
    assert (result.warnings, result.end_reason) == ([], "hangup")
    assert set(codes(silent)) == {12300}


async def test_a_caller_who_hangs_up_while_waiting_leaves_nothing_behind() -> None:
    queues = Queues()
    result, server = await call(
        queueing(lambda asked: "<Pause length='10'/>"), conversation=WAITS, queues=queues
    )

    (waited,) = [each for each in server.asked if each.path == "/waited"]
    assert result.end_reason == "caller-gave-up"
    assert (waited.fields["QueueResult"], waited.fields["CallStatus"]) == ("hangup", "completed")
    assert queues.waiting("desk") == []


async def test_two_calls_wait_in_line() -> None:
    queues = Queues()
    positions: list[str] = []

    def wait(asked: Asked) -> str:
        positions.append(asked.fields["QueuePosition"])
        return "<Leave/>" if asked.fields["CurrentQueueSize"] == "2" else "<Pause/>"

    server = MediaServer(queueing(wait), [])
    async with server.running(), asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(place_call(settings_for(server, WAITS, queues=queues)))

    assert "2" in positions
    assert queues.waiting("desk") == []


async def test_a_call_that_is_refused_was_never_answered() -> None:
    result, _ = await call(twiml("<Reject reason='busy'/>"))

    assert (result.status, result.end_reason, result.duration_ms) == ("busy", "reject", 0)


async def test_a_caller_who_is_put_through_hears_it_ring_until_somebody_answers() -> None:
    pages = documents(
        voice="<Dial answerOnBridge='true' action='/dialled'>+12025550160</Dial>", dialled="<Say>Nobody</Say>"
    )

    result, server = await call(pages, callee=Callee("busy", after_s=0.05))
    answered, after = await call(pages, callee=Callee(after_s=0.05, talk_s=0.05))

    assert server.asked[-1].fields["CallStatus"] == "ringing"
    assert after.asked[-1].fields["CallStatus"] == "in-progress"
    assert (result.said, answered.dialled) == (["Nobody"], ["+12025550160"])
