"""A live call changes hands, as its stream sees it."""

import base64

import pytest
from media_stream import FENCE, SID, ULAW, Line, agent, closes, drops, media, parsed_media, published, sent

from trunkline_common import control
from trunkline_common.control import AssignKind, Checkpoint, Own, StopReason
from trunkline_common.frames import FINAL, REPLAYED, Fence, Frame, FrameKind, decode
from trunkline_gateway import events
from trunkline_gateway.comfort import DOUBLE_TICK, SILENCE_S
from trunkline_gateway.owner_link import CHECKPOINT_BYTES_MAX, REPLAY_FRAMES_MAX, REPLAY_INTERVAL_S
from trunkline_gateway.ownership import OWNERLESS_S_MAX
from trunkline_gateway.reasons import Drop, Ending, Loss

NEXT = Fence(2, 7)


def live_line(frames: int = 0) -> Line:
    """Return one with an owner that was sent so much of the caller."""
    line = Line()
    line.start()
    line.twilio({"event": "mark", "streamSid": SID, "mark": {"name": "probe:1"}})
    line.feed(events.Attached(FENCE, "wk-1"))
    for number in range(frames):
        assert line.stream.caller_audio(parsed_media(number * 20), line.now)
    return line


def checkpoint(seq: int, needed_from_ms: int, state: bytes = b"state", *, flags: int = 0) -> Frame:
    payload = control.encode(Checkpoint(needed_from_ms=needed_from_ms, state=state))
    return agent(FrameKind.CHECKPOINT, seq=seq, payload=payload)._replace(flags=flags)


def take_over(line: Line) -> list[events.Command]:
    asks = [
        each
        for each in line.feed(events.WorkerLost("wk-1", Loss.GONE))
        if isinstance(each, events.AskWorkers)
    ]
    assert asks == [events.AskWorkers(AssignKind.TAKEOVER, NEXT, lost="wk-1")]
    return line.feed(events.Assigned(NEXT, "wk-2"))


def test_the_new_owner_is_told_everything_and_sent_what_it_needs() -> None:
    line = live_line(frames=10)
    line.feed(checkpoint(0, needed_from_ms=100))
    line.feed(agent(FrameKind.MARK, seq=1, payload=b"0:item:20"))
    line.feed(agent(FrameKind.MARK, seq=2, payload=b"0:item:40"))
    line.twilio({"event": "mark", "streamSid": SID, "mark": {"name": "0:item:20"}})

    commands = take_over(line)

    own, *audio = published(commands)
    assert (own.kind, own.fence, own.seq) == (FrameKind.OWN, NEXT, 0)
    assert control.decode(own.payload, Own) == Own(
        gateway="",
        stream_sid=SID,
        generation=0,
        mark_played="0:item:20",
        mark_sent="0:item:40",
        checkpoint=b"state",
    )
    assert [(frame.seq, frame.t_ms, frame.flags) for frame in audio] == [
        (number - 4, number * 20, REPLAYED) for number in range(5, 10)
    ]
    (revoke,) = (each for each in commands if isinstance(each, events.Revoke))
    assert (revoke.worker, decode(revoke.frame).kind) == ("wk-1", FrameKind.REVOKE)
    assert decode(revoke.frame).fence == FENCE


def test_after_a_takeover_both_short_ways_are_open_again_under_the_new_fence() -> None:
    line = live_line(frames=3)
    take_over(line)

    frame = line.stream.caller_audio(parsed_media(60), line.now)
    assert frame
    assert (decode(frame).fence, decode(frame).seq, decode(frame).flags) == (NEXT, 4, 0)
    assert drops(line.feed(agent(seq=0))) == [Drop.STALE_FENCE]
    line.now += 0.3
    heard = line.feed(agent(seq=0, fence=NEXT))
    assert isinstance(heard[-1], events.AgentHeard)
    assert heard[-1].seconds == pytest.approx(0.3)
    assert line.stream.agent_audio(agent(seq=1, fence=NEXT), line.now)


def test_much_is_replayed_in_steps_and_what_comes_meanwhile_waits_its_turn() -> None:
    line = live_line(frames=2 * REPLAY_FRAMES_MAX)
    frames = published(take_over(line))
    assert line.stream.caller_audio(parsed_media(2_000), line.now) is None
    assert published(line.twilio(media(2_000))) == []
    while len(frames) < 2 * REPLAY_FRAMES_MAX + 2:
        line.now += REPLAY_INTERVAL_S
        frames += published(line.feed(events.Wake()))

    assert [frame.seq for frame in frames] == list(range(2 * REPLAY_FRAMES_MAX + 2))
    assert [frame.t_ms for frame in frames[1:]] == list(range(0, 2_001, 20))


def test_what_did_not_leave_is_sent_again_under_its_old_numbers() -> None:
    line = live_line(frames=5)
    line.feed(events.LinkLost(4))
    assert published(line.twilio(media(100))) == []

    frames = published(line.feed(events.Pinged(1.0, "wk-1", consumed=2)))

    audio = [frame for frame in frames if frame.kind == FrameKind.AUDIO]
    assert [(frame.seq, frame.t_ms) for frame in audio] == [(3, 40), (4, 60), (5, 80), (6, 100)]
    assert {frame.fence for frame in audio} == {FENCE}


