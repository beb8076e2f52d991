import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_gateway import twilio
from trunkline_gateway.twilio import Media, Outgoing, Unreadable

STREAM_SID = "MZ" + "a" * 32

# As in Twilio's page "Media Streams, WebSocket messages": numbers are strings, except in mediaFormat.
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC1",
        "streamSid": STREAM_SID,
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "t"},
    },
    "streamSid": STREAM_SID,
}
MEDIA = {
    "event": "media",
    "sequenceNumber": "3",
    "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": "/38="},
    "streamSid": STREAM_SID,
}
DTMF = {
    "event": "dtmf",
    "streamSid": STREAM_SID,
    "sequenceNumber": "5",
    "dtmf": {"track": "inbound_track", "digit": "1"},
}
MARK = {"event": "mark", "sequenceNumber": "4", "streamSid": STREAM_SID, "mark": {"name": "3:item:1240"}}
STOP = {
    "event": "stop",
    "sequenceNumber": "5",
    "streamSid": STREAM_SID,
    "stop": {"accountSid": "AC1", "callSid": "CA1"},
}


def test_every_message_of_twilio_is_read() -> None:
    events = [twilio.decode(json.dumps(message)) for message in (CONNECTED, START, MEDIA, DTMF, MARK, STOP)]

    assert [type(event) for event in events] == [
        twilio.Connected,
        twilio.Start,
        twilio.Media,
        twilio.Dtmf,
        twilio.Mark,
        twilio.Stop,
    ]


def test_start_names_the_call_and_the_format() -> None:
    start = twilio.decode(json.dumps(START))

    assert isinstance(start, twilio.Start)
    assert start.start.call_sid == "CA1"
    assert start.start.account_sid == "AC1"
    assert start.start.custom_parameters == {"token": "t"}
    assert start.start.media_format == twilio.MEDIA_FORMAT


def test_media_is_bytes_on_a_clock_of_ms() -> None:
    media = twilio.decode(json.dumps(MEDIA))

    assert isinstance(media, Media)
    assert (media.media.timestamp, media.media.payload) == (5, b"\xff\x7f")


def test_payloads_of_any_length_are_fine() -> None:
    for length in (0, 1, 80, 320, 1601):
        payload = bytes(length)
        media = twilio.decode(media_with(payload=base64.b64encode(payload).decode()))
        assert isinstance(media, Media)
        assert media.media.payload == payload


def test_fields_that_twilio_adds_later_are_tolerated() -> None:
    added = MEDIA | {"new": {"deep": [1, 2]}, "media": MEDIA["media"] | {"new": None}}  # type: ignore[operator]  # a dict of many types

    assert isinstance(twilio.decode(json.dumps(added)), Media)


@pytest.mark.parametrize("text", ["", "{", "hello", '{"event":"media"', '{"event":"media"}}', "\ud800"])
def test_text_that_is_no_json(text: str) -> None:
    assert twilio.decode(text) is Unreadable.NOT_JSON


def test_events_that_media_streams_do_not_have() -> None:
    assert twilio.decode('{"event":"ping"}') is Unreadable.UNKNOWN_EVENT


@pytest.mark.parametrize("payload", ["a", "ab=", "a===", "ab cd", "ab-_", "=abc", "ab==ab==", "ä"])
def test_base64_is_read_strictly(payload: str) -> None:
    assert twilio.decode(media_with(payload=payload)) is Unreadable.BAD_BASE64


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "7",
        '{"event":7}',
        '{"streamSid":"MZ"}',
        '{"event":"media"}',
        '{"event":"start","streamSid":"MZ","start":{}}',
        '{"event":"dtmf","streamSid":"MZ","dtmf":{"digit":"12"}}',
        '{"event":"dtmf","streamSid":"MZ","dtmf":{"digit":"é"}}',
        '{"event":"mark","streamSid":"MZ","mark":{"name":"' + "x" * 257 + '"}}',
        '{"event":"mark","streamSid":"MZ","mark":{"name":"\\u0000"}}',
        '{"event":"media","deep":' + "[" * 60_000,
    ],
)
def test_messages_without_the_fields_we_need(text: str) -> None:
    assert twilio.decode(text) is Unreadable.MALFORMED


@pytest.mark.parametrize("timestamp", ["-1", "1.5", "", "ten", "99999999999", None, True])
def test_timestamps_that_are_no_time_of_a_call(timestamp: object) -> None:
    assert twilio.decode(media_with(timestamp=timestamp)) is Unreadable.MALFORMED


@given(st.text())
def test_any_text_is_a_message_or_a_reason(text: str) -> None:
    twilio.decode(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.sampled_from(["event", "streamSid", "start", "media", "mark", "name", "payload", "timestamp", "callSid"]) | st.text(), inner)))  # fmt: skip
def test_any_json_is_a_message_or_a_reason(value: object) -> None:
    twilio.decode(json.dumps(value))


def test_what_we_send_has_exactly_the_documented_fields() -> None:
    outgoing = Outgoing(STREAM_SID)

    assert json.loads(outgoing.media(b"\xff\x7f")) == {
        "event": "media",
        "streamSid": STREAM_SID,
        "media": {"payload": "/38="},
    }
    assert json.loads(outgoing.mark("3:item:1240")) == {
        "event": "mark",
        "streamSid": STREAM_SID,
        "mark": {"name": "3:item:1240"},
    }
    assert json.loads(outgoing.clear) == {"event": "clear", "streamSid": STREAM_SID}


@given(st.text())
def test_a_mark_of_any_name_is_json(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()

    assert json.loads(Outgoing(STREAM_SID).mark(name))["mark"]["name"] == name


@pytest.mark.parametrize(
    ("payload", "name"),
    [(b"3:item_1:20", "3:item_1:20"), (b"", None), (b"\xff", None), (b"a\nb", None), (b"x" * 257, None)],
)
def test_names_of_marks_that_twilio_may_see(payload: bytes, name: str | None) -> None:
    assert twilio.mark_name(payload) == name


@pytest.mark.parametrize(
    "value", ["", "MZ", "CA" + "a" * 32, "MZ" + "A" * 32, "MZ" + "a" * 33, STREAM_SID + "\n"]
)
def test_stream_sids_have_one_form(value: str) -> None:
    assert twilio.is_stream_sid(STREAM_SID)
    assert not twilio.is_stream_sid(value)


def media_with(**changes: object) -> str:
    body = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": "/38="} | changes
    return json.dumps(MEDIA | {"media": body})
