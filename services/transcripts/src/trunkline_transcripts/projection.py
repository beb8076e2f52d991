"""A batch of events as rows: all of them for `events`, the known kinds for the other tables as well. Pure.

What a field of an event means is a column of the same name, unless it is said here. See `rows` for what becomes of
two events that tell the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from trunkline_common import call_events
from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallEnded,
    CallerTurn,
    CallEvent,
    CallStarted,
    CallTakenOver,
    LimitReached,
    ModelConnected,
    ModelLost,
    ToolCalled,
    ToolReturned,
    TranscriptionUsage,
    TransferChanged,
    TurnLatency,
    Usage,
)
from trunkline_common.frames import Fence
from trunkline_transcripts.entry import Entry
from trunkline_transcripts.rows import (
    ROW_TYPES,
    CallerRow,
    CallRow,
    EventRow,
    LimitRow,
    ModelSessionRow,
    OwnerRow,
    Row,
    TakeoverRow,
    ToolCallRow,
    TranscriptionUsageRow,
    TransferRow,
    TurnRow,
    UsageRow,
)

AGENT_TURN_REVISION: Final = 1
"""An agent's turn is told once, when it is over."""
LATENCY_REVISION: Final = 0
"""A latency tells who speaks and where; any turn is newer."""
_OLDER_THAN_ALL: Final = -1
"""The revision of a turn that a later owner has told again: only its latency may still be news."""

FIRST_OWNER: Final = Fence(1, 1)

Rows = Mapping[type[Row], Sequence[Row]]
"""What a batch writes, by table: sorted by key, and no key twice. A table that it does not write is not there."""


def project(entries: Iterable[Entry]) -> Rows:
    """Return the rows that the events make.

    They are sorted so that processes that write the same rows lock them in the same order.
    """
    tables: dict[type[Row], dict[tuple[Any, ...], Row]] = {}
    for entry in entries:
        for row in _told_by(entry):
            rows = tables.setdefault(type(row), {})
            key = row.key
            earlier = rows.get(key)
            rows[key] = row if earlier is None else earlier.absorb(row)
    return {row_type: [rows[key] for key in sorted(rows)] for row_type, rows in tables.items()}


def project_anew(entries: Iterable[Entry]) -> Rows:
    """Return the rows of one call that only its owners may tell, from all events that are not superseded.

    A turn that two owners told is there once, as the later one told it.
    """
    rows = {row_type: of_table for row_type, of_table in project(entries).items() if row_type.of_owner_only}
    turns: dict[str, TurnRow] = {}
    # In the order of the key the later owner comes behind.
    for turn in rows.get(TurnRow, ()):
        assert isinstance(turn, TurnRow), "the mapping is by type"
        earlier = turns.get(turn.item_id)
        if earlier is not None:
            earlier = replace(earlier, attach=turn.attach, assign=turn.assign, revision=_OLDER_THAN_ALL)
        turns[turn.item_id] = turn if earlier is None else turn.absorb(earlier)
    if turns:
        rows[TurnRow] = sorted(turns.values(), key=attrgetter("key"))
    return rows


def _told_by(entry: Entry) -> Iterator[Row]:
    """Yield the event itself, and what it tells of a call, a turn, a response and so on."""
    envelope = entry.envelope
    # The one row that every event has: without the dictionaries of the others.
    yield EventRow(
        call_started_at=entry.call_started_at,
        call_id=envelope.call_id,
        attach=envelope.fence.attach,
        assign=envelope.fence.assign,
        n=envelope.n,
        at=entry.at,
        kind=envelope.kind,
        data=envelope.data,
        sequence=entry.sequence,
    )
    match entry.event:
        case CallStarted() | CallAttached() | CallTakenOver() | CallEnded() as event:
            yield _owner_row(entry, event)
            yield _call_row(entry, event)
            if entry.caller_number is not None:
                yield CallerRow(**_of_call(entry), number=entry.caller_number)
            if isinstance(event, CallTakenOver):
                yield TakeoverRow(
                    **_of_event(entry),
                    **_same(event, TakeoverRow) | {"previous_fence": event.previous_fence or None},
                )
        case ModelConnected() as event:
            yield _call_row(entry, event)
            yield _model_session_row(entry, event)
        case ModelLost() as event:
            yield _model_session_row(entry, event)
        case CallerTurn() | AgentTurn() | TurnLatency() as event:
            yield _turn_row(entry, event)
        case ToolCalled() | ToolReturned() as event:
            yield _tool_call_row(entry, event)
        case Usage() as event:
            yield UsageRow(**_of_event(entry), **_priced(event, UsageRow))
        case TranscriptionUsage() as event:
            yield TranscriptionUsageRow(**_of_event(entry), **_priced(event, TranscriptionUsageRow))
        case TransferChanged() as event:
            yield TransferRow(**_of_event(entry), **_same(event, TransferRow))
        case LimitReached(limit=limit, at_ms=at_ms):
            yield LimitRow(**_of_event(entry), limit_name=limit, at_ms=at_ms)


def _owner_row(entry: Entry, event: CallStarted | CallAttached | CallTakenOver | CallEnded) -> OwnerRow:
    owner, n = _of_owner(entry), entry.envelope.n
    match event:
        case CallStarted() | CallTakenOver():
            return OwnerRow(
                **owner, began_at=entry.at, first_sequence=entry.sequence, worker=event.worker, worker_n=n
            )
        case CallAttached():
            return OwnerRow(**owner, began_at=entry.at, first_sequence=entry.sequence)
        case CallEnded():
            return OwnerRow(
                **owner,
                ended_at=entry.at,
                reason=event.reason,
                events_expected=event.events_expected,
                ended_n=n,
            )


