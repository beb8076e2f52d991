"""One HTTP GET for a person who waits for the answer: what came, how late, and what time it is over there."""

import http.client
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

HTTP_S: Final = 10.0
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Far above any list that is asked for; the rest of a longer answer is not read."""

_HALF_A_SECOND: Final = 0.5
"""A `Date` header is cut to the second."""


class NoAnswerError(Exception):
    """Nothing came back; the text says why in a few words, free of addresses."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `skew_s`: how far our clock is behind the server's; None without a Date header."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    skew_s: float | None


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the answer, redirects as they are; blocks for up to `HTTP_S` a step. Raises `NoAnswerError`."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=HTTP_S)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.request("GET", target, headers=dict(headers or {}))
        asked_at = time.time()
        response = connection.getresponse()
        answered_at = time.time()
        told = {name.lower(): value for name, value in response.getheaders()}
        skew_s = skew(told.get("date", ""), (asked_at + answered_at) / 2)
        return Answer(response.status, told, response.read(BODY_BYTES_MAX), skew_s)
    except ssl.SSLCertVerificationError as error:
        raise NoAnswerError(f"its certificate is not accepted: {error.verify_message}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise NoAnswerError(f"no answer: {reason}") from None
    finally:
        connection.close()


def skew(date: str, now: float) -> float | None:
    """Return how many seconds the clock that says `now` (epoch) is behind a `Date` header; None if that is none."""
    try:
        return parsedate_to_datetime(date).timestamp() + _HALF_A_SECOND - now
    except ValueError:
        return None
