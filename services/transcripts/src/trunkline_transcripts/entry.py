"""One message of the event log, read as far as it is understood. Pure.

What cannot be read at all raises `EventError`. An event of an unknown kind is none of that: a newer worker wrote
it, and its place in `events` is kept.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from trunkline_common import call_events, subjects
from trunkline_common.call_events import CallEvent, Envelope, EventError

_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""The six characters that stand for a NUL in JSON. After an odd number of backslashes they are no escape."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """An event that can be stored."""

    envelope: Envelope
    event: CallEvent | None
    """What the envelope holds; None for a kind that this version does not know."""
    call_started_at: datetime
    at: datetime
    nuls_replaced: int
    """Postgres cannot store U+0000; each became U+FFFD."""


def read(message: bytes) -> Entry:
    """Return the event in `message`; raise `EventError` when this version cannot read or store it."""
    nuls_replaced = 0
    if rb"\u0000" in message:
        message, nuls_replaced = _ESCAPED_NUL.subn(rb"\1\\ufffd", message)
    try:
        envelope = call_events.decode(message)
        event = call_events.open_envelope(envelope)
    except RecursionError:
        raise EventError("no event: nested too deep") from None
    if event is not None and call_events.kind_of(event) != envelope.kind:
        raise EventError(f"a {envelope.kind} that holds a {call_events.kind_of(event)}")
    for name in (envelope.call_id, envelope.kind):
        try:
            subjects.token(name)
        except subjects.InvalidTokenError as error:
            raise EventError(f"no event: {error}") from None
    return Entry(
        envelope, event, _moment(envelope.call_started_at_ms), _moment(envelope.at_ms), nuls_replaced
    )


def _moment(unix_ms: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        raise EventError(f"no event: {unix_ms} is no Unix time in ms") from None
