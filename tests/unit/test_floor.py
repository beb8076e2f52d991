"""Whose turn it is."""

from trunkline_worker.floor import Floor


def test_the_caller_has_the_floor_until_an_answer_is_heard() -> None:
    floor = Floor(owes=False)
    floor.speaking_item = "U1"
    floor.caller_stopped("U1", taken_ms=2_000)

    assert (floor.caller_has_it, floor.owes, floor.last_item) == (True, True, "U1")
    floor.answered()
    assert (floor.caller_has_it, floor.owes) == (False, False)


def test_a_session_that_is_lost_in_mid_sentence_leaves_an_answer_owed() -> None:
    floor = Floor(speaking_item="U1", owes=False)

    floor.session_lost(hear_again_ms=1_500)

    assert (floor.caller_has_it, floor.owes, floor.hear_again_ms) == (False, True, 1_500)


def test_of_what_a_session_hears_again_nothing_was_taken_yet() -> None:
    floor = Floor(taken_ms=3_000, hear_again_ms=1_000)

    assert floor.session_opened() == 1_000
    assert floor.taken_ms == 1_000
