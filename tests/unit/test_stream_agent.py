import base64
import json

import pytest
from media_stream import (
    SID,
    ULAW,
    Line,
    active_line,
    agent,
    drops,
    media,
    published,
    sent,
)

from trunkline_common import control
from trunkline_common.control import LineReport
from trunkline_common.frames import LATE_MS_MAX, Fence, Frame, FrameKind
from trunkline_gateway import events
from trunkline_gateway.downlink import RESUME_AGAIN_S, RESUME_TRIES_MAX
from trunkline_gateway.reasons import Drop
from trunkline_gateway.stream import (
    EARLY_FRAMES_MAX,
)


def test_agent_audio_goes_the_short_way() -> None:
    line = active_line()

    texts = [line.stream.agent_audio(agent(seq=seq), line.now) for seq in range(3)]

    payload = base64.b64encode(ULAW).decode()
    assert [json.loads(text or "") for text in texts] == [
        {"event": "media", "streamSid": SID, "media": {"payload": payload}}
    ] * 3


@pytest.mark.parametrize(
    ("frame", "drop"),
    [
        (agent(fence=Fence(1, 9)), Drop.STALE_FENCE),
        (agent(fence=Fence(2, 2)), Drop.FUTURE_FENCE),
        (agent(FrameKind.MARK, fence=Fence(3, 1)), Drop.FUTURE_FENCE),
        (agent(FrameKind.CLEAR, fence=Fence(1, 1), generation=1), Drop.STALE_FENCE),
        (agent(FrameKind.HANG_UP, fence=Fence(1, 1)), Drop.STALE_FENCE),
        (agent(FrameKind.MARK, payload=b"\xff"), Drop.BAD_MARK_NAME),
        (agent(FrameKind.STOP), Drop.UNKNOWN_KIND),
        (agent()._replace(kind=200), Drop.UNKNOWN_KIND),
    ],
)
def test_frames_that_do_not_belong_here_are_dropped(frame: Frame, drop: Drop) -> None:
    line = active_line()

    assert line.stream.agent_audio(frame, line.now) is None
    assert line.feed(frame) == [events.DropFrame(drop)]


def test_what_was_lost_is_asked_for_and_nothing_behind_it_is_played_before() -> None:
    line = active_line()
    line.feed(agent(seq=0))
    line.feed(agent(FrameKind.MARK, seq=1, payload=b"0:item:20"))

    assert line.stream.agent_audio(agent(seq=4), line.now) is None
    commands = line.feed(agent(seq=4))

    assert commands[0] == events.FramesLost(2)
    assert drops(commands) == [Drop.BEHIND_LOST]
    (request,) = published(commands)
    assert (request.kind, request.payload) == (FrameKind.RESUME, b"0:item:20")
    assert drops(line.feed(agent(seq=5))) == [Drop.BEHIND_LOST]
    assert line.feed(agent(FrameKind.RESUME, seq=6, payload=b"%d" % request.seq)) == []
    assert line.stream.agent_audio(agent(seq=7), line.now) is not None


def test_only_the_answer_to_the_newest_request_counts() -> None:
    line = active_line()
    (first,) = published(line.feed(agent(seq=1)))
    line.now += RESUME_AGAIN_S
    (second,) = published(line.feed(agent(seq=2)))

    line.feed(agent(FrameKind.RESUME, seq=3, payload=b"%d" % first.seq))
    assert line.stream.agent_audio(agent(seq=4), line.now) is None
    line.feed(agent(FrameKind.RESUME, seq=4, payload=b"%d" % second.seq))
    assert line.stream.agent_audio(agent(seq=5), line.now) is not None


def test_an_owner_that_cannot_send_again_is_heard_with_holes() -> None:
    line = active_line()
    requests = 0
    for seq in range(1, 2 * RESUME_TRIES_MAX):
        requests += len(published(line.feed(agent(seq=seq, t_ms=round(1000 * line.now)))))
        line.now += RESUME_AGAIN_S

    assert requests == RESUME_TRIES_MAX
    last = agent(seq=2 * RESUME_TRIES_MAX, t_ms=round(1000 * line.now))
    assert line.stream.agent_audio(last, line.now) is not None


def test_after_an_interruption_what_was_lost_before_is_not_missed() -> None:
    line = active_line()
    line.feed(agent(seq=1))

    line.feed(agent(FrameKind.CLEAR, seq=2, generation=1))

    assert len(sent(line.feed(agent(seq=3, generation=1)))) == 1


