"""Media Streams from Twilio's side: what it sends, and what it accepts (see `twilio_messages`)."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_simulators.twilio_messages import (
    INVALID,
    MALFORMED,
    Clear,
    Ignored,
    Mark,
    Media,
    MessageReader,
    MessageWriter,
)

STREAM = "MZ1"


def test_the_first_messages_are_those_of_the_documentation() -> None:
    writer = MessageWriter(STREAM, "CA1", "AC1")

    connected, start = json.loads(writer.connected()), json.loads(writer.start({"token": "t"}))

    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM,
        "start": {
            "accountSid": "AC1",
            "streamSid": STREAM,
            "callSid": "CA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t"},
        },
    }


def test_media_carries_its_numbers_as_strings() -> None:
    writer = MessageWriter(STREAM, "CA1", "AC1")
    writer.start({})

    media = json.loads(writer.media(b"\xff\x00", 20))

    assert media["media"] == {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": "/wA="}


def test_sequence_numbers_are_dense_over_all_messages_and_chunks_over_media() -> None:
    writer = MessageWriter(STREAM, "CA1", "AC1")

    sent = [
        json.loads(message)
        for message in (
            writer.start({}),
            writer.media(b"\xff", 0),
            writer.mark("m"),
            writer.media(b"\xff", 20),
            writer.dtmf("#"),
            writer.stop(),
        )
    ]

    assert [message["sequenceNumber"] for message in sent] == ["1", "2", "3", "4", "5", "6"]
    assert [each["media"]["chunk"] for each in sent if each["event"] == "media"] == ["1", "2"]
    assert sent[2]["mark"] == {"name": "m"}
    assert sent[4]["dtmf"] == {"track": "inbound_track", "digit": "#"}
    assert sent[5]["stop"] == {"accountSid": "AC1", "callSid": "CA1"}


def test_the_servers_three_messages_are_accepted() -> None:
    reader = MessageReader(STREAM)

    media = reader.read(json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "/wA="}}))
    mark = reader.read(json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": "1:item:200"}}))
    clear = reader.read(json.dumps({"event": "clear", "streamSid": STREAM}))

    assert [media, mark, clear] == [Media(b"\xff\x00"), Mark("1:item:200"), Clear()]
    assert not reader.ignored


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "[1]",
        "{}",
        '{"event":"ping"}',
        '{"event":"clear"}',
        '{"event":"clear","streamSid":"MZ-other"}',
        '{"event":"clear","streamSid":"MZ1","reason":"barge-in"}',
        '{"event":"mark","streamSid":"MZ1"}',
        '{"event":"mark","streamSid":"MZ1","mark":{}}',
        '{"event":"mark","streamSid":"MZ1","mark":{"name":7}}',
        '{"event":"media","streamSid":"MZ1","media":{"payload":"/wA=","track":"outbound"}}',
        '{"event":"media","streamSid":"MZ1","media":{"payload":"/wA"}}',
        '{"event":"media","streamSid":"MZ1","media":{"payload":"not base64!"}}',
        '{"a":' + "[" * 100_000,
    ],
    ids=lambda message: message[:70],
)
def test_anything_else_is_an_invalid_message(message: str) -> None:
    ignored = MessageReader(STREAM).read(message)

    assert isinstance(ignored, Ignored)
    assert ignored.code == INVALID
    assert ignored.detail


def test_a_binary_frame_is_malformed_whatever_it_holds() -> None:
    ignored = MessageReader(STREAM).read(json.dumps({"event": "clear", "streamSid": STREAM}).encode())

    assert isinstance(ignored, Ignored)
    assert ignored.code == MALFORMED


def test_each_error_is_reported_once_and_every_one_is_counted() -> None:
    reader = MessageReader(STREAM)

    ignored = [reader.read(message) for message in ("x", b"x", "y", b"y", "z")]

    assert [each.first for each in ignored if isinstance(each, Ignored)] == [True, True, False, False, False]
    assert reader.ignored == {INVALID: 3, MALFORMED: 2}


@given(st.one_of(st.text(), st.binary()))
def test_no_message_breaks_the_reader(message: str | bytes) -> None:
    assert isinstance(MessageReader(STREAM).read(message), Ignored)


@given(st.binary(max_size=2000))
def test_audio_arrives_as_it_was_sent(payload: bytes) -> None:
    message = {
        "event": "media",
        "streamSid": STREAM,
        "media": {"payload": base64.b64encode(payload).decode()},
    }

    assert MessageReader(STREAM).read(json.dumps(message)) == Media(payload)
