"""What is taken out of a text, and what is left as it is."""

import datetime
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common.call_events import Redaction
from trunkline_transcripts import redaction
from trunkline_transcripts.redaction import redactor

EVERYTHING = redactor(tuple(Redaction), "+12025550147")
CARDS = redactor((Redaction.CARD_NUMBERS,), "")

CARD = "[card-number]"
PHONE = "[phone-number]"
EMAIL = "[email]"

ISSUERS = ["4", "51", "55", "2221", "2720", "34", "37", "6011", "65", "36", "3528", "62", "5018"]
LENGTHS = {"34": 15, "37": 15, "36": 14}


def with_check_digit(number: str) -> str:
    """Return the number with the last digit that makes it a card's (ISO/IEC 7812-1, Annex B)."""
    return next(number + check for check in digits if redaction._passes_luhn(number + check))


@st.composite
def cards(draw: st.DrawFn) -> str:
    issuer = draw(st.sampled_from(ISSUERS))
    length = LENGTHS.get(issuer, 16)
    rest = draw(st.text(digits, min_size=length - len(issuer) - 1, max_size=length - len(issuer) - 1))
    return with_check_digit(issuer + rest)


@st.composite
def written_cards(draw: st.DrawFn) -> tuple[str, str]:
    """A card number, and how somebody may have written it."""
    card = draw(cards())
    size = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 19]))
    between = draw(st.sampled_from([" ", "-", ", ", ".", " - ", "\u00a0", "\u2013"]))
    return card, between.join(card[start : start + size] for start in range(0, len(card), size))


@given(
    written_cards(), st.text(ascii_letters + " ,.!?'", max_size=20), st.sampled_from(["", " 12/27", ", 123."])
)
def test_nothing_that_looks_like_a_card_survives(card: tuple[str, str], before: str, behind: str) -> None:
    number, written = card

    said = CARDS.text(f"{before} {written}{behind}")

    assert number not in "".join(character for character in said if character.isdigit())
    assert CARD in said


@given(cards(), st.text(digits, min_size=1, max_size=3))
def test_a_card_written_together_with_its_code_does_not_survive(card: str, code: str) -> None:
    assert card not in CARDS.text(f"It is {card}{code}.")


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("It is 4111 1111 1111 1111, 12/27.", f"It is {CARD}, 12/27."),
        ("4111-1111-1111-1111", CARD),
        ("4111, 1111, 1111, 1111, 123", f"{CARD}, 123"),
        ("Amex 3782 822463 10005", f"Amex {CARD}"),
        ("Write to jane.doe+x@mail.example.co.uk, please.", f"Write to {EMAIL}, please."),
        ("Call 202-555-0123 or (212) 555 0147.", f"Call {PHONE} or {PHONE}."),
        ("2 0 2 5 5 5 0 1 2 3", PHONE),
        ("212, 555, 0147", PHONE),
        ("It is +49 30 901820 in Berlin", f"It is {PHONE} in Berlin"),
        ("+999 1234567890 is nobody's", f"{PHONE} is nobody's"),
        ("a@b.example 4111111111111111 +12025550123", f"{EMAIL} {CARD} {PHONE}"),
    ],
)
def test_what_is_found_is_replaced(said: str, stored: str) -> None:
    assert EVERYTHING.text(said) == stored


def test_numbers_are_read_as_they_are_written_where_the_line_is() -> None:
    german = redactor((Redaction.PHONE_NUMBERS,), "+4930901820")

    assert german.text("Meine Nummer ist 0171 2345678.") == f"Meine Nummer ist {PHONE}."
    assert EVERYTHING.text("0171 2345678") == "0171 2345678"


@pytest.mark.parametrize(
    "said",
    [
        "We are open from 9 to 5, on Saturdays from 10:00 to 13:30.",
        "That is $1,234,567.89, or 1.000.000 euros.",
        "A check up is sixty dollars; 60.00 USD.",
        "1,000,000,000,000 people, 5,000,000,000,000 stars.",
        "Slots at 9, 10, 11, 12, 13, 14, 15 and 16.",
        "On 2026-11-23 at 14:30:00, or 11/23/2026, or 23.11.2026.",
        "From 2019-2026, order 12345678, room 4711.",
        "john dot doe at example dot com",
        "It is @ the corner, 50% off.",
    ],
)
def test_ordinary_sentences_are_left_as_they_are(said: str) -> None:
    assert EVERYTHING.text(said) == said


@given(
    st.integers(631_152_000, 2_208_988_800).map(lambda at: datetime.datetime.fromtimestamp(at, datetime.UTC)),
    st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%H:%M", "%I:%M %p", "%Y-%m-%d %H:%M"]),
    st.floats(0, 99_999.99),
    st.integers(0, 999_999),
)
def test_dates_times_prices_and_counts_are_left_as_they_are(
    moment: datetime.datetime, form: str, price: float, count: int
) -> None:
    said = f"On {moment.strftime(form)} it costs ${price:,.2f} for {count:,} of {count}."

    assert EVERYTHING.text(said) == said


def test_a_number_that_was_cut_by_an_interruption_is_gone_from_what_was_heard() -> None:
    whole = "Your card is 4111 1111 1111 1111, right?"

    assert EVERYTHING.beginning(whole[:25], whole) == f"Your card is {CARD}"
    assert EVERYTHING.beginning("Something else.", whole) == "Something else."


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ('{"card": "4111111111111111", "n": 1}', '{"card":"[card-number]","n":1}'),
        ('{"card": 4111111111111111}', '{"card":"[card-number]"}'),
        ('{"day": "Saturday",  "n": 1.50}', '{"day": "Saturday",  "n": 1.50}'),
        ("{'card': 4111111111111111}", "{'card': [card-number]}"),
        ("[" * 2000 + "4111111111111111", "[" * 2000 + CARD),
    ],
)
def test_json_stays_json(written: str, stored: str) -> None:
    assert EVERYTHING.json_text(written) == stored


def test_of_a_very_long_text_every_long_row_of_digits_is_taken_out() -> None:
    text = "5 " * redaction.LOOKED_AT_CLOSELY_CHARACTERS_MAX

    assert "5" not in EVERYTHING.text(text)
    assert "5" not in CARDS.text(text)


def test_words_that_only_a_newer_worker_knows_take_out_nothing() -> None:
    assert redactor(("names",), "").text("4111111111111111") == "4111111111111111"
