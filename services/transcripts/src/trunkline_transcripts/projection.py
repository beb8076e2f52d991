"""A batch of events as rows: all of them for `events`, the known kinds for `calls` and `turns` as well. Pure.

Events arrive in any order, more than once, and split over batches in any way; the rows must come out the same.
So each kind of event has columns of its own that no other kind writes, and a number that says which of two
events about the same columns wins. `store` applies that rule between a batch and the table; here it is applied
within the batch, because one statement may not write a row twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Self, assert_never

import msgspec
from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallEnded,
    CallerTurn,
    CallStarted,
    DtmfReceived,
    ModelConnected,
    ModelLost,
    TurnLatency,
    Usage,
)

from trunkline_transcripts.entry import Entry

EventNumber = tuple[int, int, int]
"""attach, assign, n: the order of a call's events whatever order they arrive in."""

AGENT_TURN_REVISION: Final = 1
"""An agent's turn is told once, when it is over."""
LATENCY_REVISION: Final = 0
"""A latency that arrives before its turn: any turn is newer."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row as one kind of event tells it; the fields are named like the columns that it writes."""

    table: ClassVar[str] = "calls"

    call_started_at: datetime
    call_id: str

    @property
    def key(self) -> tuple[Any, ...]:
        """The table's primary key, as values that can be compared."""
        return (self.call_started_at, self.call_id)

    @property
    def version(self) -> Any:
        """Of two rows with the same key the one with the higher version stays."""
        raise NotImplementedError

    def absorb(self, other: Self) -> Self:
        """Return the one row that is left of two with the same key."""
        return max(self, other, key=lambda row: row.version)


class EventRow(Row, frozen=True, kw_only=True):
    """A row of `events`."""

    table: ClassVar[str] = "events"

    attach: int
    assign: int
    n: int
    at: datetime
    kind: str
    data: msgspec.Raw

    @property
    def key(self) -> tuple[Any, ...]:
        """The event's number within its call."""
        return (self.call_started_at, self.call_id, self.attach, self.assign, self.n)

    @property
    def version(self) -> int:
        """An event never changes: all of its copies are the same."""
        return 0


class StartedRow(Row, frozen=True, kw_only=True):
    """What `call_started` tells of a call."""

    caller: str
    called: str
    agent: str
    worker: str
    started_from: EventNumber

    @property
    def version(self) -> EventNumber:
        """The newest worker counts."""
        return self.started_from


class AttachedRow(Row, frozen=True, kw_only=True):
    """What `call_attached` tells of a call."""

    gateway: str
    stream_sid: str
    answered_at: datetime
    attached_from: EventNumber

    @property
    def version(self) -> EventNumber:
        """The newest stream counts."""
        return self.attached_from

    def absorb(self, other: Self) -> Self:
        """Return the newer stream; the caller was answered when the first one came."""
        answered_at = min(self.answered_at, other.answered_at)
        return msgspec.structs.replace(super().absorb(other), answered_at=answered_at)


class ModelRow(Row, frozen=True, kw_only=True):
    """What `model_connected` tells of a call."""

    model: str
    model_session_id: str
    model_connect_ms: float
    model_from: EventNumber

    @property
    def version(self) -> EventNumber:
        """The newest session counts."""
        return self.model_from


class EndedRow(Row, frozen=True, kw_only=True):
    """What `call_ended` tells of a call."""

    ended_at: datetime
    duration_ms: int
    outcome: str
    reason: str
    interruptions: int
    events_expected: int
    ended_from: EventNumber

    @property
    def version(self) -> EventNumber:
        """An owner that was replaced does not know how the call went on."""
        return self.ended_from


class _PieceRow(Row, frozen=True, kw_only=True):
    """Common to the two that tell of a turn."""

    table: ClassVar[str] = "turns"

    attach: int
    assign: int
    item_id: str
    speaker: str
    position: int
    revision: int

    @property
    def key(self) -> tuple[Any, ...]:
        """One piece of the conversation under one owner."""
        return (self.call_started_at, self.call_id, self.attach, self.assign, self.item_id)

    @property
    def version(self) -> int:
        """A transcript that came late is a higher revision."""
        return self.revision


class TurnRow(_PieceRow, frozen=True, kw_only=True):
    """What `turn_caller` and `turn_agent` tell of a turn."""

    start_ms: int
    end_ms: int
    text: str | None
    heard_text: str | None = None
    generated_ms: int | None = None
    heard_ms: int | None = None
    interrupted: bool | None = None
    transcription: str | None = None


