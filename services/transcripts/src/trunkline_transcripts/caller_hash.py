"""A keyed hash of a caller's number: calls of one caller can be told without it. Pure."""

import hmac
from typing import Final

from trunkline_common import subjects

HASH_CHARACTERS: Final = 32
"""128 bits: two callers never share one."""

_CHECKED: Final = b"trunkline caller hash key"
"""No number, so the check value is no caller's hash."""


class CallerKey:
    """The key; never printed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def check_value(self) -> str:
        """What the database keeps to know the key by."""
        return self._hash(_CHECKED)

    def hash(self, number: str) -> str | None:
        """Return 32 hex digits for a number as Twilio gives it (E.164); None for a withheld one."""
        return None if subjects.is_withheld(number) else self._hash(number.encode())

    def _hash(self, what: bytes) -> str:
        return hmac.digest(self._key, what, "sha256").hex()[:HASH_CHARACTERS]
