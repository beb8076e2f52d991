"""Who is signed in: a cookie that names a key and when it expires, signed. Pure.

The key's digest is part of what is signed, so a session ends with its key. Nothing is kept: any process with the same
secret reads the cookie.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from typing import Final

from trunkline_transcripts.console.keys import ApiKey

LIFETIME_S: Final = 12 * 3600
"""A working day."""
FAILURES_MAX: Final = 10
"""Wrong keys that one address may send within `FAILURES_WINDOW_S`. People mistype a few times; keys are too long to guess."""
FAILURES_WINDOW_S: Final = 300
ADDRESSES_MAX: Final = 1_000
"""Addresses whose failures are remembered; the one that failed longest ago is forgotten first."""

_COOKIE: Final = re.compile(r"([A-Za-z0-9_-]{1,32})\.(\d{1,12})\.([0-9a-f]{64})")


def issue(secret: bytes, key: ApiKey, now_s: float) -> str:
    """Return the cookie of somebody who has just shown this key; `now_s` is Unix time."""
    expires_s = int(now_s) + LIFETIME_S
    return f"{key.name}.{expires_s}.{_signature(secret, key, expires_s)}"


def read(secret: bytes, keys: tuple[ApiKey, ...], cookie: str, now_s: float) -> ApiKey | None:
    """Return the key that the cookie stands for; None when it is not ours, has expired, or its key has changed."""
    parts = _COOKIE.fullmatch(cookie)
    if parts is None or int(parts[2]) <= now_s:
        return None
    for key in keys:
        if key.name == parts[1]:
            expected = _signature(secret, key, int(parts[2]))
            return key if hmac.compare_digest(expected, parts[3]) else None
    return None


def _signature(secret: bytes, key: ApiKey, expires_s: int) -> str:
    signed = b"trunkline-session\n%s\n%d\n%s" % (key.name.encode(), expires_s, key.digest)
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


class Failures:
    """How many wrong keys each address has sent lately."""

    def __init__(self) -> None:
        self._counted: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: how many since a moment."""

    def wait_s(self, address: str, now_s: float) -> float:
        """Return how long this address has to wait before it may try again; 0: not at all."""
        count, since_s = self._counted.get(address, (0, now_s))
        return max(0.0, since_s + FAILURES_WINDOW_S - now_s) if count >= FAILURES_MAX else 0.0

    def count(self, address: str, now_s: float) -> None:
        """Count one more wrong key."""
        count, since_s = self._counted.pop(address, (0, now_s))
        if now_s >= since_s + FAILURES_WINDOW_S:
            count, since_s = 0, now_s
        self._counted[address] = (count + 1, since_s)
        while len(self._counted) > ADDRESSES_MAX:
            self._counted.popitem(last=False)
