"""What must not be stored is taken out of a text: card numbers, e-mail addresses, phone numbers. Pure.

It finds what is written in digits, as transcription writes it: "4111 1111 1111 1111", "4111-1111…", "4 1 1 1, …". What is
spelled in words ("john dot doe at example dot com", "four one one one") and what is spread over several turns is not found.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
import phonenumbers
from phonenumbers import Leniency, PhoneNumberMatcher

from trunkline_common.call_events import Redaction

Span = tuple[int, int]

PLACEHOLDERS: Final = {
    Redaction.EMAILS: "[email]",
    Redaction.CARD_NUMBERS: "[card-number]",
    Redaction.PHONE_NUMBERS: "[phone-number]",
}
"""In the order of the search: digits that are a card's are not looked at again."""

LOOKED_AT_CLOSELY_CHARACTERS_MAX: Final = 8_000
"""Ten minutes of speech. In a longer text, which nobody spoke, every long row of digits is taken out: a close look at one that
is all digits would take seconds."""

CARD_DIGITS_MIN: Final = 13
CARD_DIGITS_MAX: Final = 19

_EMAIL: Final = re.compile(r"[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")

_BETWEEN: Final = r"(?:, |[ \u00a0\u202f.\-\u2010-\u2015_]{1,3})"
"""Between the groups of a number; a comma without a space is one of thousands."""
_RUN: Final = re.compile(rf"\d+(?:{_BETWEEN}\d+)*")
_GROUP: Final = re.compile(r"\d+")
_MANY_DIGITS: Final = re.compile(rf"\d(?:{_BETWEEN}?\d){{{CARD_DIGITS_MIN - 1}}}")
_ROW_OF_DIGITS: Final = re.compile(rf"\d(?:{_BETWEEN}?\d){{{CARD_DIGITS_MIN - 1},}}")

_CARD: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:2[2-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-59]|[689]\d)\d{11,16}|35\d{14,17}|6\d{12,18}|5[06-8]\d{11,17}|220[0-4]\d{12,15}|81\d{14,17}"
)
"""Visa; Mastercard, both ranges; American Express; Diners; JCB; Discover, Maestro, UnionPay; Maestro; Mir; UnionPay
(ISO/IEC 7812: first digits and lengths of the issuers)."""

_SOME_DIGITS: Final = re.compile(r"\d(?:[\s().,/\-\u2010-\u2015]{0,4}\d){6}")
"""A phone number has seven at least."""
_INTERNATIONAL: Final = re.compile(r"\+[ (]{0,2}\d(?:[ ().,/\-\u2010-\u2015]{0,3}\d){6,14}")
_SPOKEN_COMMA: Final = re.compile(r"(?<=\d{3}), (?=\d{3})")
"""Where a speaker paused in a number: "212, 555, 0147"."""


