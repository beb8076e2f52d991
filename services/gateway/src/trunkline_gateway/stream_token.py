"""Pure: the one-time token that ties a media stream to the signed webhook that asked for it.

A signature on the websocket's URL can be replayed, for that URL never changes. The token cannot: it names the
call, the attach number and an expiry, and it opens one stream. It is `<attach>.<started_at_ms>.<expires_at_ms>`
and a MAC over these, the CallSid, the AccountSid and both numbers. Its key is derived from the Twilio auth
token, so that every gateway can check what another one has issued.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict
from typing import Final, NamedTuple

from trunkline_gateway.reasons import Rejection

LIFETIME_MS: Final = 60_000
"""Twilio opens the stream within a second of the TwiML; a minute forgives slow networks and skewed clocks."""

TOKEN_CHARS_MAX: Final = 200
USED_TOKENS_MAX: Final = 65_536
"""A thousand calls a second for a minute. Beyond it the oldest is forgotten: the owner of the call still
refuses an attach number that it has seen."""

_KEY_PURPOSE: Final = b"trunkline stream token v1"


class Facts(NamedTuple):
    """What a token vouches for."""

    call_id: str
    account_sid: str
    caller: str
    """The caller's number as Twilio gave it; never logged."""
    called: str
    attach: int
    """How often this call was attached, this time included."""
    started_at_ms: int
    """Unix ms when the call reached us."""


def derive_key(secret: bytes) -> bytes:
    """Return the signing key that belongs to an auth token."""
    return hmac.digest(secret, _KEY_PURPOSE, "sha256")


class TokenIssuer:
    """Issues tokens with the first of its keys and accepts those of all, so that keys can be rotated."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        assert keys, "a token without a key protects nothing"
        self._keys = keys
        self._used: OrderedDict[str, int] = OrderedDict()

    def issue(self, facts: Facts, now_ms: int) -> str:
        """Return a token that opens one stream within `LIFETIME_MS` of `now_ms` (Unix ms)."""
        head = f"{facts.attach}.{facts.started_at_ms}.{now_ms + LIFETIME_MS}"
        return f"{head}.{_mac(self._keys[0], head, facts)}"

    def redeem(
        self, token: str, *, call_id: str, account_sid: str, caller: str, called: str, now_ms: int
    ) -> Facts | Rejection:
        """Return what the token vouches for and mark it as used, or why it opens nothing."""
        if not token:
            return Rejection.TOKEN_MISSING
        head, _, mac = token.rpartition(".")
        numbers = _numbers(head) if len(token) <= TOKEN_CHARS_MAX and token.isascii() else None
        if numbers is None:
            return Rejection.TOKEN_FOREIGN
        attach, started_at_ms, expires_at_ms = numbers
        facts = Facts(call_id, account_sid, caller, called, attach, started_at_ms)
        if not any(hmac.compare_digest(_mac(key, head, facts), mac) for key in self._keys):
            return Rejection.TOKEN_FOREIGN
        if now_ms >= expires_at_ms:
            return Rejection.TOKEN_EXPIRED
        if not self._use(mac, expires_at_ms, now_ms):
            return Rejection.TOKEN_USED
        return facts

    def _use(self, mac: str, expires_at_ms: int, now_ms: int) -> bool:
        if mac in self._used:
            return False
        # Lifetimes are equal, so the order of use is nearly the order of expiry: look at the oldest only.
        while self._used and (
            len(self._used) >= USED_TOKENS_MAX or next(iter(self._used.values())) <= now_ms
        ):
            self._used.popitem(last=False)
        self._used[mac] = expires_at_ms
        return True


def _numbers(head: str) -> tuple[int, int, int] | None:
    parts = head.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) <= 15 for part in parts):
        return None
    attach, started_at_ms, expires_at_ms = map(int, parts)
    return attach, started_at_ms, expires_at_ms


def _mac(key: bytes, head: str, facts: Facts) -> str:
    # Zero bytes cannot occur in XML, so no two lists of fields give the same text.
    fields = (head, facts.call_id, facts.account_sid, facts.caller, facts.called)
    digest = hmac.new(key, "\0".join(fields).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
