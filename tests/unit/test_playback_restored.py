"""What another owner of the call sent to the caller: its clock, its marks, and what is heard of it."""

from trunkline_worker.playback import InFlight, Playback
from trunkline_worker.playing_item import Cut

NOW = 100.0


def restored(
    *items: InFlight, mark_sent: str = "", mark_played: str = "", unplayed_ms: int = 0, generation: int = 2
) -> Playback:
    playback = Playback("pcmu", "polyphase")
    playback.restore(generation, list(items), mark_sent, mark_played, unplayed_ms, NOW)
    return playback


def item(item_id: str = "A1", sent_ms: int = 2_000, heard_ms: int = 0, *, complete: bool = True) -> InFlight:
    return InFlight(item_id, "R1", sent_ms, heard_ms, complete)


def test_what_is_in_flight_can_be_told_again() -> None:
    playback = restored(item(heard_ms=400), mark_sent="2:A1:2000", mark_played="2:A1:400", unplayed_ms=1_600)

    assert playback.in_flight() == [item(heard_ms=400)]
    assert playback.audible


def test_audio_that_is_younger_than_what_was_told_is_known_by_its_mark() -> None:
    playback = restored(item(sent_ms=1_000), mark_sent="2:A1:1600", unplayed_ms=1_600)

    assert playback.in_flight() == [item(sent_ms=1_600, complete=False)]


def test_a_mark_of_an_item_that_nobody_told_of_is_passed_over() -> None:
    assert not restored(mark_sent="2:A9:400", mark_played="2:A9:200").active


def test_the_clock_runs_on_from_what_is_unplayed() -> None:
    playback = restored(item(), mark_sent="2:A1:2000", mark_played="2:A1:1000", unplayed_ms=900)

    assert playback.heard_ms(NOW) == {"A1": 1_100}


def test_between_marks_that_lie_elsewhere_the_clock_does_not_stop() -> None:
    # 1,060 lies between the places at which marks were reckoned.
    playback = restored(item(), mark_sent="2:A1:2000", mark_played="2:A1:1000", unplayed_ms=1_000)
    playback.mark_played("2:A1:1060", NOW + 0.06)

    assert playback.heard_ms(NOW + 0.25) == {"A1": 1_250}


def test_marks_of_the_owner_before_are_heard_and_the_last_one_ends_the_item() -> None:
    playback = restored(item(), item("A2", 400), mark_sent="2:A2:400", unplayed_ms=2_400)

    playback.mark_played("2:A1:1940", NOW + 1.94)
    assert playback.take_heard() == []
    playback.mark_played("2:A2:400", NOW + 2.4)

    assert [each.item_id for each in playback.take_heard()] == ["A1", "A2"]
    assert not playback.active


def test_marks_of_another_generation_or_echoed_twice_count_for_nothing() -> None:
    playback = restored(item(), mark_sent="2:A1:2000", unplayed_ms=2_000)
    playback.mark_played("2:A1:500", NOW + 0.5)

    assert playback.mark_played("1:A1:900", NOW + 0.6) is None
    assert playback.mark_played("2:A1:500", NOW + 0.7) is None
    assert playback.mark_played("2:A1:no", NOW + 0.7) is None
    assert playback.in_flight() == [item(heard_ms=500)]


def test_an_interruption_cuts_it_where_the_caller_had_come_to() -> None:
    playback = restored(item(), mark_sent="2:A1:2000", mark_played="2:A1:1000", unplayed_ms=1_000)

    assert playback.interrupt(NOW) == [Cut("A1", 1_000, 2_000, complete=True)]
    assert playback.generation == 3


def test_our_own_audio_follows_it_and_its_marks_are_our_own() -> None:
    playback = restored(item(sent_ms=400), mark_sent="2:A1:400", unplayed_ms=400)
    playback.finish_all(NOW)
    playback.receive("R2", "A2", b"\x21" * 1_600, NOW)
    playback.finish("A2", NOW)

    playback.mark_played("2:A2:200", NOW + 0.6)

    assert [each.item_id for each in playback.take_heard()] == ["A1", "A2"]