def _call_row(
    entry: Entry, event: CallStarted | CallAttached | CallTakenOver | ModelConnected | CallEnded
) -> CallRow:
    call, number = _of_call(entry), (*entry.envelope.fence, entry.envelope.n)
    if entry.envelope.fence > FIRST_OWNER and not isinstance(event, ModelConnected):
        # Whatever an owner before this one said of the end, the call went on.
        call["ended_from"] = number
    match event:
        case CallStarted():
            return CallRow(
                **call,
                **_same(event, CallRow),
                caller_hash=event.caller or None,
                keep_until=_keep_until(entry.call_started_at, event.retention_days),
                started_from=number,
                worker_from=number,
            )
        case CallAttached():
            return CallRow(**call, **_same(event, CallRow), answered_at=entry.at, attached_from=number)
        case CallTakenOver():
            return CallRow(**call, worker=event.worker, worker_from=number)
        case ModelConnected():
            return CallRow(
                **call,
                model=event.model,
                model_session_id=event.session_id,
                model_connect_ms=event.connect_ms,
                model_from=number,
            )
        case CallEnded():
            return CallRow(**call | {"ended_from": number}, **_same(event, CallRow), ended_at=entry.at)


def _keep_until(call_started_at: datetime, retention_days: int | None) -> datetime | None:
    """Return when the call is to be deleted; None, which keeps it, also for days that nobody can have meant."""
    if retention_days is None or retention_days < 1:
        return None
    try:
        return call_started_at + timedelta(days=retention_days)
    except OverflowError:
        return None


def _turn_row(entry: Entry, event: CallerTurn | AgentTurn | TurnLatency) -> TurnRow:
    turn = _of_owner(entry) | _same(event, TurnRow)
    match event:
        case CallerTurn():
            return TurnRow(**turn, speaker="caller")
        case AgentTurn():
            return TurnRow(**turn, speaker="agent", text=event.generated_text, revision=AGENT_TURN_REVISION)
        case TurnLatency():
            return TurnRow(**turn, speaker="agent", revision=LATENCY_REVISION)


def _tool_call_row(entry: Entry, event: ToolCalled | ToolReturned) -> ToolCallRow:
    call, number = _of_call(entry), (*entry.envelope.fence, entry.envelope.n)
    match event:
        case ToolCalled():
            told = _same(event, ToolCallRow) | {"arguments": _as_json(event.arguments)}
            return ToolCallRow(**call, **told, called_at=entry.at, called_from=number)
        case ToolReturned():
            told = _same(event, ToolCallRow)
            # Whoever called it told its name.
            del told["name"]
            return ToolCallRow(**call, **told, returned_at=entry.at, returned_from=number)


def _model_session_row(entry: Entry, event: ModelConnected | ModelLost) -> ModelSessionRow:
    owner, n = _of_owner(entry), entry.envelope.n
    match event:
        case ModelConnected():
            told = _same(event, ModelSessionRow)
            return ModelSessionRow(**owner, **told, connected_at=entry.at, connected_n=n)
        case ModelLost():
            return ModelSessionRow(
                **owner,
                session=event.session,
                lost_at=entry.at,
                lost_reason=event.reason,
                lost_fatal=event.fatal,
                lost_n=n,
            )


def _priced(event: Usage | TranscriptionUsage, row_type: type[Row]) -> dict[str, Any]:
    """Return the columns of what was counted; what nobody knows is an empty word in the event and null in the row."""
    return _same(event, row_type) | {"model": event.model or None, "price_date": event.price_date or None}


def _as_json(arguments: str) -> Any:
    """Return what the model wrote as JSON, or, where Postgres would not take it for that, as the text it is."""
    if r"\u0000" not in arguments:
        try:
            return msgspec.json.decode(arguments)
        except (ValueError, RecursionError):
            return arguments
    return arguments


def _of_call(entry: Entry) -> dict[str, Any]:
    return {"call_started_at": entry.call_started_at, "call_id": entry.envelope.call_id}


def _of_owner(entry: Entry) -> dict[str, Any]:
    envelope = entry.envelope
    attach, assign = envelope.fence
    return {
        "call_started_at": entry.call_started_at,
        "call_id": envelope.call_id,
        "attach": attach,
        "assign": assign,
    }


def _of_event(entry: Entry) -> dict[str, Any]:
    columns = _of_owner(entry)
    columns["n"] = entry.envelope.n
    columns["at"] = entry.at
    return columns


def _same(event: CallEvent, row_type: type[Row]) -> dict[str, Any]:
    names, values = _SHARED[type(event), row_type]
    return dict(zip(names, values(event), strict=True))


def _shared(
    event_type: type[msgspec.Struct], row_type: type[Row]
) -> tuple[tuple[str, ...], Callable[[CallEvent], Sequence[Any]]]:
    columns = set(row_type.__struct_fields__)
    names = tuple(name for name in event_type.__struct_fields__ if name in columns)
    return names, attrgetter(*names) if len(names) > 1 else lambda event: [
        getattr(event, name) for name in names
    ]


_SHARED: Final = {
    (event_type, row_type): _shared(event_type, row_type)
    for event_type in call_events.EVENT_TYPES
    for row_type in ROW_TYPES
}
