import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import frames
from trunkline_common.frames import (
    HEADER_BYTES,
    LATE_MS_MAX,
    PAYLOAD_BYTES_MAX,
    Fence,
    Frame,
    FrameError,
    FrameKind,
    Lateness,
    decode,
    encode,
)

FRAME = Frame(FrameKind.AUDIO, Fence(2, 3), seq=4, t_ms=5, generation=6, payload=b"\xff" * 160)

bytes_8 = st.integers(0, 2**8 - 1)
bytes_16 = st.integers(0, 2**16 - 1)
bytes_32 = st.integers(0, 2**32 - 1)
any_frame = st.builds(
    Frame,
    kind=bytes_8,
    fence=st.builds(Fence, bytes_16, bytes_16),
    seq=bytes_32,
    t_ms=bytes_32,
    generation=bytes_32,
    payload=st.binary(max_size=500),
    flags=bytes_8,
)


class TestTheBytes:
    def test_on_the_wire(self) -> None:
        """The layout that every version must be able to read: changing it needs another version."""
        wire = encode(Frame(FrameKind.MARK, Fence(1, 2), 3, 4, 5, b"5:item:20", flags=7))

        assert wire == (
            b"\x01"  # version
            b"\x02"  # kind
            b"\x14"  # bytes of the header
            b"\x07"  # flags
            b"\x00\x01"  # attach
            b"\x00\x02"  # assign
            b"\x00\x00\x00\x03"  # seq
            b"\x00\x00\x00\x04"  # t_ms
            b"\x00\x00\x00\x05"  # generation
            b"5:item:20"
        )
        assert len(wire) == HEADER_BYTES + 9

    @given(any_frame)
    def test_what_is_written_is_read(self, frame: Frame) -> None:
        assert decode(encode(frame)) == frame

    def test_a_payload_may_be_empty(self) -> None:
        assert decode(encode(FRAME._replace(payload=b""))).payload == b""

    @pytest.mark.parametrize("kind", FrameKind)
    def test_every_kind_fits(self, kind: FrameKind) -> None:
        assert FrameKind(decode(encode(FRAME._replace(kind=kind))).kind) is kind


class TestOldAndNewPeers:
    def test_an_old_reader_skips_what_a_newer_writer_added_to_the_header(self) -> None:
        wire = bytearray(encode(FRAME))
        added = b"added later"
        wire[2] += len(added)
        wire[HEADER_BYTES:HEADER_BYTES] = added

        assert decode(bytes(wire)) == FRAME

    def test_a_kind_that_nobody_knows_yet_is_read_so_that_it_can_be_counted(self) -> None:
        wire = bytearray(encode(FRAME))
        wire[1] = 200

        frame = decode(bytes(wire))

        assert frame.kind == 200
        assert frame.kind not in set(FrameKind)

    def test_flags_that_nobody_knows_yet_are_kept(self) -> None:
        assert decode(encode(FRAME._replace(flags=0b1000_0000))).flags == 0b1000_0000

    @pytest.mark.parametrize("version", [0, 2, 255])
    def test_another_version_is_refused_and_named(self, version: int) -> None:
        wire = bytes([version]) + encode(FRAME)[1:]

        with pytest.raises(FrameError, match=rf"frame version {version}, this process reads 1"):
            decode(wire)


