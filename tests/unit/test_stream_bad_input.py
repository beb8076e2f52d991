import json

import pytest
from media_stream import Line, active_line, closes, media, parsed_media, published, rejections

from trunkline_common.control import StopReason
from trunkline_gateway import events, twilio
from trunkline_gateway.reasons import Ending, Rejection
from trunkline_gateway.stream import (
    BAD_MESSAGES_MAX,
)


@pytest.mark.parametrize(
    ("event", "rejection"),
    [
        (events.BinaryReceived(), Rejection.BINARY_FRAME),
        (twilio.decode("hello"), Rejection.NOT_JSON),
        (twilio.decode('{"event":"media"}'), Rejection.MALFORMED_MESSAGE),
        (twilio.decode(json.dumps(media()).replace("AAEC", "====")), Rejection.BAD_BASE64),
        (parsed_media(sid="MZ" + "b" * 32), Rejection.WRONG_STREAM_SID),
    ],
)
def test_bad_messages_are_told_apart_and_the_next_one_too_many_closes(
    event: events.Event, rejection: Rejection
) -> None:
    line = active_line()

    for number in range(BAD_MESSAGES_MAX):
        assert line.feed(event) == [events.Reject(rejection, is_first=number == 0)]
        assert line.stream.caller_audio(parsed_media(), line.now) is not None, "the call goes on"
    commands = line.feed(event)

    assert rejections(commands) == [rejection, Rejection.TOO_MANY_BAD_MESSAGES]
    assert closes(commands) == [1008]
    (stop,) = published(line.close(1008))
    assert stop.payload == StopReason.BAD_STREAM.encode()


def test_media_before_start() -> None:
    line = Line()

    assert rejections(line.twilio(media())) == [Rejection.MEDIA_BEFORE_START]
    assert isinstance(line.start()[0], events.FindOwner), "one is forgiven"


def test_a_second_start() -> None:
    assert rejections(active_line().start()) == [Rejection.SECOND_START]


def test_events_we_do_not_know_are_counted_and_never_end_a_call() -> None:
    line = active_line()

    for number in range(50):
        assert line.twilio({"event": "weather"}) == [
            events.Reject(Rejection.UNKNOWN_EVENT, is_first=number == 0)
        ]


def test_a_flood_closes_the_socket() -> None:
    line = active_line()
    commands: list[events.Command] = []
    message = parsed_media()
    while not commands:
        line.now += 1 / 200
        if line.stream.caller_audio(message, line.now) is None:
            commands = line.feed(message)

    assert rejections(commands) == [Rejection.FLOOD]
    assert closes(commands) == [1008]
    assert line.now < 100 + 4


@pytest.mark.parametrize(
    ("code", "rejection"), [(1009, Rejection.OVERSIZE_MESSAGE), (1007, Rejection.NOT_JSON)]
)
def test_what_the_websocket_layer_refuses_is_counted(code: int, rejection: Rejection) -> None:
    line = active_line()

    commands = line.close(code)

    assert rejections(commands) == [rejection]
    assert [frame.payload for frame in published(commands)] == [StopReason.BAD_STREAM.encode()]
    assert commands[-1] == events.Ended(Ending.BAD_STREAM)
