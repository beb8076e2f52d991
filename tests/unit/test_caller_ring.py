from trunkline_common.frames import FrameKind
from trunkline_gateway.caller_ring import CallerRing, Kept

ULAW = bytes(160)


def ring_with(frames: int, *, bytes_max: int = 10_000, frames_max: int = 100) -> CallerRing:
    """Return one whose owner was sent so much audio."""
    ring = CallerRing(bytes_max, frames_max)
    for number in range(frames):
        assert ring.sent_audio(number * 20, ULAW) == number
    return ring


def times(kept: list[Kept]) -> list[tuple[int, int]]:
    return [(each.seq, each.t_ms) for each in kept]


def test_what_was_sent_is_sent_again_under_its_old_numbers_and_what_waited_behind_it() -> None:
    ring = ring_with(4)
    ring.take_seq()  # a frame that is not kept
    ring.wait(FrameKind.AUDIO, 80, ULAW)
    ring.send_again_from(2)

    assert times(ring.take(100)) == [(2, 40), (3, 60), (5, 80)]
    assert not ring.is_waiting


def test_a_new_owner_gets_audio_and_keys_under_numbers_of_its_own() -> None:
    ring = ring_with(2)
    for kind in (FrameKind.DTMF, FrameKind.MARK, FrameKind.YIELD):
        ring.wait(kind, 40, b"x")
    ring.take(100)
    ring.wait(FrameKind.AUDIO, 40, ULAW)

    assert ring.begin_again(FrameKind.OWN, 60, b"own") == 4

    kinds = [(kept.seq, kept.kind) for kept in ring.take(100)]
    audio = FrameKind.AUDIO
    assert kinds == [(0, FrameKind.OWN), (1, audio), (2, audio), (3, FrameKind.DTMF), (4, audio)]


def test_what_ended_before_it_is_needed_is_forgotten() -> None:
    ring = ring_with(5)

    ring.prune(50)

    assert ring.audio_bytes == 3 * 160
    assert ring.begin_again(FrameKind.OWN, 100, b"") == 3
    assert ring.take(2)[1].t_ms == 40, "a frame that reaches into what is needed is kept"


def test_the_first_word_to_an_owner_goes_with_its_first_checkpoint() -> None:
    ring = ring_with(1)
    ring.begin_again(FrameKind.OWN, 20, b"own")
    ring.take(100)

    ring.prune(0)
    ring.send_again_from(0)

    assert [kept.kind for kept in ring.take(100)] == [FrameKind.AUDIO]


def test_a_key_pressed_at_that_time_is_kept() -> None:
    ring = ring_with(1)
    ring.wait(FrameKind.DTMF, 20, b"5")
    ring.take(1)

    ring.prune(20)
    assert ring.frames == 1
    ring.prune(21)
    assert ring.frames == 0


def test_only_frames_that_wait_count_as_dropped() -> None:
    ring = ring_with(30, bytes_max=10 * 160)
    assert (ring.frames, ring.audio_bytes) == (10, 1_600)

    dropped = [ring.wait(FrameKind.AUDIO, 600 + number * 20, ULAW) for number in range(12)]

    assert dropped == [0] * 10 + [1] * 2
    assert times(ring.take(1)) == [(30, 640)]


def test_small_frames_are_bounded_by_their_number() -> None:
    ring = CallerRing(10_000, 5)
    for number in range(20):
        ring.sent_audio(number, b"x")
        ring.wait(FrameKind.DTMF, number, b"1")
        ring.take(1)

    assert ring.frames == 5