class TestBadBytes:
    @given(st.binary(max_size=100))
    def test_random_bytes_are_a_frame_or_a_frame_error(self, data: bytes) -> None:
        try:
            frame = decode(data)
        except FrameError:
            return
        assert frame.payload == data[data[2] :]

    @given(st.binary(max_size=60))
    def test_random_bytes_after_the_right_version_too(self, data: bytes) -> None:
        try:
            frame = decode(bytes([frames.VERSION]) + data)
        except FrameError:
            return
        assert frame.kind == data[0]

    @pytest.mark.parametrize("length", range(HEADER_BYTES))
    def test_a_frame_that_was_cut_off_is_refused(self, length: int) -> None:
        with pytest.raises(FrameError, match="shorter than a header"):
            decode(encode(FRAME)[:length])

    @pytest.mark.parametrize("header_bytes", [0, HEADER_BYTES - 1, HEADER_BYTES + 161, 255])
    def test_a_header_that_cannot_be_is_refused(self, header_bytes: int) -> None:
        wire = bytearray(encode(FRAME))
        wire[2] = header_bytes

        with pytest.raises(FrameError, match=f"header of {header_bytes} bytes"):
            decode(bytes(wire))

    def test_an_oversize_payload_is_refused(self) -> None:
        largest = FRAME._replace(payload=bytes(PAYLOAD_BYTES_MAX))
        assert decode(encode(largest)) == largest

        with pytest.raises(FrameError, match="at most"):
            decode(encode(FRAME._replace(payload=bytes(PAYLOAD_BYTES_MAX + 1))))

    def test_the_largest_frame_fits_into_a_nats_message(self) -> None:
        assert HEADER_BYTES + PAYLOAD_BYTES_MAX < 1024 * 1024


class TestFence:
    def test_a_later_attach_beats_any_assign(self) -> None:
        assert Fence(1, 1) < Fence(1, 2) < Fence(2, 0) < Fence(2, 1)

    def test_for_people(self) -> None:
        assert str(Fence(2, 1)) == "2.1"


class TestLateness:
    def test_the_first_frame_is_never_late(self) -> None:
        assert Lateness().of(t_ms=123_456, now=7.0) == 0

    def test_frames_in_step_are_not_late(self) -> None:
        lateness = Lateness()
        assert [lateness.of(20 * n, 50.0 + 0.020 * n) for n in range(3)] == pytest.approx([0, 0, 0], abs=0.1)

    def test_a_frame_that_was_held_up_is_late_by_that_time(self) -> None:
        lateness = Lateness()
        lateness.of(0, 10.0)

        assert lateness.of(20, 10.020 + 0.3) == pytest.approx(300, abs=0.1)
        assert lateness.of(40, 10.040) == pytest.approx(0, abs=0.1)

    def test_a_burst_after_an_outage_is_late_and_the_conversation_after_it_is_not(self) -> None:
        lateness = Lateness()
        lateness.of(0, 100.0)

        burst = [lateness.of(t_ms, 110.0) for t_ms in range(20, 10_000, 20)]

        assert burst[0] == pytest.approx(9_980, abs=1)
        assert [late > LATE_MS_MAX for late in burst] == sorted([late > LATE_MS_MAX for late in burst])[::-1]
        assert lateness.of(10_020, 110.020) == pytest.approx(0, abs=11)

    def test_the_first_frame_came_late_itself(self) -> None:
        """The second one shows how fast the path is; lateness counts from there."""
        lateness = Lateness()
        lateness.of(0, 5.0 + 1.5)

        assert lateness.of(20, 5.020) == 0
        assert lateness.of(40, 5.040 + 0.1) == pytest.approx(100, abs=0.1)

    def test_a_clock_that_drifts_does_not_make_an_hour_of_call_late(self) -> None:
        lateness = Lateness()
        hour = [lateness.of(t_ms, 1.0 + t_ms / 1000 * (1 + 500e-6)) for t_ms in range(0, 3_600_000, 1000)]
        assert max(hour) < 1

    def test_a_route_that_got_longer_is_forgiven_within_minutes(self) -> None:
        lateness = Lateness()
        lateness.of(0, 1.0)

        assert lateness.of(20, 1.020 + 0.2) == pytest.approx(200, abs=1)
        assert lateness.of(100_000, 101.0 + 0.2) == pytest.approx(100, abs=1)
        assert lateness.of(250_000, 251.0 + 0.2) == 0

    def test_a_pause_of_the_stream_is_not_lateness(self) -> None:
        lateness = Lateness()
        lateness.of(0, 1.0)

        assert lateness.of(60_000, 61.0) == 0

    @given(st.lists(st.tuples(bytes_32, st.floats(0, 1e7)), max_size=50))
    def test_never_negative_whatever_comes(self, arrivals: list[tuple[int, float]]) -> None:
        lateness = Lateness()
        assert all(lateness.of(t_ms, now) >= 0 for t_ms, now in arrivals)
