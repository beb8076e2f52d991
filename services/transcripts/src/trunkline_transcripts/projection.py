"""A batch of events as rows: all of them for `events`, the known kinds for `calls`, `turns` and `usage` as well. Pure.

Events arrive in any order, more than once, and split over batches in any way; the rows must come out the same.
So the columns of `calls` and `turns` are in groups. One event tells a whole group, together with its version, and
of two that tell the same group the higher version is kept. `store` applies that rule between a batch and the
table; here it is applied within the batch, because one statement may not write a row twice.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar

import msgspec

from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallEnded,
    CallerTurn,
    CallStarted,
    ModelConnected,
    TurnLatency,
    Usage,
)
from trunkline_transcripts.entry import Entry

EventNumber = tuple[int, int, int]
"""attach, assign, n: the order of a call's events whatever order they arrive in."""

AGENT_TURN_REVISION: Final = 1
"""An agent's turn is told once, when it is over."""
LATENCY_REVISION: Final = 0
"""A latency tells who speaks and where; any turn is newer."""


class Group(NamedTuple):
    """Columns that one event tells together."""

    version: str
    """The column by which the highest is found; None is below all."""
    columns: tuple[str, ...]


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `events`; the fields are the columns."""

    call_started_at: datetime
    call_id: str
    attach: int
    assign: int
    n: int
    at: datetime
    kind: str
    data: msgspec.Raw

    @property
    def key(self) -> tuple[Any, ...]:
        """The primary key."""
        return (self.call_started_at, self.call_id, self.attach, self.assign, self.n)

    def absorb(self, _copy: Self) -> Self:
        """An event never changes."""
        return self


class _GroupedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    groups: ClassVar[tuple[Group, ...]]

    def absorb(self, other: Self) -> Self:
        """Return the one row that is left of two with the same key."""
        told_by_other: dict[str, Any] = {}
        for version, columns in self.groups:
            ours, theirs = getattr(self, version), getattr(other, version)
            if theirs is not None and (ours is None or theirs > ours):
                told_by_other |= {column: getattr(other, column) for column in (version, *columns)}
        return msgspec.structs.replace(self, **told_by_other)


class CallRow(_GroupedRow, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `calls` as far as a batch tells it; the fields are the columns."""

    groups: ClassVar = (
        Group("started_from", ("caller", "called", "agent", "worker")),
        Group("attached_from", ("gateway", "stream_sid")),
        Group("model_from", ("model", "model_session_id", "model_connect_ms")),
        Group(
            "ended_from",
            ("ended_at", "duration_ms", "outcome", "reason", "interruptions", "events_expected"),
        ),
    )

    call_started_at: datetime
    call_id: str
    caller: str | None = None
    called: str | None = None
    agent: str | None = None
    worker: str | None = None
    started_from: EventNumber | None = None
    gateway: str | None = None
    stream_sid: str | None = None
    answered_at: datetime | None = None
    """Stands outside the groups: the first stream counts, not the last."""
    attached_from: EventNumber | None = None
    model: str | None = None
    model_session_id: str | None = None
    model_connect_ms: float | None = None
    model_from: EventNumber | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    outcome: str | None = None
    reason: str | None = None
    interruptions: int | None = None
    events_expected: int | None = None
    ended_from: EventNumber | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """The primary key."""
        return (self.call_started_at, self.call_id)

    def absorb(self, other: Self) -> Self:
        """Return the one row that is left of two of the same call."""
        moments = [moment for moment in (self.answered_at, other.answered_at) if moment]
        return msgspec.structs.replace(super().absorb(other), answered_at=min(moments, default=None))


