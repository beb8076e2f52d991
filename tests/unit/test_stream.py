import pytest
from media_stream import (
    FENCE,
    SID,
    ULAW,
    Line,
    active_line,
    agent,
    closes,
    drops,
    media,
    parsed_media,
    published,
    rejections,
    sent,
)

from trunkline_common import control
from trunkline_common.control import StopReason
from trunkline_common.frames import Frame, FrameKind, decode
from trunkline_gateway import events
from trunkline_gateway.owner_link import ATTACH_BUFFER_BYTES_MAX
from trunkline_gateway.reasons import Drop, Ending, Rejection
from trunkline_gateway.stream import (
    CLOSE_DEADLINE_S,
    START_DEADLINE_S,
    State,
)

FRAME_MS = 20


def test_start_looks_for_the_owner_and_measures_the_line() -> None:
    line = Line()
    assert line.twilio({"event": "connected", "protocol": "Call", "version": "1.0.0"}) == []

    find, probe = line.start()

    assert isinstance(find, events.FindOwner)
    assert find.start.start.call_sid == "CA1"
    assert sent([probe]) == [{"event": "mark", "streamSid": SID, "mark": {"name": "probe:1"}}]
    assert line.stream.state is State.ATTACHING


def test_no_start_in_time_closes_the_socket() -> None:
    line = Line()
    assert line.stream.wake_at() == line.now + START_DEADLINE_S

    commands = line.wake()

    assert rejections(commands) == [Rejection.NO_START]
    assert closes(commands) == [1008]
    assert line.close()[-1] == events.Ended(Ending.NEVER_STARTED)


@pytest.mark.parametrize(
    ("changes", "rejection"),
    [
        ({"streamSid": "MZ" + "b" * 32}, Rejection.BAD_START),
        (
            {"mediaFormat": {"encoding": "audio/l16", "sampleRate": 16000, "channels": 1}},
            Rejection.WRONG_MEDIA_FORMAT,
        ),
        (
            {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}},
            Rejection.WRONG_MEDIA_FORMAT,
        ),
    ],
)
def test_a_start_that_cannot_be_served(changes: dict[str, object], rejection: Rejection) -> None:
    commands = Line().start(**changes)

    assert rejections(commands) == [rejection]
    assert closes(commands) == [1008]
    assert not any(isinstance(command, events.FindOwner) for command in commands)


def test_a_refused_token_closes_the_socket_and_tells_no_worker() -> None:
    line = Line()
    line.start()

    commands = line.feed(events.AttachFailed(Ending.REFUSED, Rejection.TOKEN_USED))

    assert rejections(commands) == [Rejection.TOKEN_USED]
    assert closes(commands) == [1008]
    assert published(line.close()) == []


def test_without_a_worker_twilio_is_sent_to_ask_again() -> None:
    line = Line()
    line.start()

    assert closes(line.feed(events.AttachFailed(Ending.NO_WORKER))) == [1013]


def test_caller_audio_goes_the_short_way_with_dense_numbers_and_twilios_clock() -> None:
    line = active_line()
    first_seq = 1  # 0 was the line report

    frames = [line.stream.caller_audio(parsed_media(t_ms), line.now) for t_ms in (5, 25, 300)]

    assert [decode(frame) for frame in frames if frame] == [
        Frame(FrameKind.AUDIO, FENCE, first_seq + number, t_ms, 0, ULAW)
        for number, t_ms in enumerate((5, 25, 300))
    ]


def test_the_short_way_takes_nothing_but_the_everyday_case() -> None:
    starting = Line()
    assert starting.stream.caller_audio(parsed_media(), starting.now) is None

    line = active_line()
    assert line.stream.caller_audio(parsed_media(sid="MZ" + "b" * 32), line.now) is None
    line.twilio({"event": "stop", "streamSid": SID})
    assert line.stream.caller_audio(parsed_media(), line.now) is None


def test_both_ways_make_the_same_frames() -> None:
    short, long = active_line(), active_line()

    assert short.stream.caller_audio(parsed_media(5), short.now) == next(
        command.frame for command in long.twilio(media(5)) if isinstance(command, events.Publish)
    )


