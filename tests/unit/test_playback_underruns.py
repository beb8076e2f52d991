"""Silences in the middle of what the agent says, because the model sends it slower than it is spoken."""

from trunkline_worker.commands import Count, Measure
from trunkline_worker.playback import Playback

SPEECH = b"\x21" * 1_600
"""200 ms, with one mark behind it."""

UNDERRUN = Count(Measure.PLAYBACK_UNDERRUN)


def test_a_silence_in_the_middle_of_an_item_is_counted() -> None:
    playback = Playback("pcmu", "polyphase")
    playback.receive("R1", "A1", SPEECH, now=0.0)

    in_time = playback.receive("R1", "A1", SPEECH, now=0.19)
    playback.mark_played("0:A1:200", now=0.2)
    too_late = playback.receive("R1", "A1", SPEECH, now=0.41)

    assert UNDERRUN not in in_time
    assert too_late[0] == UNDERRUN


def test_a_silence_between_two_items_is_none_that_counts() -> None:
    playback = Playback("pcmu", "polyphase")
    playback.receive("R1", "A1", SPEECH, now=0.0)
    playback.finish("A1", now=0.0)

    assert UNDERRUN not in playback.receive("R2", "A2", SPEECH, now=9.0)