class TurnRow(_GroupedRow, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `turns` as far as a batch tells it; the fields are the columns."""

    groups: ClassVar = (
        Group(
            "revision",
            (
                "speaker", "position", "start_ms", "end_ms", "text",
                "heard_text", "generated_ms", "heard_ms", "interrupted", "transcription",
            ),
        ),
        # Told once; all of its copies are the same.
        Group(
            "response_ms",
            (
                "twilio_to_gateway_ms", "gateway_to_worker_ms", "worker_to_model_ms", "model_ms",
                "model_to_worker_ms", "worker_to_gateway_ms", "gateway_to_twilio_ms", "worker_ms",
            ),
        ),
    )  # fmt: skip

    call_started_at: datetime
    call_id: str
    attach: int
    assign: int
    item_id: str
    speaker: str
    position: int
    start_ms: int | None = None
    end_ms: int | None = None
    text: str | None = None
    heard_text: str | None = None
    generated_ms: int | None = None
    heard_ms: int | None = None
    interrupted: bool | None = None
    transcription: str | None = None
    revision: int
    response_ms: float | None = None
    twilio_to_gateway_ms: float | None = None
    gateway_to_worker_ms: float | None = None
    worker_to_model_ms: float | None = None
    model_ms: float | None = None
    model_to_worker_ms: float | None = None
    worker_to_gateway_ms: float | None = None
    gateway_to_twilio_ms: float | None = None
    worker_ms: float | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """The primary key."""
        return (self.call_started_at, self.call_id, self.attach, self.assign, self.item_id)


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `usage`; the fields are the columns."""

    call_started_at: datetime
    call_id: str
    attach: int
    assign: int
    n: int
    at: datetime
    response_id: str
    input_tokens: int
    input_text_tokens: int
    input_audio_tokens: int
    cached_tokens: int
    output_tokens: int
    output_text_tokens: int
    output_audio_tokens: int

    @property
    def key(self) -> tuple[Any, ...]:
        """The primary key."""
        return (self.call_started_at, self.call_id, self.attach, self.assign, self.n)

    def absorb(self, _copy: Self) -> Self:
        """An event never changes."""
        return self


class Rows(NamedTuple):
    """What a batch writes: sorted by key, and no key twice in a table."""

    events: Sequence[EventRow]
    calls: Sequence[CallRow]
    turns: Sequence[TurnRow]
    usage: Sequence[UsageRow]


Row = TypeVar("Row", EventRow, CallRow, TurnRow, UsageRow)


def project(entries: Iterable[Entry]) -> Rows:
    """Return the rows that the events make.

    They are sorted so that processes that write the same rows lock them in the same order.
    """
    events: dict[tuple[Any, ...], EventRow] = {}
    calls: dict[tuple[Any, ...], CallRow] = {}
    turns: dict[tuple[Any, ...], TurnRow] = {}
    usage: dict[tuple[Any, ...], UsageRow] = {}
    for entry in entries:
        _add(_event_row(entry), events)
        match _told_by(entry):
            case CallRow() as row:
                _add(row, calls)
            case TurnRow() as row:
                _add(row, turns)
            case UsageRow() as row:
                _add(row, usage)
    return Rows(_sorted(events), _sorted(calls), _sorted(turns), _sorted(usage))


def _add(row: Row, rows: dict[tuple[Any, ...], Row]) -> None:
    key = row.key
    earlier = rows.get(key)
    rows[key] = row if earlier is None else earlier.absorb(row)


def _sorted(rows: dict[tuple[Any, ...], Row]) -> list[Row]:
    return [rows[key] for key in sorted(rows)]


def _event_row(entry: Entry) -> EventRow:
    envelope = entry.envelope
    return EventRow(
        call_started_at=entry.call_started_at,
        call_id=envelope.call_id,
        attach=envelope.fence.attach,
        assign=envelope.fence.assign,
        n=envelope.n,
        at=entry.at,
        kind=envelope.kind,
        data=envelope.data,
    )


def _told_by(entry: Entry) -> CallRow | TurnRow | UsageRow | None:
    """Return what the event tells of a call, a turn or a response, if anything."""
    match entry.event:
        case CallStarted() | CallAttached() | ModelConnected() | CallEnded() as event:
            return _call_row(entry, event)
        case CallerTurn() | AgentTurn() | TurnLatency() as event:
            return _turn_row(entry, event)
        case Usage() as event:
            return _usage_row(entry, event)
        case _:
            return None


def _call_row(entry: Entry, event: CallStarted | CallAttached | ModelConnected | CallEnded) -> CallRow:
    call: dict[str, Any] = {"call_started_at": entry.call_started_at, "call_id": entry.envelope.call_id}
    number = (*entry.envelope.fence, entry.envelope.n)
    match event:
        case CallStarted():
            return CallRow(
                **call,
                caller=event.caller,
                called=event.called,
                agent=event.agent,
                worker=event.worker,
                started_from=number,
            )
        case CallAttached():
            return CallRow(
                **call,
                gateway=event.gateway,
                stream_sid=event.stream_sid,
                answered_at=entry.at,
                attached_from=number,
            )
        case ModelConnected():
            return CallRow(
                **call,
                model=event.model,
                model_session_id=event.session_id,
                model_connect_ms=event.connect_ms,
                model_from=number,
            )
        case CallEnded():
            return CallRow(
                **call,
                ended_at=entry.at,
                duration_ms=event.duration_ms,
                outcome=event.outcome,
                reason=event.reason,
                interruptions=event.interruptions,
                events_expected=event.events_expected,
                ended_from=number,
            )


def _turn_row(entry: Entry, event: CallerTurn | AgentTurn | TurnLatency) -> TurnRow:
    turn: dict[str, Any] = {
        "call_started_at": entry.call_started_at,
        "call_id": entry.envelope.call_id,
        "attach": entry.envelope.fence.attach,
        "assign": entry.envelope.fence.assign,
        "item_id": event.item_id,
        "position": event.position,
    }
    match event:
        case CallerTurn():
            return TurnRow(
                **turn,
                speaker="caller",
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                text=event.text,
                transcription=event.transcription,
                revision=event.revision,
            )
        case AgentTurn():
            return TurnRow(
                **turn,
                speaker="agent",
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                text=event.generated_text,
                heard_text=event.heard_text,
                generated_ms=event.generated_ms,
                heard_ms=event.heard_ms,
                interrupted=event.interrupted,
                revision=AGENT_TURN_REVISION,
            )
        case TurnLatency():
            return TurnRow(
                **turn,
                speaker="agent",
                revision=LATENCY_REVISION,
                response_ms=event.response_ms,
                twilio_to_gateway_ms=event.twilio_to_gateway_ms,
                gateway_to_worker_ms=event.gateway_to_worker_ms,
                worker_to_model_ms=event.worker_to_model_ms,
                model_ms=event.model_ms,
                model_to_worker_ms=event.model_to_worker_ms,
                worker_to_gateway_ms=event.worker_to_gateway_ms,
                gateway_to_twilio_ms=event.gateway_to_twilio_ms,
                worker_ms=event.worker_ms,
            )


def _usage_row(entry: Entry, event: Usage) -> UsageRow:
    envelope = entry.envelope
    return UsageRow(
        call_started_at=entry.call_started_at,
        call_id=envelope.call_id,
        attach=envelope.fence.attach,
        assign=envelope.fence.assign,
        n=envelope.n,
        at=entry.at,
        response_id=event.response_id,
        input_tokens=event.input_tokens,
        input_text_tokens=event.input_text_tokens,
        input_audio_tokens=event.input_audio_tokens,
        cached_tokens=event.cached_tokens,
        output_tokens=event.output_tokens,
        output_text_tokens=event.output_text_tokens,
        output_audio_tokens=event.output_audio_tokens,
    )