def test_what_the_caller_says_before_the_owner_is_found_waits() -> None:
    line = Line()
    line.start()
    assert line.twilio(media(5)) == []
    assert line.twilio({"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "7"}}) == []
    assert line.twilio(media(25)) == []

    frames = published(line.attach())

    assert [(frame.kind, frame.seq, frame.t_ms, frame.payload) for frame in frames] == [
        (FrameKind.AUDIO, 0, 5, ULAW),
        (FrameKind.DTMF, 1, 25, b"7"),
        (FrameKind.AUDIO, 2, 25, ULAW),
    ]
    assert {frame.fence for frame in frames} == {FENCE}


def test_at_most_two_seconds_wait_and_the_oldest_goes_first() -> None:
    line = Line()
    line.start()
    dropped = []
    for number in range(150):
        line.now += FRAME_MS / 1000
        dropped += drops(line.twilio(media(number * FRAME_MS)))

    frames = published(line.attach())

    assert dropped == [Drop.ATTACH_BUFFER_FULL] * 50
    assert sum(len(frame.payload) for frame in frames) == ATTACH_BUFFER_BYTES_MAX
    assert [frames[0].t_ms, frames[-1].t_ms] == [1000, 2980]
    assert [frame.seq for frame in frames] == list(range(100))


def test_echoed_marks_and_digits_reach_the_worker() -> None:
    line = active_line()
    line.twilio(media(40))

    (mark,) = published(line.twilio({"event": "mark", "streamSid": SID, "mark": {"name": "0:item:120"}}))
    (digit,) = published(line.twilio({"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "#"}}))

    assert (mark.kind, mark.payload, mark.t_ms) == (FrameKind.MARK, b"0:item:120", 60)
    assert (digit.kind, digit.payload, digit.seq) == (FrameKind.DTMF, b"#", mark.seq + 1)


def test_the_caller_hangs_up() -> None:
    line = active_line()

    (stop,) = published(line.twilio({"event": "stop", "streamSid": SID}))

    assert (stop.kind, stop.payload) == (FrameKind.STOP, StopReason.CALLER_HUNG_UP.encode())
    assert line.close() == [events.Ended(Ending.CALLER_HUNG_UP)]


def test_twilio_says_stop_but_does_not_close() -> None:
    line = active_line()
    line.twilio({"event": "stop", "streamSid": SID})

    assert closes(line.wake()) == [1000]
    assert line.now == pytest.approx(100 + CLOSE_DEADLINE_S)
    assert line.wake() == [events.Abandon()]


def test_the_socket_breaks() -> None:
    line = active_line()

    stop, ended = line.close(1006)

    assert [frame.payload for frame in published([stop])] == [StopReason.STREAM_LOST.encode()]
    assert ended == events.Ended(Ending.STREAM_LOST)


def test_the_agent_hangs_up_after_everything_queued() -> None:
    line = active_line()

    commands = line.feed(agent(FrameKind.HANG_UP, payload=control.encode(control.HangUp(next=control.NextStep.HANG_UP))))  # fmt: skip

    assert commands == [events.Close(1000, "agent-hung-up", after_queued=True)]
    assert drops(line.feed(agent(seq=1))) == [Drop.STREAM_ENDING]
    assert line.close(1000) == [events.Ended(Ending.AGENT_HUNG_UP)], "the worker knows already"


@pytest.mark.parametrize(
    ("ending", "code", "stop"),
    [
        (Ending.WORKER_LOST, 1011, StopReason.STREAM_LOST),
        (Ending.GATEWAY_STOPPED, 1001, StopReason.GATEWAY_STOPPED),
        (Ending.REPLACED, 1000, StopReason.REPLACED),
        (Ending.GATEWAY_ERROR, 1011, StopReason.STREAM_LOST),
    ],
)
def test_others_end_the_stream(ending: Ending, code: int, stop: StopReason) -> None:
    line = active_line()

    assert line.feed(events.EndDecided(ending)) == [events.Close(code, ending.label, after_queued=False)]

    told, ended = line.close(code)
    assert [frame.payload for frame in published([told])] == [stop.encode()]
    assert ended == events.Ended(ending)


def test_the_first_reason_stays() -> None:
    line = active_line()
    line.feed(events.EndDecided(Ending.WORKER_LOST))

    assert line.feed(events.EndDecided(Ending.GATEWAY_STOPPED)) == []
    assert line.close()[-1] == events.Ended(Ending.WORKER_LOST)


def test_the_worker_hears_of_an_end_that_came_before_its_answer() -> None:
    line = Line()
    line.start()
    assert published(line.close()) == []

    (stop,) = published(line.attach())

    assert (stop.fence, stop.payload) == (FENCE, StopReason.STREAM_LOST.encode())


def test_a_socket_that_does_not_close_is_abandoned() -> None:
    line = active_line()
    line.feed(events.EndDecided(Ending.WORKER_LOST))

    assert line.wake() == [events.Abandon()]


def test_after_the_end_nothing_follows_from_anything() -> None:
    line = active_line()
    line.close()

    assert line.stream.wake_at() is None
    assert line.twilio(media()) == []
    assert line.feed(events.Pinged(1.0)) == []
    assert line.feed(events.EndDecided(Ending.WORKER_LOST)) == []
    assert line.feed(events.Wake()) == []
    assert line.close() == []
    assert line.feed(agent()) == [events.DropFrame(Drop.STREAM_ENDING)]
