"""The caller's audio on its way to the server, and what faults do to it (see `twilio_faults`)."""

from collections.abc import Callable

from trunkline_simulators.twilio_faults import Faults, Packet, Uplink
from trunkline_simulators.twilio_player import SILENT_FRAME

FRAME = bytes(range(160))


def never_late() -> float:
    return 0.0


def packets(faults: Faults, frames: int, late_ms: Callable[[], float] = never_late) -> list[Packet]:
    uplink = Uplink(faults, late_ms)
    return [packet for n in range(frames) for packet in uplink.add(FRAME, True, n * 20)]


def test_without_faults_each_frame_is_a_message_at_its_time() -> None:
    assert packets(Faults(), 3) == [Packet(FRAME, 0, 0), Packet(FRAME, 20, 20), Packet(FRAME, 40, 40)]


def test_the_first_timestamp_may_be_any() -> None:
    sent = packets(Faults(first_timestamp_ms=165), 2)

    assert [each.timestamp_ms for each in sent] == [165, 185]


def test_odd_payloads_carry_the_same_audio_at_the_right_times() -> None:
    sent = packets(Faults(payload_bytes=(80, 320, 240)), 8)

    assert [len(each.payload) for each in sent] == [80, 320, 240, 80, 320, 240]
    assert [each.timestamp_ms for each in sent] == [0, 10, 50, 80, 90, 130]
    assert b"".join(each.payload for each in sent) == FRAME * 8


def test_jitter_delays_frames_and_keeps_their_order() -> None:
    delays_ms = iter([0.0, 45.0, 1.0, 0.0, 3.0])

    sent = packets(Faults(), 5, lambda: next(delays_ms))

    assert [each.leaves_at_ms for each in sent] == [0, 65, 65, 65, 83]
    assert [each.timestamp_ms for each in sent] == [0, 20, 40, 60, 80]


def test_a_stall_holds_frames_back_and_lets_them_go_at_once() -> None:
    sent = packets(Faults(stall_at_ms=40, stall_ms=100), 9)

    assert [each.leaves_at_ms for each in sent] == [0, 20, 140, 140, 140, 140, 140, 140, 160]
    assert [each.timestamp_ms for each in sent] == [n * 20 for n in range(9)]


def test_a_silent_caller_is_not_sent_and_the_timestamp_jumps() -> None:
    uplink = Uplink(Faults(dtx_after_ms=40), never_late)
    silence = [uplink.add(SILENT_FRAME, False, n * 20) for n in range(10)]

    (speech,) = uplink.add(FRAME, True, 200)

    assert [len(each) for each in silence] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert speech == Packet(FRAME, 200, 200)