class Redactor:
    """What one call's profile wants to be taken out of its texts."""

    def __init__(self, redact: Iterable[str], line: str) -> None:
        """`redact` holds values of `Redaction`, others are ignored; `line` is the number that was called."""
        wanted = frozenset(redact)
        finders: dict[Redaction, Callable[[str], Iterator[Span]]] = {
            Redaction.EMAILS: _emails,
            Redaction.CARD_NUMBERS: _cards,
            Redaction.PHONE_NUMBERS: lambda text: _phones(text, _region(line)),
        }
        self._finders = [
            (placeholder, finders[kind]) for kind, placeholder in PLACEHOLDERS.items() if kind in wanted
        ]

    def text(self, text: str) -> str:
        """Return the text with the placeholders in it."""
        return _replaced(text, self._found(text))

    def beginning(self, text: str, whole: str) -> str:
        """Return `text`, what was heard of the `whole`: a number that was cut in the middle is gone, too."""
        if not whole.startswith(text):
            return self.text(text)
        return _replaced(
            text,
            [
                (start, min(end, len(text)), said)
                for start, end, said in self._found(whole)
                if start < len(text)
            ],
        )

    def json_text(self, text: str) -> str:
        """Return a text that may be JSON; where it is, and something was found in it, it still is."""
        if text[:1] in {"{", "[", '"'}:
            try:
                value = msgspec.json.decode(text)
                redacted = self.value(value)
                return text if redacted == value else msgspec.json.encode(redacted).decode()
            except (ValueError, RecursionError, OverflowError):
                pass
        return self.text(text)

    def value(self, value: Any) -> Any:
        """Return what JSON held, with all texts in it redacted, and all whole numbers that are a card's or a phone's."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self.value(each) for name, each in value.items()}
            case list():
                return [self.value(each) for each in value]
            case int() if not isinstance(value, bool):
                redacted = self.text(str(value))
                return value if redacted == str(value) else redacted
        return value

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        rest = text
        for placeholder, find in self._finders:
            if spans := list(find(rest)):
                found += [(start, end, placeholder) for start, end in spans]
                rest = _replaced(rest, [(start, end, "*" * (end - start)) for start, end in spans])
        return sorted(found)


@lru_cache(maxsize=1024)
def redactor(redact: tuple[str, ...], line: str) -> Redactor:
    """Return the redactor of a profile; there are as many as profiles and numbers."""
    return Redactor(redact, line)


def _replaced(text: str, found: Iterable[tuple[int, int, str]]) -> str:
    parts, behind = [], 0
    for start, end, placeholder in found:
        parts += [text[behind:start], placeholder]
        behind = end
    return "".join([*parts, text[behind:]]) if parts else text


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield match.span()


def _cards(text: str) -> Iterator[Span]:
    if not _MANY_DIGITS.search(text):
        return
    if len(text) > LOOKED_AT_CLOSELY_CHARACTERS_MAX:
        for match in _ROW_OF_DIGITS.finditer(text):
            yield match.span()
        return
    for run in _RUN.finditer(text):
        groups = [match.span() for match in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            end, following = _card_from(text, groups, first)
            if end:
                yield groups[first][0], end
            first = following


def _card_from(text: str, groups: list[Span], first: int) -> tuple[int, int]:
    """Return where the longest card number ends that begins with a group, and the group to go on with; 0: there is none."""
    digits, end, following = "", 0, first + 1
    for index in range(first, len(groups)):
        digits += text[slice(*groups[index])]
        if len(digits) > CARD_DIGITS_MAX:
            break
        if _is_card(digits):
            end, following = groups[index][1], index + 1
    start, stop = groups[first]
    if not end and stop - start > CARD_DIGITS_MIN:
        # Written together with what was said behind it, such as the date.
        for length in range(min(CARD_DIGITS_MAX, stop - start), CARD_DIGITS_MIN - 1, -1):
            if _is_card(text[start : start + length]):
                return stop, first + 1
    return end, following


def _is_card(digits: str) -> bool:
    return _CARD.fullmatch(digits) is not None and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, Annex B)."""
    odd = sum(int(digit) for digit in digits[-1::-2])
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (odd + even) % 10 == 0


def _phones(text: str, region: str | None) -> Iterator[Span]:
    if not _SOME_DIGITS.search(text):
        return
    if len(text) > LOOKED_AT_CLOSELY_CHARACTERS_MAX:
        for match in _SOME_DIGITS.finditer(text):
            yield match.span()
        return
    behind = 0
    plain = _SPOKEN_COMMA.sub("  ", text)
    found = [match.span() for match in _INTERNATIONAL.finditer(text)]
    found += [(match.start, match.end) for match in PhoneNumberMatcher(plain, region, Leniency.VALID)]
    for start, end in sorted(found):
        if end > behind:
            yield max(start, behind), end
            behind = end


@lru_cache(maxsize=1024)
def _region(line: str) -> str | None:
    """Return the country whose way of writing numbers the callers of a line use; None: only `+…` is understood."""
    try:
        number = phonenumbers.parse(line)
    except phonenumbers.NumberParseException:
        return None
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return None if region in {phonenumbers.UNKNOWN_REGION, "001"} else region
