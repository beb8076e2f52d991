"""Which frames of a call count, and what those mean that do."""

from typing import Any

import prometheus_client
import pytest

from trunkline_common import control, frames
from trunkline_common.control import StopReason
from trunkline_common.frames import CALLER_KEPT_MS_MAX, REPLAYED, Fence, Frame, FrameKind
from trunkline_worker import events
from trunkline_worker.gateway_line import GatewayLine

FENCE = Fence(1, 2)


class Downlink:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Frame]] = []

    def send(self, subject: str, frame: bytes, kind: FrameKind, received_at: float) -> None:
        self.sent.append((subject, frames.decode(frame)))


@pytest.fixture
def downlink() -> Downlink:
    return Downlink()


@pytest.fixture
async def line(downlink: Any) -> GatewayLine:
    return GatewayLine("CA1", FENCE, downlink)


def up(kind: FrameKind, seq: int = 0, payload: bytes = b"", fence: Fence = FENCE, **facts: int) -> Frame:
    return Frame(kind, fence, seq, facts.get("t_ms", 0), 0, payload, facts.get("flags", 0))


def refused(reason: str) -> float:
    sample = prometheus_client.REGISTRY.get_sample_value(
        "trunkline_worker_frames_refused_total", {"reason": reason}
    )
    return sample or 0.0


# Down


async def test_without_a_gateway_nothing_is_sent(line: GatewayLine, downlink: Downlink) -> None:
    line.send(FrameKind.AUDIO, b"a", received_at=0.0)

    assert downlink.sent == []


async def test_frames_down_carry_the_fence_and_are_counted_from_zero(
    line: GatewayLine, downlink: Downlink
) -> None:
    line.send_to("gw-1")
    line.send(FrameKind.READY, received_at=0.0)
    line.send(FrameKind.AUDIO, b"a", generation=3, received_at=0.0)

    assert {subject for subject, _ in downlink.sent} == {"gw.v1.gw-1.c.CA1.dn"}
    assert [(frame.fence, frame.seq, frame.generation) for _, frame in downlink.sent] == [
        (FENCE, 0, 0),
        (FENCE, 1, 3),
    ]


async def test_another_stream_counts_anew_under_its_own_fence(line: GatewayLine, downlink: Downlink) -> None:
    line.send_to("gw-1")
    line.send(FrameKind.AUDIO, b"a", received_at=0.0)
    line.admits(up(FrameKind.AUDIO, seq=7))

    line.open(Fence(2, 1), "gw-2")
    line.send(FrameKind.AUDIO, b"b", received_at=0.0)

    subject, frame = downlink.sent[-1]
    assert (subject, frame.fence, frame.seq) == ("gw.v1.gw-2.c.CA1.dn", Fence(2, 1), 0)
    assert line.consumed_seq == -1


async def test_after_the_stream_nothing_is_sent(line: GatewayLine, downlink: Downlink) -> None:
    line.send_to("gw-1")
    line.close()
    line.send(FrameKind.AUDIO, b"a", received_at=0.0)

    assert downlink.sent == []


# Up


@pytest.mark.parametrize(
    ("fence", "reason"),
    [(Fence(1, 1), "old-fence"), (Fence(1, 3), "future-fence"), (Fence(0, 9), "old-fence")],
)
async def test_frames_of_another_owner_are_refused(line: GatewayLine, fence: Fence, reason: str) -> None:
    before = refused(reason)

    assert not line.admits(up(FrameKind.AUDIO, fence=fence))
    assert refused(reason) == before + 1
    assert line.consumed_seq == -1


async def test_each_frame_is_taken_once_and_gaps_are_counted(line: GatewayLine) -> None:
    lost = prometheus_client.REGISTRY.get_sample_value("trunkline_worker_frames_lost_total") or 0.0

    assert line.admits(up(FrameKind.AUDIO, seq=0))
    assert line.admits(up(FrameKind.AUDIO, seq=3))
    assert not line.admits(up(FrameKind.AUDIO, seq=3))
    assert not line.admits(up(FrameKind.AUDIO, seq=1))

    assert line.consumed_seq == 3
    assert prometheus_client.REGISTRY.get_sample_value("trunkline_worker_frames_lost_total") == lost + 2


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (up(FrameKind.AUDIO, payload=b"\xff", t_ms=40), events.CallerAudio(40, b"\xff")),
        (up(FrameKind.MARK, payload=b"0:A1:80"), events.MarkPlayed("0:A1:80")),
        (up(FrameKind.DTMF, payload=b"5"), events.KeyPressed("5")),
        (up(FrameKind.YIELD), events.YieldAsked()),
        (up(FrameKind.STOP, payload=b"caller-hung-up"), events.StreamStopped(StopReason.CALLER_HUNG_UP)),
        (up(FrameKind.STOP, payload=b"of a newer release"), events.StreamStopped(StopReason.STREAM_LOST)),
        (
            up(FrameKind.LINE, payload=control.encode(control.LineReport(twilio_rtt_ms=80.0))),
            events.LineMeasured(80.0, None),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_frame_means(line: GatewayLine, frame: Frame, event: events.Event) -> None:
    assert line.events_of(frame) == [event]


@pytest.mark.parametrize(
    "frame",
    [
        up(FrameKind.MARK, payload=b"\xff"),
        up(FrameKind.LINE, payload=b"{"),
        up(FrameKind.OWN, payload=b"{}"),
        up(FrameKind.READY),
    ],
    ids=["mark", "line", "own", "ready"],
)
async def test_a_frame_that_means_nothing_is_counted(line: GatewayLine, frame: Frame) -> None:
    before = refused("unreadable")

    assert line.events_of(frame) == []
    assert refused("unreadable") == before + 1


async def test_live_audio_that_is_too_late_is_dropped_and_what_is_replayed_is_not(
    line: GatewayLine,
) -> None:
    # A stamp far in the past of the fastest frame, as after an outage.
    line.events_of(up(FrameKind.AUDIO, payload=b"\xff", t_ms=2 * CALLER_KEPT_MS_MAX))

    assert line.events_of(up(FrameKind.AUDIO, payload=b"\xff", t_ms=0)) == []
    assert line.events_of(up(FrameKind.AUDIO, payload=b"\xff", t_ms=0, flags=REPLAYED)) is not None