class LatencyRow(_PieceRow, frozen=True, kw_only=True):
    """What `turn_latency` tells of a turn."""

    response_ms: float
    twilio_to_gateway_ms: float | None
    gateway_to_worker_ms: float | None
    worker_to_model_ms: float | None
    model_ms: float
    model_to_worker_ms: float | None
    worker_to_gateway_ms: float | None
    gateway_to_twilio_ms: float | None
    worker_ms: float


Rows = Mapping[type[Row], Sequence[Row]]
"""What a batch writes, by kind of row; each sequence in the order of its keys, and no key twice."""


def project(entries: Iterable[Entry]) -> Rows:
    """Return the rows that the events make.

    They are sorted so that two processes that write the same rows lock them in the same order.
    """
    found: dict[type[Row], dict[tuple[Any, ...], Row]] = {}
    for entry in entries:
        for row in _rows(entry):
            same_kind = found.setdefault(type(row), {})
            earlier = same_kind.get(row.key)
            same_kind[row.key] = earlier.absorb(row) if earlier else row
    return {kind: [rows[key] for key in sorted(rows)] for kind, rows in found.items()}


def _rows(entry: Entry) -> list[Row]:
    envelope = entry.envelope
    attach, assign = envelope.fence
    event_row = EventRow(
        call_started_at=entry.call_started_at,
        call_id=envelope.call_id,
        attach=attach,
        assign=assign,
        n=envelope.n,
        at=entry.at,
        kind=envelope.kind,
        data=envelope.data,
    )
    told = _told_by(entry)
    return [event_row] if told is None else [event_row, told]


def _told_by(entry: Entry) -> Row | None:
    """Return what the event tells of a call or a turn, if anything."""
    match entry.event:
        case CallStarted() | CallAttached() | ModelConnected() | CallEnded() as event:
            return _call_row(entry, event)
        case CallerTurn() | AgentTurn() | TurnLatency() as event:
            return _turn_row(entry, event)
        case None | ModelLost() | Usage() | DtmfReceived():
            return None
        case _ as unhandled:
            assert_never(unhandled)


def _call_row(entry: Entry, event: CallStarted | CallAttached | ModelConnected | CallEnded) -> Row:
    call_started_at, call_id = entry.call_started_at, entry.envelope.call_id
    number = (*entry.envelope.fence, entry.envelope.n)
    match event:
        case CallStarted():
            return StartedRow(
                call_started_at=call_started_at,
                call_id=call_id,
                caller=event.caller,
                called=event.called,
                agent=event.agent,
                worker=event.worker,
                started_from=number,
            )
        case CallAttached():
            return AttachedRow(
                call_started_at=call_started_at,
                call_id=call_id,
                gateway=event.gateway,
                stream_sid=event.stream_sid,
                answered_at=entry.at,
                attached_from=number,
            )
        case ModelConnected():
            return ModelRow(
                call_started_at=call_started_at,
                call_id=call_id,
                model=event.model,
                model_session_id=event.session_id,
                model_connect_ms=event.connect_ms,
                model_from=number,
            )
        case CallEnded():
            return EndedRow(
                call_started_at=call_started_at,
                call_id=call_id,
                ended_at=entry.at,
                duration_ms=event.duration_ms,
                outcome=event.outcome,
                reason=event.reason,
                interruptions=event.interruptions,
                events_expected=event.events_expected,
                ended_from=number,
            )


def _turn_row(entry: Entry, event: CallerTurn | AgentTurn | TurnLatency) -> Row:
    attach, assign = entry.envelope.fence
    piece: dict[str, Any] = {
        "call_started_at": entry.call_started_at,
        "call_id": entry.envelope.call_id,
        "attach": attach,
        "assign": assign,
        "item_id": event.item_id,
        "position": event.position,
    }
    match event:
        case CallerTurn():
            return TurnRow(
                **piece,
                speaker="caller",
                revision=event.revision,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                text=event.text,
                transcription=event.transcription,
            )
        case AgentTurn():
            return TurnRow(
                **piece,
                speaker="agent",
                revision=AGENT_TURN_REVISION,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                text=event.generated_text,
                heard_text=event.heard_text,
                generated_ms=event.generated_ms,
                heard_ms=event.heard_ms,
                interrupted=event.interrupted,
            )
        case TurnLatency():
            return LatencyRow(**piece, speaker="agent", revision=LATENCY_REVISION, **_latency_parts(event))


def _latency_parts(event: TurnLatency) -> dict[str, Any]:
    """Return the parts, which are named alike in the event and in the table."""
    return {name: value for name, value in msgspec.structs.asdict(event).items() if name.endswith("_ms")}
