"""The keys of those who may ask: `name:scopes:key`, as text of a setting. Pure.

A key is kept as its SHA-256 digest. That is enough for keys of 128 random bits and more, and no help against short
ones; so a short one is refused.
"""

import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final, NamedTuple

KEY_CHARS_MIN: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_KEY: Final = re.compile(r"[\x21-\x7e]+")
_DIGEST_MARK: Final = "sha256="
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do."""

    CALLS = "calls"
    """List, filter and search calls, and read one."""
    EXPORT = "export"
    """Take many away at once."""
    LIVE = "live"
    """Follow the calls that are going on."""
    CALLERS = "callers"
    """See the numbers of callers wherever calls are shown; only together with another scope."""


class ApiKey(NamedTuple):
    """One key and what it opens."""

    name: str
    """For people, logs and the rate limit; no secret."""
    scopes: frozenset[Scope]
    digest: bytes


class KeysError(ValueError):
    """The text holds no list of keys; says which entry by its place, and never quotes it."""


ANYBODY: Final = ApiKey("anybody", frozenset({Scope.CALLS, Scope.EXPORT, Scope.LIVE}), b"")
"""Who asks where there are no keys. Numbers of callers take a key even then."""


def read_keys(text: str) -> tuple[ApiKey, ...]:
    """Return the keys in `text`, one per line or comma; raise `KeysError`."""
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    keys = tuple(_read_key(entry, place) for place, entry in enumerate(entries, 1))
    if len({key.name for key in keys}) < len(keys):
        raise KeysError("holds two keys of one name")
    return keys


def find(keys: tuple[ApiKey, ...], given: str) -> ApiKey | None:
    """Return the key that was given, in a time that tells nothing about the keys."""
    digest = hashlib.sha256(given.encode()).digest()
    matching = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return matching[0] if matching else None


def _read_key(entry: str, place: int) -> ApiKey:
    parts = entry.split(":", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
        raise KeysError(f"entry {place} is not of the form name:scopes:key")
    name, scopes, key = parts
    words = [word.strip() for word in scopes.split("+")]
    if unknown := [word for word in words if word not in set(Scope)]:
        known = ", ".join(Scope)
        raise KeysError(f"entry {place} ({name}) has {len(unknown)} unknown scope(s); there are {known}")
    return ApiKey(name, frozenset(Scope(word) for word in words), _digest(key.strip(), place, name))


def _digest(key: str, place: int, name: str) -> bytes:
    if key.startswith(_DIGEST_MARK):
        hex_digits = key.removeprefix(_DIGEST_MARK).lower()
        if not _DIGEST.fullmatch(hex_digits):
            raise KeysError(f"entry {place} ({name}): sha256= must be followed by 64 hex digits")
        return bytes.fromhex(hex_digits)
    if len(key) < KEY_CHARS_MIN or not _KEY.fullmatch(key):
        raise KeysError(
            f"entry {place} ({name}) has a key of less than {KEY_CHARS_MIN} characters, or with other "
            "characters than printable ASCII; make one with `openssl rand -hex 32`"
        )
    return hashlib.sha256(key.encode()).digest()
