"""What Twilio does with the audio and marks it is sent (see `twilio_player`)."""

from trunkline_simulators.twilio_player import (
    BUFFERED_BYTES_MAX,
    MARKS_MAX,
    SILENT_FRAME,
    STUTTER_FRAMES_MAX,
    Echo,
    Player,
)

FRAME = bytes(range(160))


def played(name: str) -> Echo:
    return Echo(name, cleared=False)


def cleared(name: str) -> Echo:
    return Echo(name, cleared=True)


def test_audio_of_any_size_is_played_in_order_a_frame_at_a_time() -> None:
    player = Player()
    for byte in FRAME + FRAME[::-1]:
        player.add_audio(bytes([byte]))

    frames = [player.tick()[0] for _ in range(3)]

    assert frames == [FRAME, FRAME[::-1], SILENT_FRAME]
    assert player.played_bytes == 320


def test_a_partial_frame_is_filled_up_with_silence() -> None:
    player = Player()
    player.add_audio(FRAME[:100])

    frame, _ = player.tick()

    assert frame == FRAME[:100] + b"\xff" * 60
    assert player.partial_frames == 1


def test_a_mark_comes_back_when_everything_before_it_was_played() -> None:
    player = Player()
    player.add_audio(FRAME)
    assert player.add_mark("first") == []
    player.add_audio(FRAME * 2)
    player.add_mark("second")

    echoes = [player.tick()[1] for _ in range(4)]

    assert echoes == [[played("first")], [], [played("second")], []]


def test_a_mark_inside_a_frame_waits_for_its_last_byte() -> None:
    player = Player()
    player.add_audio(FRAME[:100])
    player.add_mark("inside")
    player.add_audio(FRAME[:100])
    player.add_mark("behind")

    echoes = [player.tick()[1] for _ in range(2)]

    assert echoes == [[played("inside")], [played("behind")]]


def test_a_mark_with_nothing_before_it_comes_back_at_once() -> None:
    assert Player().add_mark("ready") == [played("ready")]


def test_clear_drops_the_audio_and_sends_all_marks_back_in_order() -> None:
    player = Player()
    player.add_audio(FRAME * 3)
    player.add_mark("first")
    player.add_audio(FRAME)
    player.add_mark("second")
    player.tick()

    dropped_bytes, echoes = player.clear()

    assert dropped_bytes == 480
    assert echoes == [cleared("first"), cleared("second")]
    assert player.tick() == (SILENT_FRAME, [])


def test_clear_with_nothing_to_play_does_nothing() -> None:
    assert Player().clear() == (0, [])


def test_audio_after_clear_is_played_and_its_marks_are_right() -> None:
    player = Player()
    player.add_audio(FRAME * 5)
    player.clear()

    player.add_audio(FRAME[::-1])
    player.add_mark("new")

    assert player.tick() == (FRAME[::-1], [played("new")])


def test_ten_minutes_are_the_most_that_waits() -> None:
    player = Player()
    assert player.add_audio(bytes(BUFFERED_BYTES_MAX))

    accepted = player.add_audio(FRAME)

    assert not accepted
    assert player.discarded_bytes == 160
    assert player.buffered_ms == 600_000
    player.tick()
    assert player.add_audio(FRAME)


def test_marks_without_end_are_not_kept() -> None:
    player = Player()
    player.add_audio(FRAME)
    for number in range(MARKS_MAX + 1):
        player.add_mark(str(number))

    assert player.waiting_marks == MARKS_MAX
    assert player.discarded_marks == 1


def gap_of(frames: int) -> Player:
    player = Player()
    player.add_audio(FRAME)
    for _ in range(1 + frames):
        player.tick()
    player.add_audio(FRAME)
    player.tick()
    return player


def test_a_short_gap_in_the_audio_is_an_underrun_and_a_pause_is_none() -> None:
    assert gap_of(0).underruns == 0
    assert gap_of(1).underruns == 1
    assert gap_of(STUTTER_FRAMES_MAX).underruns == 1
    assert gap_of(STUTTER_FRAMES_MAX + 1).underruns == 0


def test_a_gap_that_clear_made_is_not_an_underrun() -> None:
    player = Player()
    player.add_audio(FRAME * 2)
    player.tick()
    player.clear()
    player.tick()

    player.add_audio(FRAME)
    player.tick()

    assert player.underruns == 0
