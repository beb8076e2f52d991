"""Everything in a simulated session that looks random, drawn from a seed.

Hashing a counter instead of a random generator keeps the core pure, and makes what one session
draws independent of every other session on the same server.
"""

from __future__ import annotations

import hashlib
import itertools
import string

_BASE62 = string.digits + string.ascii_letters


class Dice:
    """Ids in the vendor's form and small variations; the same seed gives the same ones."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._rolls = itertools.count()

    def id(self, kind: str, length: int = 21) -> str:
        """Return a new id, for example `item_` and 21 letters and digits."""
        number = self._roll()
        letters = []
        for _ in range(length):
            number, letter = divmod(number, 62)
            letters.append(_BASE62[letter])
        return f"{kind}_{''.join(letters)}"

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + self._roll() % (high - low + 1)

    def _roll(self) -> int:
        text = f"{self._seed}:{next(self._rolls)}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest())
