"""Where a list goes on: an opaque text that names the last row of a page and the question it belongs to. Pure.

Keyset, not offset: rows that are added or removed meanwhile shift nothing. A cursor opens nothing that its bearer
could not ask for with filters, so it is checked, not signed; one of another question is refused by its fingerprint.
"""

import base64
import binascii
import hashlib
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import BaseModel

from trunkline_transcripts.console.problems import Kind, ProblemError

CURSOR_CHARS_MAX: Final = 400
_HEAD: Final = struct.Struct(">8sqi")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NAMES: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\n([^\x00-\x1f\x7f]{0,200})")
_MOMENT_US_MAX: Final = 2**53
"""The year 2255."""


class Place(NamedTuple):
    """A row's place: of a call, or of one of its turns."""

    started_at: datetime
    call_id: str
    position: int = 0
    item_id: str = ""


def fingerprint(question: str, filters: BaseModel, leave_out: frozenset[str]) -> bytes:
    """Return what tells this question from others; `leave_out` names parameters that may change from page to page."""
    asked = filters.model_dump_json(exclude=set(leave_out), exclude_none=True)
    return hashlib.sha256(f"{question} {asked}".encode()).digest()[:8]


def write(asked: bytes, place: Place) -> str:
    """Return the cursor behind `place` in the answer to the question `asked`."""
    moment_us = (place.started_at - _EPOCH) // _MICROSECOND
    names = f"{place.call_id}\n{place.item_id}"
    packed = _HEAD.pack(asked, moment_us, place.position) + names.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read(asked: bytes, cursor: str) -> Place:
    """Return the place in the cursor; raise `ProblemError` when it is none, or belongs to another question."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, moment_us, position = _HEAD.unpack_from(packed)
        names = _NAMES.fullmatch(packed[_HEAD.size :].decode())
    except (binascii.Error, struct.error, ValueError):
        names = None
    if names is None or not 0 <= moment_us <= _MOMENT_US_MAX:
        raise ProblemError(Kind.BAD_CURSOR, "It was not made by this API, or was cut: begin without one.")
    if of != asked:
        raise ProblemError(
            Kind.BAD_CURSOR, "It belongs to other filters: begin without one, or ask with the same."
        )
    return Place(_EPOCH + moment_us * _MICROSECOND, names[1], position, names[2])
