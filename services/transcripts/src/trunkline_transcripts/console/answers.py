"""What the API answers: the fields, as its OpenAPI document tells them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class CallItem(_Answer):
    """One call in a list."""

    call_id: str = Field(description="Twilio's CallSid.")
    call_started_at: datetime
    caller: str | None = Field(
        None, description="The caller's number; null unless the key has the scope callers."
    )
    caller_hash: str | None = Field(None, description="What stands for the caller's number.")
    called: str | None
    agent: str | None
    model: str | None
    answered_at: datetime | None
    ended_at: datetime | None = Field(description="Null: it goes on.")
    duration_ms: int | None
    outcome: str | None
    reason: str | None
    interruptions: int | None
    turns: int
    tool_calls: int
    median_response_ms: float | None
    cost_usd: float = Field(description="As far as there are prices.")


class CallPage(_Answer):
    """Some calls, newest first."""

    calls: list[CallItem]
    next_cursor: str | None = Field(
        description="Ask with it, and the same filters, for older ones. Null: no more."
    )


class Latency(_Answer):
    """Where the time of one answer went."""

    response_ms: float | None
    twilio_to_gateway_ms: float | None
    gateway_to_worker_ms: float | None
    worker_to_model_ms: float | None
    model_ms: float | None
    model_to_worker_ms: float | None
    worker_ms: float | None
    worker_to_gateway_ms: float | None
    gateway_to_twilio_ms: float | None


class Turn(_Answer):
    """What one side said, and what of it was heard."""

    item_id: str
    attach: int
    assign: int
    position: int
    speaker: str
    start_ms: int | None
    end_ms: int | None
    text: str | None = Field(description="What was said; by the agent: generated, heard or not.")
    heard_text: str | None
    generated_ms: int | None
    heard_ms: int | None
    interrupted: bool | None
    transcription: str | None
    latency: Latency | None


class Interruption(_Answer):
    """A turn of the agent that the caller cut off."""

    item_id: str
    at_ms: int | None
    generated_text: str | None
    heard_text: str | None
    unheard_ms: int | None
    caller_text: str | None = Field(description="What the caller said next.")


class ToolCall(_Answer):
    """A tool that the model called."""

    tool_call_id: str
    item_id: str | None
    name: str | None
    arguments: Any
    at_ms: int | None
    outcome: str | None
    output: str | None
    duration_ms: float | None
    http_status: int | None


class Owner(_Answer):
    """A worker that held the call."""

    attach: int
    assign: int
    worker: str | None
    began_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    cause: str | None = Field(description="Why it went on with the call. Null: it took the call first.")
    lost_ms: float | None


class ModelSession(_Answer):
    """A session with the model."""

    attach: int
    assign: int
    session: int
    model: str | None
    connected_at: datetime | None
    connect_ms: float | None
    cause: str | None
    lost_at: datetime | None
    lost_reason: str | None


class TransferStep(_Answer):
    """A step of putting the caller through."""

    at: datetime
    at_ms: int
    target: str
    status: str


class Cost(_Answer):
    """What the call cost, and for what."""

    cost_usd: float
    response_usd: float
    transcription_usd: float
    unpriced: int = Field(description="Responses and transcriptions without a price.")
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class Call(CallItem):
    """One call with everything that is known of it."""

    worker: str | None
    gateway: str | None
    conversation: list[Turn] = Field(description="In the order in which it was said.")
    interrupted_turns: list[Interruption]
    tools: list[ToolCall]
    owners: list[Owner]
    model_sessions: list[ModelSession]
    transfers: list[TransferStep]
    limits_reached: list[str]
    cost: Cost


class SnippetPart(_Answer):
    """A piece of text. It is what somebody said: escape it before it becomes HTML."""

    text: str
    match: bool = Field(description="Whether it is one of the words that were looked for.")


class Hit(_Answer):
    """A turn in which the words were said."""

    call_id: str
    call_started_at: datetime
    agent: str | None
    item_id: str
    position: int
    speaker: str
    start_ms: int | None
    snippet: list[SnippetPart]


class SearchPage(_Answer):
    """Some turns, those of the newest calls first."""

    searched_for: str = Field(
        description="q, or, where q was found nowhere, q with words that are spelt similarly."
    )
    match: Literal["words", "similar"]
    hits: list[Hit]
    next_cursor: str | None = Field(description="Ask with it, and q = searched_for, for older ones.")
