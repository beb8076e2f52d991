"""One message of the event log, read as far as it is understood, without what may not be stored. Pure.

The caller's number leaves the event here, whatever is made of it afterwards: its hash takes its place, and the number goes
on beside it, for the one table that holds it. So do the parts of texts that the agent's profile wants to be redacted.
What cannot be read at all raises `EventError`. An event of an unknown kind is none of that: a newer worker wrote
it, and its place in `events` is kept.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from trunkline_common import call_events, subjects
from trunkline_common.call_events import (
    AgentTurn,
    CallerTurn,
    CallEvent,
    CallStarted,
    Envelope,
    EventError,
    ModelLost,
    ToolCalled,
    ToolReturned,
    TransferChanged,
)
from trunkline_common.frames import Fence
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.redaction import Redactor, redactor

TEXTS: Final[dict[type[CallEvent], frozenset[str]]] = {
    CallerTurn: frozenset({"text"}),
    AgentTurn: frozenset({"generated_text", "heard_text"}),
    ToolCalled: frozenset({"arguments"}),
    ToolReturned: frozenset({"output"}),
    ModelLost: frozenset({"reason"}),
    TransferChanged: frozenset({"target"}),
}
"""Fields that may hold what somebody said. The other fields that we know are names, numbers and words from closed lists."""

_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""The six characters that stand for a NUL in JSON. After an odd number of backslashes they are no escape."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Entry(NamedTuple):
    """An event that can be stored."""

    envelope: Envelope
    event: CallEvent | None
    """What the envelope holds; None for a kind that this version does not know."""
    call_started_at: datetime
    at: datetime
    sequence: int
    """Its place in JetStream's log: what was written after what, whatever order it arrives in."""
    nuls_replaced: int
    """Postgres cannot store U+0000; each became U+FFFD."""
    caller_number: str | None = None
    """The caller's number where the event told it; the event itself holds the hash."""


class Stored(NamedTuple):
    """An event as it lies in `events`."""

    call_started_at: datetime
    call_id: str
    attach: int
    assign: int
    n: int
    at: datetime
    kind: str
    data: str
    """JSON."""
    sequence: int | None
    """None: stored by a release that did not keep it."""


def read(message: bytes, sequence: int, caller_key: CallerKey) -> Entry:
    """Return the event in `message`, the log's `sequence`th; raise `EventError` when this version cannot read or store it."""
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
    caller_number = None
    if isinstance(event, CallStarted):
        caller_number = None if subjects.is_withheld(event.caller) else event.caller
    if envelope.redact or isinstance(event, CallStarted):
        envelope, event = _storable(envelope, event, caller_key)
    return Entry(
        envelope=envelope,
        event=event,
        call_started_at=_moment(envelope.call_started_at_ms),
        at=_moment(envelope.at_ms),
        sequence=sequence,
        nuls_replaced=nuls_replaced,
        caller_number=caller_number,
    )


def reread(stored: Stored) -> Entry:
    """Return the event in a row of `events`; its kind may be one that this version could not read then, or cannot now."""
    at_ms = (stored.at - _EPOCH) // _MILLISECOND
    envelope = Envelope(
        call_id=stored.call_id,
        call_started_at_ms=(stored.call_started_at - _EPOCH) // _MILLISECOND,
        fence=Fence(stored.attach, stored.assign),
        n=stored.n,
        at_ms=at_ms,
        kind=stored.kind,
        data=msgspec.Raw(stored.data.encode()),
    )
    try:
        event = call_events.open_envelope(envelope)
    except EventError:
        event = None
    return Entry(
        envelope=envelope,
        event=event,
        call_started_at=stored.call_started_at,
        at=stored.at,
        sequence=stored.sequence or 0,
        nuls_replaced=0,
    )


def _storable(
    envelope: Envelope, event: CallEvent | None, caller_key: CallerKey
) -> tuple[Envelope, CallEvent | None]:
    """Return both without what may not be stored; what a newer worker tells in fields of its own stays there."""
    redacting = redactor(envelope.redact, envelope.line)
    try:
        fields = msgspec.json.decode(envelope.data)
        if not isinstance(fields, dict):
            data = redacting.value(fields)
        else:
            data = _redacted(fields, event, redacting) if envelope.redact else fields
        if isinstance(event, CallStarted):
            data["caller"] = caller_key.hash(event.caller) or ""
        envelope = msgspec.structs.replace(envelope, data=msgspec.Raw(msgspec.json.encode(data)))
    except (OverflowError, RecursionError) as error:
        raise EventError(f"no {envelope.kind}: {error}") from None
    return envelope, call_events.open_envelope(envelope)


def _redacted(fields: dict[str, Any], event: CallEvent | None, redacting: Redactor) -> dict[str, Any]:
    known = frozenset(() if event is None else event.__struct_fields__) | {"kind"}
    texts = frozenset() if event is None else TEXTS.get(type(event), frozenset())
    said = {
        name: redacting.value(value) if name not in known else redacting.json_text(value)
        for name, value in fields.items()
        if (name in texts and isinstance(value, str)) or name not in known
    }
    if isinstance(event, AgentTurn):
        said["heard_text"] = redacting.beginning(event.heard_text, event.generated_text)
    return fields | said


def _moment(unix_ms: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        raise EventError(f"no event: {unix_ms} is no Unix time in ms") from None