def test_an_owner_that_does_not_say_how_far_it_is_gets_what_did_not_leave() -> None:
    line = live_line(frames=5)
    line.feed(events.LinkLost(3))

    frames = published(line.feed(events.Pinged(1.0, "wk-1")))

    assert [frame.seq for frame in frames if frame.kind == FrameKind.AUDIO] == [3, 4, 5]


def test_comfort_sounds_until_the_agent_is_back_and_what_is_left_of_it_is_cleared() -> None:
    line = live_line()
    line.feed(events.LinkLost())
    trouble_since = line.now
    line.now = trouble_since + SILENCE_S
    (sound,) = sent(line.feed(events.Wake()))
    assert sound["media"] == {"payload": base64.b64encode(DOUBLE_TICK).decode()}

    over = line.feed(events.Pinged(1.0, "wk-1", consumed=0))
    assert [each for each in over if isinstance(each, events.ComfortPlayed)]
    (request,) = [frame for frame in published(over) if frame.kind == FrameKind.RESUME]
    line.feed(agent(FrameKind.RESUME, payload=b"%d" % request.seq))
    assert line.stream.agent_audio(agent(seq=1), line.now) is None
    assert [message["event"] for message in sent(line.feed(agent(seq=1)))] == ["clear", "media"]
    assert line.stream.agent_audio(agent(seq=2), line.now)


def test_while_the_agent_is_heard_there_is_no_comfort() -> None:
    line = live_line()
    line.feed(agent(payload=bytes(8_000 * 5)))
    line.feed(events.LinkLost())

    line.now += 5
    assert not any(message["event"] == "media" for message in sent(line.feed(events.Wake())))
    line.now += SILENCE_S
    assert any(message["event"] == "media" for message in sent(line.feed(events.Wake())))


def test_a_call_that_nobody_takes_is_given_to_the_fallback() -> None:
    line = live_line()
    line.feed(events.WorkerLost("wk-1", Loss.GONE))
    line.feed(events.NotAssigned(NEXT, is_full=True))
    line.now += OWNERLESS_S_MAX

    assert closes(line.feed(events.Wake())) == [1011]
    assert line.close()[-1] == events.Ended(Ending.WORKER_LOST)


def test_a_checkpoint_that_cannot_be_kept_is_refused_and_the_one_before_stays() -> None:
    line = live_line()
    line.feed(checkpoint(0, 0, b"good"))

    assert drops(line.feed(checkpoint(1, 0, bytes(CHECKPOINT_BYTES_MAX + 1)))) == [Drop.CHECKPOINT_TOO_LARGE]
    assert drops(line.feed(agent(FrameKind.CHECKPOINT, seq=2, payload=b"{"))) == [Drop.BAD_CHECKPOINT]
    assert drops(line.feed(checkpoint(3, 0)._replace(fence=NEXT))) == [Drop.FUTURE_FENCE]

    own = control.decode(published(take_over(line))[0].payload, Own)
    assert own.checkpoint == b"good"


@pytest.mark.parametrize(("payload", "is_final"), [(None, True), (b"{", False)])
def test_an_owner_that_lets_go_has_let_go_even_if_its_last_words_make_no_sense(
    payload: bytes | None, is_final: bool
) -> None:
    line = live_line(frames=2)
    line.feed(agent(FrameKind.MOVE))
    line.feed(events.Assigned(NEXT, "wk-2"))
    (yielded,) = published(line.feed(agent(FrameKind.READY, fence=NEXT)))
    assert yielded.kind == FrameKind.YIELD

    final = checkpoint(1, 0, flags=FINAL)
    commands = line.feed(final if payload is None else final._replace(payload=payload))

    own = control.decode(published(commands)[0].payload, Own)
    assert own.is_final is is_final
    assert not any(isinstance(command, events.Revoke) for command in commands)
    assert not any(isinstance(each, events.FramesLost) for each in line.feed(agent(seq=1, fence=NEXT)))


def test_who_takes_a_call_as_its_caller_hangs_up_hears_of_it() -> None:
    line = live_line(frames=1)
    line.feed(events.WorkerLost("wk-1", Loss.GONE))
    line.twilio({"event": "stop", "streamSid": SID})
    line.close()

    own, _, stop = published(line.feed(events.Assigned(NEXT, "wk-2")))

    assert (own.kind, own.fence) == (FrameKind.OWN, NEXT)
    assert stop.payload == StopReason.CALLER_HUNG_UP.encode()


def test_who_takes_a_call_that_a_newer_stream_carries_is_sent_away() -> None:
    line = live_line()
    line.feed(events.WorkerLost("wk-1", Loss.GONE))
    line.feed(events.EndDecided(Ending.REPLACED))

    commands = line.feed(events.Assigned(NEXT, "wk-2"))

    assert [decode(each.frame).kind for each in commands if isinstance(each, events.Revoke)] == [
        FrameKind.REVOKE
    ]
    assert published(commands) == []


def test_what_is_kept_is_what_the_caller_said() -> None:
    line = live_line(frames=1)
    line.twilio({"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "5"}})
    line.twilio(media(20))

    frames = published(take_over(line))[1:]

    assert [(frame.kind, frame.payload) for frame in frames] == [
        (FrameKind.AUDIO, ULAW),
        (FrameKind.DTMF, b"5"),
        (FrameKind.AUDIO, ULAW),
    ]
