"""The tables, with a comment on each column for the people who read them with SQL.

The tables are split by the month in which a call began, so `call_started_at` is part of every key: a call over
midnight on the 31st stays together. A call that another worker takes over, or that Twilio attaches
again, continues under the next fence (`attach`, `assign`).
"""

from typing import Final

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

_MOMENT: Final = DateTime(timezone=True)
_BY_MONTH: Final = "range (call_started_at)"

metadata: Final = MetaData()

events: Final = Table(
    "events",
    metadata,
    Column("call_started_at", _MOMENT, comment="When the call reached us."),
    Column("call_id", Text, comment="Twilio's CallSid."),
    Column("attach", Integer, comment="How often Twilio had attached the call to us: 1, 2, …"),
    Column("assign", Integer, comment="How often a worker had been assigned within this attach: 1, 2, …"),
    Column(
        "n", Integer, comment="Number of the event under its attach and assign: 0, 1, 2, … without holes."
    ),
    Column(
        "at", _MOMENT, nullable=False, comment="When it happened, by the clock of the worker that wrote it."
    ),
    Column("kind", Text, nullable=False, comment="What happened: call_started, turn_caller, turn_agent, …"),
    Column("data", JSONB, nullable=False, comment="The event itself; its fields depend on the kind."),
    Column(
        "stored_at",
        _MOMENT,
        nullable=False,
        server_default=func.now(),
        comment="When this row was written, by the clock of the database.",
    ),
    PrimaryKeyConstraint("call_started_at", "call_id", "attach", "assign", "n"),
    postgresql_partition_by=_BY_MONTH,
    comment="Every call's event log as the workers wrote it. calls, turns and usage are made from it.",
)

calls: Final = Table(
    "calls",
    metadata,
    Column("call_started_at", _MOMENT, comment="When the call reached us."),
    Column("call_id", Text, comment="Twilio's CallSid."),
    Column("caller", Text, comment="Who called: a phone number as Twilio gave it. Personal data."),
    Column("called", Text, comment="The number that was called."),
    Column("agent", Text, comment="Name of the agent profile that answered."),
    Column("worker", Text, comment="The worker that took the call; the last one, if it was taken over."),
    Column(
        "started_from",
        ARRAY(Integer),
        comment="The event that caller, called, agent and worker come from: attach, assign, n.",
    ),
    Column(
        "gateway",
        Text,
        comment="The gateway that held Twilio's stream; the last one, if it was attached again.",
    ),
    Column("stream_sid", Text, comment="Twilio's name of that stream."),
    Column(
        "answered_at",
        _MOMENT,
        comment="When Twilio's stream first reached a worker. Null: the caller was never connected.",
    ),
    Column(
        "attached_from",
        ARRAY(Integer),
        comment="The event that gateway and stream_sid come from: attach, assign, n.",
    ),
    Column("model", Text, comment="The model that spoke; the last one, if the session was replaced."),
    Column("model_session_id", Text, comment="The model vendor's name of the session, for its support."),
    Column(
        "model_connect_ms",
        Double,
        comment="From the first attempt to connect this session until the model accepted its configuration.",
    ),
    Column(
        "model_from", ARRAY(Integer), comment="The event that the model columns come from: attach, assign, n."
    ),
    Column(
        "ended_at",
        _MOMENT,
        comment="When the call ended. Null: it is going on, or its end is not stored yet.",
    ),
    Column("duration_ms", Integer, comment="How long caller and agent were connected, in media time."),
    Column(
        "outcome",
        Text,
        comment="Whose doing the end was: success, caller, server, upstream or indeterminate.",
    ),
    Column("reason", Text, comment="Why the call ended: a short word from a closed list."),
    Column("interruptions", Integer, comment="How often the caller interrupted the agent."),
    Column(
        "events_expected",
        Integer,
        comment="How many rows of events the last attach and assign wrote. Fewer rows there: some are missing.",
    ),
    Column(
        "ended_from",
        ARRAY(Integer),
        comment="The event that the columns about the end come from: attach, assign, n.",
    ),
    PrimaryKeyConstraint("call_started_at", "call_id"),
    Index("calls_call_id", "call_id"),
    postgresql_partition_by=_BY_MONTH,
    comment="One row per call. Where several events tell the same, the one with the highest attach and assign counts.",
)

