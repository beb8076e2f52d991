import pytest

from trunkline_transcripts import dead_letters
from trunkline_transcripts.dead_letters import WHY_CHARACTERS_MAX
from trunkline_transcripts.dead_letters_command import printable


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("no event:\r\n  wrong\tbyte", "no event: wrong byte"),
        ("no \0 event", "no \ufffd event"),
        ("no \ud800 event", "no ? event"),
        ("x" * 1_000, "x" * WHY_CHARACTERS_MAX),
    ],
)
def test_a_reason_is_one_short_line_that_headers_and_postgres_take(why: str, told: str) -> None:
    assert dead_letters.reason("refused", why).why == told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grüezi ☎", "grüezi ☎"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\u202edesrever", r"\u202edesrever"),
    ],
)
def test_a_terminal_obeys_nothing_of_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
