"""What the agent asked for happens once its last words were heard, and after a limit in any case."""

import pytest

from trunkline_worker.leaving import HEARD_MARGIN_S, WORDS_S, Leaving
from trunkline_worker.tools import Departure

NOW = 1000.0


@pytest.fixture
def leaving() -> Leaving:
    return Leaving(Departure("end_call"), "R1", NOW)


def test_words_said_with_the_call_are_the_farewell(leaving: Leaving) -> None:
    words = leaving.response_done("R1", spoke=True, unheard_ms=3000, now=NOW + 1)

    assert words == ""
    assert not leaving.may_go(audible=True, now=NOW + 3)
    assert leaving.may_go(audible=False, now=NOW + 3)


def test_a_call_without_words_is_followed_by_a_farewell(leaving: Leaving) -> None:
    words = leaving.response_done("R1", spoke=False, unheard_ms=0, now=NOW + 1)
    assert "goodbye" in words
    assert not leaving.may_go(audible=False, now=NOW + 1), "it was not said yet"

    assert leaving.response_done("R2", spoke=True, unheard_ms=2000, now=NOW + 2) == ""

    assert not leaving.may_go(audible=True, now=NOW + 3)
    assert leaving.may_go(audible=False, now=NOW + 4)


def test_a_mark_that_never_comes_is_not_waited_for(leaving: Leaving) -> None:
    leaving.response_done("R1", spoke=True, unheard_ms=3000, now=NOW)

    assert leaving.wake_at() == NOW + 3 + HEARD_MARGIN_S
    assert leaving.may_go(audible=True, now=NOW + 3 + HEARD_MARGIN_S)


def test_a_farewell_that_is_never_said_is_not_waited_for(leaving: Leaving) -> None:
    leaving.response_done("R1", spoke=False, unheard_ms=0, now=NOW + 1)

    assert leaving.wake_at() == NOW + 1 + WORDS_S
    assert leaving.may_go(audible=False, now=NOW + 1 + WORDS_S)


def test_the_end_of_another_response_says_nothing(leaving: Leaving) -> None:
    assert leaving.response_done("R0", spoke=True, unheard_ms=0, now=NOW) == ""

    assert not leaving.may_go(audible=False, now=NOW + 1)


def test_keys_need_no_words() -> None:
    leaving = Leaving(Departure("send_digits", digits="1"), "R1", NOW)

    assert leaving.response_done("R1", spoke=False, unheard_ms=0, now=NOW) == ""
    assert leaving.may_go(audible=False, now=NOW)