turns: Final = Table(
    "turns",
    metadata,
    Column("call_started_at", _MOMENT, comment="When the call reached us."),
    Column("call_id", Text, comment="Twilio's CallSid."),
    Column("attach", Integer, comment="How often Twilio had attached the call to us: 1, 2, …"),
    Column("assign", Integer, comment="How often a worker had been assigned within this attach: 1, 2, …"),
    Column("item_id", Text, comment="The model's name of this piece of the conversation."),
    Column("speaker", Text, nullable=False, comment="caller or agent."),
    Column(
        "position",
        Integer,
        nullable=False,
        comment="Place in the conversation. Read a call in the order of attach, assign, position.",
    ),
    Column("start_ms", Integer, comment="When the turn began, in ms since the call's first audio."),
    Column("end_ms", Integer, comment="When it ended; for the agent: when its last heard audio was played."),
    Column(
        "text",
        Text,
        comment="What was said. For the agent: what it generated, heard or not. Null: no transcript (yet).",
    ),
    Column(
        "heard_text",
        Text,
        comment="What the caller heard of it, as far as one can tell. Null for the caller's turns.",
    ),
    Column(
        "generated_ms", Integer, comment="How much speech the agent generated. Null for the caller's turns."
    ),
    Column(
        "heard_ms", Integer, comment="How much of it was played to the caller. Null for the caller's turns."
    ),
    Column("interrupted", Boolean, comment="Whether the caller interrupted it. Null for the caller's turns."),
    Column(
        "transcription",
        Text,
        comment="How the caller's words became text: completed, failed or missing. Null for the agent's turns.",
    ),
    Column(
        "revision",
        Integer,
        nullable=False,
        comment="Which version of the turn this is; a higher one replaces a lower one. 0: only its latency is known.",
    ),
    Column(
        "response_ms",
        Double,
        comment="From the end of the caller's speech, as the model heard it, to the first audio sent to Twilio.",
    ),
    Column("twilio_to_gateway_ms", Double, comment="Part of the way: Twilio to gateway. Null: not measured."),
    Column("gateway_to_worker_ms", Double, comment="Part of the way: gateway to worker. Null: not measured."),
    Column("worker_to_model_ms", Double, comment="Part of the way: worker to model. Null: not measured."),
    Column("model_ms", Double, comment="What the model itself took, less the way to it and back."),
    Column("model_to_worker_ms", Double, comment="Part of the way: model to worker. Null: not measured."),
    Column("worker_to_gateway_ms", Double, comment="Part of the way: worker to gateway. Null: not measured."),
    Column("gateway_to_twilio_ms", Double, comment="Part of the way: gateway to Twilio. Null: not measured."),
    Column("worker_ms", Double, comment="Our own work in the worker on the way back."),
    Column(
        "words",
        TSVECTOR,
        # A tsvector of more than 1 MB is refused, and the event with it: the longest turn is cut, not lost.
        Computed("""to_tsvector('simple'::regconfig, "left"(text, 50000))""", persisted=True),
        comment="The words of text for full-text search: words @@ websearch_to_tsquery('simple', '…').",
    ),
    PrimaryKeyConstraint("call_started_at", "call_id", "attach", "assign", "item_id"),
    Index("turns_words", "words", postgresql_using="gin"),
    postgresql_partition_by=_BY_MONTH,
    comment="What was said, turn by turn, what of it was heard, and how fast the agent answered.",
)

usage: Final = Table(
    "usage",
    metadata,
    Column("call_started_at", _MOMENT, comment="When the call reached us."),
    Column("call_id", Text, comment="Twilio's CallSid."),
    Column("attach", Integer, comment="How often Twilio had attached the call to us: 1, 2, …"),
    Column("assign", Integer, comment="How often a worker had been assigned within this attach: 1, 2, …"),
    Column(
        "n", Integer, comment="Number of the event that this row comes from, under its attach and assign."
    ),
    Column("at", _MOMENT, nullable=False, comment="When the response was over, by the clock of the worker."),
    Column("response_id", Text, nullable=False, comment="The model's name of the response."),
    Column(
        "input_tokens",
        Integer,
        nullable=False,
        comment="All tokens that went in: text, audio and what was cached of them.",
    ),
    Column("input_text_tokens", Integer, nullable=False, comment="Text among input_tokens."),
    Column("input_audio_tokens", Integer, nullable=False, comment="Audio among input_tokens."),
    Column(
        "cached_tokens",
        Integer,
        nullable=False,
        comment="How many of input_tokens the model had in its cache; they cost less.",
    ),
    Column("output_tokens", Integer, nullable=False, comment="All tokens that came out."),
    Column("output_text_tokens", Integer, nullable=False, comment="Text among output_tokens."),
    Column("output_audio_tokens", Integer, nullable=False, comment="Audio among output_tokens."),
    PrimaryKeyConstraint("call_started_at", "call_id", "attach", "assign", "n"),
    postgresql_partition_by=_BY_MONTH,
    comment="The tokens of each response, as the model counted them.",
)
