"""What is known of a call that had an owner before, while it becomes known."""

import prometheus_client
import pytest

from trunkline_common import control
from trunkline_common.control import AssignKind, AssignRequest, Own
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_worker import checkpoint, past
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.past import WAITING_FRAMES_MAX, Past

FENCE = Fence(1, 2)
OWN = Own(
    gateway="gw-1",
    stream_sid="MZ1",
    generation=3,
    mark_sent="3:A1:400",
    mark_played="3:A1:200",
    unplayed_ms=200,
    checkpoint=checkpoint.encode(Checkpoint(media_ms=5_000, greeted=True)),
)


def request(kind: AssignKind = AssignKind.TAKEOVER) -> AssignRequest:
    return AssignRequest(
        call_id="CA1", fence=FENCE, started_at_ms=1, caller="+1555", called="+1666", kind=kind
    )


def frame(kind: FrameKind, payload: bytes = b"") -> Frame:
    return Frame(kind, FENCE, 0, 0, 0, payload)


def own(message: Own = OWN) -> Frame:
    return frame(FrameKind.OWN, control.encode(message))


def read(known: Past) -> None:
    """The log was read, or could not be."""
    known.is_read = True
    known._tell()


def test_it_is_complete_once_the_log_was_read_and_the_call_is_ours() -> None:
    known, told = Past(), []
    known.when_complete(lambda: told.append(known.is_complete))

    assert known.takes(own())
    assert told == []
    read(known)

    assert told == [True]


def test_the_word_may_come_after_the_log() -> None:
    known, told = Past(), []
    known.when_complete(lambda: told.append(known.is_complete))
    read(known)

    known.takes(own())

    assert told == [True]


def test_the_callers_frames_wait_in_their_order_until_all_is_known() -> None:
    known = Past()
    known.takes(own())
    waiting = [frame(FrameKind.AUDIO, bytes([number])) for number in range(3)]

    assert [known.takes(each) for each in waiting] == [True] * 3
    read(known)

    assert known.waiting == waiting
    assert not known.takes(frame(FrameKind.AUDIO)), "from now on they are the call's"


def test_more_than_a_gateway_keeps_does_not_wait() -> None:
    known = Past()
    for _ in range(WAITING_FRAMES_MAX + 5):
        known.takes(frame(FrameKind.AUDIO))

    assert len(known.waiting) == WAITING_FRAMES_MAX


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"v": 99}', control.encode(Own(gateway="gw.*", stream_sid="", generation=0))],
    ids=["empty", "nothing", "newer", "no subject"],
)
def test_a_word_that_cannot_be_read_is_none(payload: bytes) -> None:
    known = Past()
    read(known)

    assert known.takes(frame(FrameKind.OWN, payload))
    assert not known.is_complete


def test_what_the_gateway_tells_is_told_to_the_call() -> None:
    known = Past()
    known.takes(own())

    owned = known.owned(request())

    assert (owned.gateway, owned.stream_sid, owned.generation) == ("gw-1", "MZ1", 3)
    assert (owned.mark_sent, owned.mark_played, owned.unplayed_ms) == ("3:A1:400", "3:A1:200", 200)
    assert (owned.known.media_ms, owned.known.greeted) == (5_000, True)


@pytest.mark.parametrize(
    ("kind", "is_final", "cause"),
    [
        (AssignKind.TAKEOVER, False, "worker-lost"),
        (AssignKind.HANDOVER, True, "handover"),
        # The owner before died while it was to let go.
        (AssignKind.HANDOVER, False, "worker-lost"),
    ],
)
def test_why_the_call_changed_hands(kind: AssignKind, is_final: bool, cause: str) -> None:
    known = Past()
    known.takes(own(Own(gateway="gw-1", stream_sid="MZ1", generation=0, is_final=is_final)))

    assert known.owned(request(kind)).cause == cause


def test_a_checkpoint_that_cannot_be_read_leaves_the_log() -> None:
    unreadable = prometheus_client.REGISTRY.get_sample_value("trunkline_worker_checkpoints_unreadable_total")
    known = Past()
    known.of_log = Checkpoint(media_ms=3_000)
    known.takes(own(Own(gateway="gw-1", stream_sid="MZ1", generation=0, checkpoint=b"{")))

    assert known.owned(request()).known == Checkpoint(media_ms=3_000)
    counted = prometheus_client.REGISTRY.get_sample_value("trunkline_worker_checkpoints_unreadable_total")
    assert counted == (unreadable or 0.0) + 1


def test_a_log_is_waited_for_longer_than_it_takes_and_shorter_than_a_caller_notices() -> None:
    assert 0.1 < past.READ_S < 1.0


def test_audio_before_the_gateway_s_word_means_that_the_word_was_lost() -> None:
    known = Past()

    assert known.misses_own(frame(FrameKind.AUDIO))
    assert not known.misses_own(frame(FrameKind.OWN))
    assert not known.misses_own(frame(FrameKind.REVOKE))


def test_after_the_gateway_s_word_everything_counts() -> None:
    known = Past()

    assert known.takes(frame(FrameKind.OWN, control.encode(OWN)))

    assert not known.misses_own(frame(FrameKind.AUDIO))