def test_audio_from_an_outage_is_not_played_but_asked_for_again() -> None:
    line = active_line()
    line.stream.agent_audio(agent(seq=0, t_ms=0), line.now)

    line.now += LATE_MS_MAX / 1000 + 1
    assert line.stream.agent_audio(agent(seq=1, t_ms=20), line.now) is None
    commands = line.feed(agent(seq=1, t_ms=20))

    assert drops(commands) == [Drop.LATE]
    assert [frame.kind for frame in published(commands)] == [FrameKind.RESUME]


def test_marks_follow_their_audio() -> None:
    line = active_line()

    commands = line.feed(agent()) + line.feed(agent(FrameKind.MARK, seq=1, payload=b"0:item:20"))

    assert [message["event"] for message in sent(commands)] == ["media", "mark"]
    assert sent(commands)[1]["mark"] == {"name": "0:item:20"}


def test_after_a_clear_nothing_older_is_played() -> None:
    line = active_line()
    line.stream.agent_audio(agent(seq=0), line.now)

    assert line.feed(agent(FrameKind.CLEAR, seq=1, generation=1)) == [
        events.SendClear(json.dumps({"event": "clear", "streamSid": SID}, separators=(",", ":")))
    ]

    assert line.stream.agent_audio(agent(seq=2, generation=0), line.now) is None
    assert drops(line.feed(agent(seq=2, generation=0))) == [Drop.CLEARED_GENERATION]
    mark = agent(FrameKind.MARK, seq=3, generation=0, payload=b"0:item:20")
    assert drops(line.feed(mark)) == [Drop.CLEARED_GENERATION]
    assert line.stream.agent_audio(agent(seq=4, generation=1), line.now) is not None


def test_an_older_clear_changes_nothing() -> None:
    line = active_line()
    line.feed(agent(FrameKind.CLEAR, seq=0, generation=2))

    assert line.feed(agent(FrameKind.CLEAR, seq=1, generation=1)) == [
        events.DropFrame(Drop.CLEARED_GENERATION)
    ]


def test_frames_up_tell_which_generation_was_cleared() -> None:
    line = active_line()
    line.feed(agent(FrameKind.CLEAR, generation=3))

    (frame,) = published(line.twilio(media()))

    assert frame.generation == 3


def test_frames_that_overtake_the_owners_answer_wait_for_it() -> None:
    line = Line()
    line.start()
    assert line.feed(agent(seq=0)) == []
    assert line.feed(agent(seq=0, fence=Fence(1, 1))) == []
    assert line.feed(agent(FrameKind.MARK, seq=1, payload=b"0:item:20")) == []

    commands = line.attach()

    assert [message["event"] for message in sent(commands)] == ["media", "mark"]
    assert drops(commands) == [Drop.STALE_FENCE]


def test_only_so_many_of_them_wait() -> None:
    line = Line()
    line.start()

    dropped = [drops(line.feed(agent(seq=seq))) for seq in range(EARLY_FRAMES_MAX + 1)]

    assert dropped == [[]] * EARLY_FRAMES_MAX + [[Drop.ATTACH_BUFFER_FULL]]


def test_the_first_probe_is_reported_when_the_owner_is_there() -> None:
    line = Line()
    line.start()
    line.now += 0.06
    commands = line.twilio({"event": "mark", "streamSid": SID, "mark": {"name": "probe:1"}})
    assert [type(command) for command in commands] == [events.LineMeasured]

    (frame,) = published(line.attach())

    assert frame.kind == FrameKind.LINE
    assert control.decode(frame.payload, LineReport).twilio_rtt_ms == pytest.approx(60)


def test_pings_reach_the_worker_as_line_reports() -> None:
    line = active_line()
    line.now += 1

    (frame,) = published(line.feed(events.Pinged(0.8)))

    report = control.decode(frame.payload, LineReport)
    assert (report.bus_rtt_ms, report.twilio_rtt_ms) == (0.8, 0.0)


def test_a_probe_waits_until_the_agent_is_quiet() -> None:
    line = active_line()
    line.now += 4.9
    line.feed(agent(payload=ULAW * 50))

    assert sent(line.wake()) == []
    assert sent(line.wake()) == []
    (probe,) = sent(line.wake())

    assert probe["mark"] == {"name": "probe:2"}
    assert line.now == pytest.approx(100 + 4.9 + 1, abs=0.6)
