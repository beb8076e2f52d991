"""What a worker knows of a call that another one owned before."""

from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_worker.past import Past

FENCE = Fence(1, 7)


def frame(kind: FrameKind, seq: int, payload: bytes = b"") -> Frame:
    return Frame(kind, FENCE, seq, 0, 0, payload)


def test_audio_before_the_gateway_s_word_means_that_the_word_was_lost() -> None:
    past = Past()

    assert past.misses_own(frame(FrameKind.AUDIO, 1))
    assert not past.misses_own(frame(FrameKind.OWN, 0))
    assert not past.misses_own(frame(FrameKind.REVOKE, 0))


def test_after_the_gateway_s_word_everything_counts() -> None:
    past = Past()
    own = b'{"gateway":"gw-1","stream_sid":"MZ1","generation":0}'

    assert past.takes(frame(FrameKind.OWN, 0, own))

    assert not past.misses_own(frame(FrameKind.AUDIO, 1))
