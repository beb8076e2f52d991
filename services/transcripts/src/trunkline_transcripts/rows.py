"""The rows of every table: which columns there are, what identifies a row, and which of two tellings is kept. Pure.

Events arrive in any order, more than once, and split over batches in any way; the rows must come out the same.
So the columns are in groups. One event tells a whole group, together with its version, and of two that tell the same
group the higher version is kept. `absorb` applies that rule within a batch, because one statement may not write a row
twice; `statements` makes the SQL that applies it between a batch and the table, from the same classes.
"""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, Final, NamedTuple, Self

import msgspec

EventNumber = tuple[int, int, int]
"""attach, assign, n: the order of a call's events whatever order they arrive in."""


class Group(NamedTuple):
    """Columns that one event tells together."""

    version: str
    """The column by which the highest is found; None is below all."""
    columns: tuple[str, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row as far as a batch tells it; the fields of its class are the columns."""

    table: ClassVar[str]
    key_columns: ClassVar[tuple[str, ...]]
    groups: ClassVar[tuple[Group, ...]] = ()
    """Without one, a row is made by a single event, and never changes."""
    first: ClassVar[tuple[str, ...]] = ()
    """Columns outside the groups, of which the lowest value is kept."""
    of_owner_only: ClassVar[bool] = False
    """Whether what a superseded owner wrote tells nothing here. What cost money or acted outside counts all the same."""

    @property
    def key(self) -> tuple[Any, ...]:
        """The primary key."""
        return _KEYS[type(self)](self)

    def absorb(self, other: Self) -> Self:
        """Return the one row that is left of two with the same key."""
        told_by_other: dict[str, Any] = {}
        for version, columns in self.groups:
            ours, theirs = getattr(self, version), getattr(other, version)
            if theirs is not None and (ours is None or theirs > ours):
                told_by_other |= {column: getattr(other, column) for column in (version, *columns)}
        for column in self.first:
            values = [value for value in (getattr(self, column), getattr(other, column)) if value is not None]
            told_by_other[column] = min(values, default=None)
        return msgspec.structs.replace(self, **told_by_other) if told_by_other else self


class _OfCall(Row, frozen=True, kw_only=True, omit_defaults=True):
    call_started_at: datetime
    call_id: str


class _OfOwner(_OfCall, frozen=True, kw_only=True, omit_defaults=True):
    attach: int
    assign: int


class _OfEvent(_OfOwner, frozen=True, kw_only=True, omit_defaults=True):
    key_columns = ("call_started_at", "call_id", "attach", "assign", "n")

    n: int
    at: datetime


class EventRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `events`."""

    table = "events"

    kind: str
    data: msgspec.Raw
    sequence: int


class OwnerRow(_OfOwner, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `owners`."""

    table = "owners"
    key_columns = ("call_started_at", "call_id", "attach", "assign")
    groups = (
        Group("worker_n", ("worker",)),
        Group("ended_n", ("ended_at", "reason", "events_expected")),
    )
    first = ("began_at", "first_sequence")

    began_at: datetime | None = None
    first_sequence: int | None = None
    worker: str | None = None
    worker_n: int | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    events_expected: int | None = None
    ended_n: int | None = None


class CallRow(_OfCall, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `calls`."""

    table = "calls"
    key_columns = ("call_started_at", "call_id")
    groups = (
        Group("started_from", ("caller_hash", "called", "agent", "keep_until")),
        Group("worker_from", ("worker",)),
        Group("attached_from", ("gateway", "stream_sid")),
        Group("model_from", ("model", "model_session_id", "model_connect_ms")),
        Group(
            "ended_from",
            ("ended_at", "duration_ms", "outcome", "reason", "interruptions", "events_expected"),
        ),
    )
    first = ("answered_at",)
    of_owner_only = True

    caller_hash: str | None = None
    called: str | None = None
    agent: str | None = None
    worker: str | None = None
    started_from: EventNumber | None = None
    gateway: str | None = None
    stream_sid: str | None = None
    answered_at: datetime | None = None
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
    worker_from: EventNumber | None = None
    keep_until: datetime | None = None


class CallerRow(_OfCall, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `callers`."""

    table = "callers"
    key_columns = ("call_started_at", "call_id")

    number: str


class TurnRow(_OfOwner, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `turns`."""

    table = "turns"
    of_owner_only = True
    key_columns = ("call_started_at", "call_id", "attach", "assign", "item_id")
    groups = (
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


class UsageRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `usage`."""

    table = "usage"

    response_id: str
    input_tokens: int
    input_text_tokens: int
    input_audio_tokens: int
    cached_tokens: int
    output_tokens: int
    output_text_tokens: int
    output_audio_tokens: int
    cached_text_tokens: int
    cached_audio_tokens: int
    reasoning_tokens: int
    model: str | None = None
    cost_usd: float | None = None
    price_date: str | None = None


class TranscriptionUsageRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `transcription_usage`."""

    table = "transcription_usage"

    item_id: str
    model: str | None = None
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    price_date: str | None = None


class ToolCallRow(_OfCall, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `tool_calls`."""

    table = "tool_calls"
    key_columns = ("call_started_at", "call_id", "tool_call_id")
    groups = (
        Group("called_from", ("called_at", "item_id", "name", "arguments", "at_ms")),
        Group("returned_from", ("returned_at", "outcome", "output", "duration_ms", "http_status")),
    )

    tool_call_id: str
    called_at: datetime | None = None
    item_id: str | None = None
    name: str | None = None
    arguments: Any = None
    at_ms: int | None = None
    called_from: EventNumber | None = None
    returned_at: datetime | None = None
    outcome: str | None = None
    output: str | None = None
    duration_ms: float | None = None
    http_status: int | None = None
    returned_from: EventNumber | None = None


class ModelSessionRow(_OfOwner, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `model_sessions`."""

    table = "model_sessions"
    key_columns = ("call_started_at", "call_id", "attach", "assign", "session")
    groups = (
        Group(
            "connected_n",
            ("connected_at", "model", "session_id", "connect_ms", "media_start_ms", "cause", "items"),
        ),
        Group("lost_n", ("lost_at", "lost_reason", "lost_fatal")),
    )

    session: int
    connected_at: datetime | None = None
    model: str | None = None
    session_id: str | None = None
    connect_ms: float | None = None
    media_start_ms: int | None = None
    cause: str | None = None
    items: int | None = None
    connected_n: int | None = None
    lost_at: datetime | None = None
    lost_reason: str | None = None
    lost_fatal: bool | None = None
    lost_n: int | None = None


class TransferRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `transfers`."""

    table = "transfers"
    of_owner_only = True

    target: str
    status: str
    at_ms: int


class TakeoverRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `takeovers`."""

    table = "takeovers"
    of_owner_only = True

    worker: str
    cause: str
    previous_fence: str | None = None
    items: int
    lost_ms: float | None = None


class LimitRow(_OfEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A row of `limits_reached`."""

    table = "limits_reached"
    of_owner_only = True

    limit_name: str
    at_ms: int


ROW_TYPES: Final[tuple[type[Row], ...]] = (
    EventRow,
    OwnerRow,
    CallRow,
    CallerRow,
    TurnRow,
    UsageRow,
    TranscriptionUsageRow,
    ToolCallRow,
    ModelSessionRow,
    TransferRow,
    LimitRow,
    TakeoverRow,
)
"""Every table, in the order in which all processes write them: with rows sorted by key nobody deadlocks."""

_KEYS: Final[dict[type[Row], Callable[[Row], tuple[Any, ...]]]] = {
    row_type: attrgetter(*row_type.key_columns) for row_type in ROW_TYPES
}
