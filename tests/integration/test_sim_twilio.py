"""The simulated Twilio in calls with servers that follow, break and never learned the rules."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_server import PUBLIC_HOST, Answer, Asked, Media, MediaServer, Session
from numpy.typing import NDArray
from simulated_calls import (
    CONNECT,
    CONNECT_AGAIN,
    HANGS_UP,
    SPEAKS,
    STREAM,
    STREAM_URL,
    TONE,
    WAITS,
    WEBHOOK,
    audio,
    call,
    closes,
    codes,
    documents,
    greets,
    listens,
    says_twice,
    settings_for,
    signature,
    twiml,
)

from trunkline_simulators import g711, recordings, twilio_sounds
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation

PATIENT = Conversation("never says a word, and waits", (), patience_ms=10_000)


async def test_the_webhook_is_asked_with_a_signed_form() -> None:
    _, server = await call(twiml("<Hangup/>"))

    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["host"]) == ("POST", "/voice", PUBLIC_HOST)
    assert asked.headers["x-twilio-signature"] == signature(WEBHOOK, asked.fields)
    assert asked.fields["CallStatus"] == "ringing"
    assert asked.fields["CalledZip"] == ""


async def test_the_stream_opens_with_a_signature_over_the_url_in_twiml() -> None:
    result, server = await call(CONNECT)

    (request,) = server.upgrades
    (session,) = server.sessions
    assert request.path == "/media-stream"
    assert request.headers["host"] == PUBLIC_HOST
    assert request.headers["x-twilio-signature"] == signature(STREAM_URL, {})
    assert "sec-websocket-extensions" not in request.headers
    assert [message["event"] for message in session.received[:3]] == ["connected", "start", "media"]
    assert session.received[1]["start"]["callSid"] == result.call_sid
    assert session.received[1]["start"]["customParameters"] == {"token": "one-time-token"}


async def test_a_caller_who_hangs_up_sends_stop_and_closes_without_a_code() -> None:
    result, server = await call(CONNECT)

    (session,) = server.sessions
    assert session.received[-1]["event"] == "stop"
    assert session.close_code == 1005
    assert result.end_reason == "caller-hung-up"
    assert result.clean


async def test_the_caller_is_heard_without_holes() -> None:
    result, server = await call(CONNECT, says_twice, conversation=SPEAKS)

    received = server.sessions[0].received
    media = [message for message in received if message["event"] == "media"]
    spoken = b"".join(audio(each) for each in media)
    assert g711.encode(recordings.samples("caller-price", 8_000)) in spoken
    assert [int(each["media"]["timestamp"]) for each in media] == [n * 20 for n in range(len(media))]
    numbers = [int(message["sequenceNumber"]) for message in received[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert result.clean
    assert len(result.reply_ms) == 1


async def test_marks_come_back_as_the_audio_before_them_is_played() -> None:
    async def marks(session: Session) -> None:
        await session.receive_until("start")
        session.send("mark", mark={"name": "before"})
        session.send_audio(TONE)
        session.send("mark", mark={"name": "after"})
        await session.receive_all()

    result, server = await call(CONNECT, marks)

    received = server.sessions[0].received
    before, after = [n for n, message in enumerate(received) if message["event"] == "mark"]
    assert [received[n]["mark"]["name"] for n in (before, after)] == ["before", "after"]
    frames_between = sum(message["event"] == "media" for message in received[before:after])
    assert 14 <= frames_between <= 17  # 300 ms
    assert (result.echoed_marks, result.cleared_marks, result.unanswered_marks) == (2, 0, 0)


async def test_clear_silences_the_agent_and_gives_the_marks_back() -> None:
    async def interrupted(session: Session) -> None:
        await session.receive_until("start")
        session.send_audio(TONE * 100)
        session.send("mark", mark={"name": "never played"})
        for _ in range(30):
            await session.receive_until("media")
        session.send("clear")
        await session.receive_all()

    result, server = await call(CONNECT, interrupted)

    (mark,) = [message for message in server.sessions[0].received if message["event"] == "mark"]
    assert mark["mark"]["name"] == "never played"
    assert result.cleared_marks == 1
    assert 560 * 8 <= result.played_bytes < len(TONE) * 100  # it was heard for 30 of the caller's frames
    assert result.cleared_bytes == len(TONE) * 100 - result.played_bytes
    assert result.clean


async def test_wrong_messages_are_reported_once_and_the_stream_lives_on() -> None:
    async def babbles(session: Session) -> None:
        await session.receive_until("start")
        session.send_binary(TONE)
        session.send_text("not json")
        session.send("ping")
        session.send("mark", mark={"name": "m"}, extra=1)
        session.send_text(json.dumps({"event": "clear", "streamSid": "MZ-of-another-call"}))
        session.send_binary(TONE)
        await greets_now(session)

    result, _ = await call(CONNECT, babbles)

    assert codes(result) == [31950, 31951]
    assert result.ignored_messages == {31950: 2, 31951: 4}
    assert result.played_bytes == len(TONE)
    assert not result.clean


async def greets_now(session: Session) -> None:
    session.send_audio(TONE)
    await session.receive_all()


async def test_a_silent_server_is_left() -> None:
    result, _ = await call(CONNECT, listens, conversation=replace_patience(HANGS_UP, 400))

    assert result.end_reason == "caller-gave-up"
    assert not result.warnings
    assert not result.clean


def replace_patience(conversation: Conversation, patience_ms: int) -> Conversation:
    return Conversation(conversation.name, conversation.steps, patience_ms=patience_ms)


async def resets(session: Session) -> None:
    await session.receive_until("media")
    session.reset()


@pytest.mark.parametrize(("first", "code"), [(closes, 31921), (resets, 31903)])
async def test_a_lost_stream_is_attached_again_by_the_action(first: Media, code: int) -> None:
    result, server = await call(CONNECT_AGAIN, first, greets)

    assert codes(result) == [code]
    assert result.attaches == 2
    assert [asked.path for asked in server.asked] == ["/voice", "/reattach"]
    assert server.asked[1].fields["CallStatus"] == "in-progress"
    assert server.asked[1].fields["StreamSid"] == server.sessions[0].stream_sid
    old, new = [session.received[1] for session in server.sessions]
    assert old["streamSid"] != new["streamSid"]
    assert old["start"]["callSid"] == new["start"]["callSid"]
    assert new["sequenceNumber"] == "1"
    assert len(result.reattach_gaps_ms) == 1


async def test_a_goodbye_by_closing_the_socket_is_clean() -> None:
    async def says_goodbye(session: Session) -> None:
        await session.receive_until("start")
        session.send_audio(TONE)
        session.send("mark", mark={"name": "goodbye"})
        await session.receive_until("mark")
        session.close(1000)
        await session.receive_all()

    result, _ = await call(CONNECT, says_goodbye, conversation=WAITS)

    assert (codes(result), result.end_reason, result.clean) == ([31921], "end-of-twiml", True)


async def test_a_refused_handshake_falls_through_to_the_next_verb() -> None:
    server = MediaServer(twiml(f"<Connect>{STREAM}</Connect><Say>All lines are busy</Say>"), [], 403)
    async with server.running():
        result = await place_call(settings_for(server, HANGS_UP))

    assert codes(result) == [31920]
    assert result.said == ["All lines are busy"]
    assert result.end_reason == "end-of-twiml"


async def test_a_webhook_that_cannot_be_reached_is_tried_twice() -> None:
    server = MediaServer(CONNECT, [])
    async with server.running():
        settings = settings_for(server, HANGS_UP)
    events: list[dict[str, Any]] = []

    result = await place_call(settings, events.append)

    assert codes(result) == [11200]
    assert result.end_reason == "application-error"
    assert "application error" in result.said[0]
    assert [event["status"] for event in events if event["event"] == "http"] == [None, None]


async def test_a_failing_webhook_leads_to_the_fallback() -> None:
    def webhook(asked: Asked) -> Answer:
        return (
            Answer("no", 500) if asked.path == "/voice" else Answer("<Response><Say>Later</Say></Response>")
        )

    result, server = await call(webhook, fallback_url=f"https://{PUBLIC_HOST}/fallback")

    assert result.said == ["Later"]
    assert server.asked[1].fields["ErrorCode"] == "11200"
    assert server.asked[1].fields["ErrorUrl"] == WEBHOOK


async def test_callbacks_tell_of_the_stream_and_of_the_end() -> None:
    with_callback = STREAM.replace("<Stream", '<Stream name="agent" statusCallback="/stream-status"')

    def webhook(asked: Asked) -> Answer:
        return Answer(f"<Response><Connect>{with_callback}</Connect></Response>")

    _, server = await call(webhook, closes, status_callback=f"https://{PUBLIC_HOST}/status")

    told = [asked.fields for asked in server.asked if asked.path == "/stream-status"]
    assert sorted(each["StreamEvent"] for each in told) == [
        "stream-error",
        "stream-started",
        "stream-stopped",
    ]
    assert {each["StreamName"] for each in told} == {"agent"}
    (end,) = [asked.fields for asked in server.asked if asked.path == "/status"]
    assert end["CallStatus"] == "completed"


async def test_a_sound_file_is_played_and_recorded(tmp_path: Path) -> None:
    def webhook(asked: Asked) -> Answer:
        if asked.path == "/music":
            return Answer(wav_file(TONE), content_type="audio/wav")
        return Answer("<Response><Play loop='2'>/music</Play></Response>")

    result, _ = await call(webhook, conversation=WAITS, record=tmp_path)

    assert result.played == [f"https://{PUBLIC_HOST}/music"]
    assert not result.warnings
    assert result.heard_wav is not None
    assert right_channel(result.heard_wav).tobytes().count(g711.decode(TONE).tobytes()) == 2


def wav_file(ulaw: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8_000)
        wav.writeframes(g711.decode(ulaw).tobytes())
    return file.getvalue()


def right_channel(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (2, 2, 8_000)
        return np.frombuffer(wav.readframes(wav.getnframes()), np.int16)[1::2]


async def test_the_record_holds_both_voices_and_every_event(tmp_path: Path) -> None:
    result, server = await call(CONNECT, says_twice, conversation=SPEAKS, record=tmp_path)

    assert result.heard_wav == tmp_path / f"{result.call_sid}.wav"
    assert right_channel(result.heard_wav).tobytes().count(g711.decode(TONE).tobytes()) == 2
    events = [json.loads(line) for line in (tmp_path / f"{result.call_sid}.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    sent = sum(message["event"] == "media" for message in server.sessions[0].received)
    assert kinds.count("frame-sent") == sent
    assert kinds.count("media-received") == 2
    story = [kind for kind in kinds if kind in ("caller-speaking", "caller-silent", "agent-audible", "ended")]
    assert story == ["agent-audible", "caller-speaking", "caller-silent", "agent-audible", "ended"]
    assert [event["at_ns"] for event in events] == sorted(event["at_ns"] for event in events)
    assert "call_sid" not in events[0]


@pytest.mark.parametrize(
    ("callee", "status"),
    [
        (Callee(after_s=0, talk_s=0.1), "completed"),
        (Callee("busy", after_s=0), "busy"),
        (Callee("failed", after_s=0), "failed"),
        (Callee("no-answer"), "no-answer"),
        (Callee(after_s=5), "no-answer"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_whoever_is_dialled_answers_or_does_not(callee: Callee, status: str) -> None:
    pages = documents(
        voice="<Dial action='/dialed' timeout='1'><Number>+12025550100</Number></Dial>", dialed="<Hangup/>"
    )

    result, server = await call(pages, conversation=PATIENT, callee=callee)

    assert server.asked[-1].fields["DialCallStatus"] == status
    assert (result.dialled, result.end_reason) == (["+12025550100"], "hangup")


async def test_keys_are_heard_as_tones(tmp_path: Path) -> None:
    pages = twiml("<Play digits='1w#'/><Pause/><Hangup/>")

    result, _ = await call(pages, conversation=PATIENT, record=tmp_path)

    assert (result.digits, result.warnings) == (["1w#"], [])
    assert result.heard_wav is not None
    heard = right_channel(result.heard_wav).tobytes()
    assert g711.decode(twilio_sounds.dtmf("1w#")).tobytes() in heard
