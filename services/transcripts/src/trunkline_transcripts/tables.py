"""The tables, with a comment on each column for the people who read them with SQL.

The tables are split by the month in which a call began, so `call_started_at` is part of every key: a call over
midnight on the 31st stays together. A call that another worker takes over, or that Twilio attaches
again, continues under the next fence (`attach`, `assign`).
"""

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    Double,
    Index,
    Integer,
    Numeric,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from trunkline_transcripts.caller_table import caller_hash_key, callers
from trunkline_transcripts.columns import MOMENT, by_month, metadata, of_call, of_event, of_owner
from trunkline_transcripts.dead_letter_table import dead_letters
from trunkline_transcripts.owner_tables import owners, takeovers
from trunkline_transcripts.rows import (
    CallRow,
    EventRow,
    LimitRow,
    ModelSessionRow,
    ToolCallRow,
    TranscriptionUsageRow,
    TransferRow,
    TurnRow,
    UsageRow,
)
from trunkline_transcripts.word_table import turn_words

__all__ = ["caller_hash_key", "callers", "dead_letters", "metadata", "owners", "takeovers", "turn_words"]

events: Final = by_month(
    EventRow,
    *of_owner(),
    Column(
        "n", Integer, comment="Number of the event under its attach and assign: 0, 1, 2, … without holes."
    ),
    Column(
        "at", MOMENT, nullable=False, comment="When it happened, by the clock of the worker that wrote it."
    ),
    Column("kind", Text, nullable=False, comment="What happened: call_started, turn_caller, turn_agent, …"),
    Column("data", JSONB, nullable=False, comment="The event itself; its fields depend on the kind."),
    Column(
        "stored_at",
        MOMENT,
        nullable=False,
        server_default=func.now(),
        comment="When this row was written, by the clock of the database.",
    ),
    Column(
        "sequence",
        BigInteger,
        comment="Its place in the event log of all calls. Null: stored before it was kept.",
    ),
    Column(
        "superseded",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether it was written after another owner had begun. It tells nothing of the call any more.",
    ),
    Index("events_superseded", "call_started_at", "call_id", postgresql_where=text("superseded")),
    comment="Every call's event log as the workers wrote it. The other tables are made from it.",
)

calls: Final = by_month(
    CallRow,
    *of_call(),
    Column("caller", Text, comment="Not used any more: the number is in callers. Always null."),
    Column("called", Text, comment="The number that was called."),
    Column("agent", Text, comment="Name of the agent profile that answered."),
    Column("worker", Text, comment="The worker that took the call; the last one, if it was taken over."),
    Column(
        "started_from",
        ARRAY(Integer),
        comment="The event that caller_hash, called, agent and keep_until come from: attach, assign, n.",
    ),
    Column(
        "gateway",
        Text,
        comment="The gateway that held Twilio's stream; the last one, if it was attached again.",
    ),
    Column("stream_sid", Text, comment="Twilio's name of that stream."),
    Column(
        "answered_at",
        MOMENT,
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
        MOMENT,
        comment="When its last owner ended the call; where reason is end-unknown, when it was last heard of. Null: it is going on.",
    ),
    Column(
        "duration_ms",
        Integer,
        comment="How long caller and agent were connected, in media time. Null: it is going on, or its end is unknown.",
    ),
    Column(
        "outcome",
        Text,
        comment="Whose doing the end was: success, caller, server, upstream or indeterminate.",
    ),
    Column(
        "reason",
        Text,
        comment="Why the call ended: a short word from a closed list. end-unknown: its worker was lost, and nobody wrote the end down.",
    ),
    Column("interruptions", Integer, comment="How often the caller interrupted the agent."),
    Column(
        "events_expected",
        Integer,
        comment="How many rows of events the last owner wrote; see owners for those before it.",
    ),
    Column(
        "ended_from",
        ARRAY(Integer),
        comment="The event that the columns about the end come from, or a later owner's first: attach, assign, n.",
    ),
    Column("worker_from", ARRAY(Integer), comment="The event that worker comes from: attach, assign, n."),
    Column(
        "caller_hash",
        Text,
        comment="Stands for the caller's number: the same number, the same 32 characters. Null: it was withheld.",
    ),
    Column(
        "keep_until",
        MOMENT,
        comment="When the call is deleted, by its agent profile. Null: it is kept until somebody deletes it.",
    ),
    Index("calls_call_id", "call_id"),
    Index("calls_caller_hash", "caller_hash", "call_started_at"),
    Index("calls_caller_left", "call_started_at", postgresql_where=text("caller is not null")),
    Index("calls_keep_until", "keep_until", postgresql_where=text("keep_until is not null")),
    Index(
        "calls_open",
        "call_started_at",
        postgresql_where=text("ended_at is null or reason = 'end-unknown'"),
    ),
    Index("calls_agent", "agent", text("call_started_at desc"), text("call_id desc")),
    Index("calls_outcome", "outcome", text("call_started_at desc"), text("call_id desc")),
    Index("calls_reason", "reason", text("call_started_at desc"), text("call_id desc")),
    comment="One row per call. Where several events tell the same, the one with the highest attach and assign counts.",
)

turns: Final = by_month(
    TurnRow,
    *of_owner(),
    Column("item_id", Text, comment="The model's name of this piece of the conversation."),
    Column("speaker", Text, nullable=False, comment="caller or agent."),
    Column(
        "position",
        Integer,
        nullable=False,
        comment="Place in the conversation, counted on from owner to owner: read a call in this order.",
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
    Index("turns_words", "words", postgresql_using="gin"),
    comment="What was said, turn by turn, what of it was heard, and how fast the agent answered.",
)

usage: Final = by_month(
    UsageRow,
    *of_event("When the response was over, by the clock of the worker."),
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
    Column(
        "cached_text_tokens", Integer, comment="Text among cached_tokens. Null: stored before it was counted."
    ),
    Column(
        "cached_audio_tokens",
        Integer,
        comment="Audio among cached_tokens. Null: stored before it was counted.",
    ),
    Column(
        "reasoning_tokens",
        Integer,
        comment="Output that was never spoken. Null: stored before it was counted.",
    ),
    Column("model", Text, comment="The model that answered. Null: stored before it was told."),
    Column("cost_usd", Numeric, comment="What the response cost, in USD. Null: the model has no price."),
    Column("price_date", Date, comment="Date of the price list by which cost_usd was reckoned."),
    comment="The tokens of each response, as the model counted them.",
)

transcription_usage: Final = by_month(
    TranscriptionUsageRow,
    *of_event("When the text came, by the clock of the worker."),
    Column("item_id", Text, nullable=False, comment="The caller's turn that was written down, as in turns."),
    Column("model", Text, comment="The model that wrote it down."),
    Column("seconds", Double, comment="How much speech was billed. Null: this model is billed by tokens."),
    Column("input_tokens", Integer, comment="Tokens that went in. Null: this model is billed by time."),
    Column("output_tokens", Integer, comment="Tokens that came out. Null: this model is billed by time."),
    Column("cost_usd", Numeric, comment="What it cost, in USD. Null: the model has no price."),
    Column("price_date", Date, comment="Date of the price list by which cost_usd was reckoned."),
    comment="What writing down each turn of the caller took: billed apart from the responses.",
)

tool_calls: Final = by_month(
    ToolCallRow,
    *of_call(),
    Column("tool_call_id", Text, comment="The model's name of this call of a tool."),
    Column("called_at", MOMENT, comment="When the model called the tool, by the clock of the worker."),
    Column("item_id", Text, comment="The model's name of this piece of the conversation."),
    Column("name", Text, comment="The tool's name."),
    Column(
        "arguments",
        JSONB,
        comment="What the model gave the tool. A JSON string: what it wrote was no JSON, and this is its text.",
    ),
    Column("at_ms", Integer, comment="When it was called, in ms since the call's first audio."),
    Column(
        "called_from",
        ARRAY(Integer),
        comment="The event that the columns above come from: attach, assign, n.",
    ),
    Column("returned_at", MOMENT, comment="When the model was given the answer. Null: not (yet)."),
    Column(
        "outcome",
        Text,
        comment="How it went: ok, failed, timeout, refused (never called) or cancelled. Null: not over (yet).",
    ),
    Column("output", Text, comment="The answer as the model was given it."),
    Column("duration_ms", Double, comment="How long the tool took."),
    Column(
        "http_status",
        Integer,
        comment="The HTTP status of its answer. Null: none came, or it is no HTTP tool.",
    ),
    Column(
        "returned_from",
        ARRAY(Integer),
        comment="The event that the columns about the answer come from: attach, assign, n.",
    ),
    comment="Every call of a tool by the model, with its answer.",
)

model_sessions: Final = by_month(
    ModelSessionRow,
    *of_owner(),
    Column("session", Integer, comment="Number of the model's session under its attach and assign: 1, 2, …"),
    Column(
        "connected_at",
        MOMENT,
        comment="When the model had accepted its configuration. Null: it never did.",
    ),
    Column("model", Text, comment="The model."),
    Column("session_id", Text, comment="The model vendor's name of the session, for its support."),
    Column(
        "connect_ms",
        Double,
        comment="From the first attempt to connect this session until the model accepted its configuration.",
    ),
    Column(
        "media_start_ms",
        Integer,
        comment="The first of the caller's speech that it was sent, in ms since the call's first audio.",
    ),
    Column(
        "cause",
        Text,
        comment="Why it was opened: start, restored (the one before was lost) or rotated (it was about to expire).",
    ),
    Column("items", Integer, comment="Items of the conversation so far that it was given."),
    Column("connected_n", Integer, comment="Number of the event that the columns above come from."),
    Column("lost_at", MOMENT, comment="When it was refused or lost. Null: it was not, or not yet."),
    Column("lost_reason", Text, comment="Why: an error code of the model, close-<code> or connect-<what>."),
    Column("lost_fatal", Boolean, comment="Whether trying again could not help."),
    Column("lost_n", Integer, comment="Number of the event that the columns about the loss come from."),
    comment="Every session with the model: opened, restored or rotated, and how it was lost.",
)

transfers: Final = by_month(
    TransferRow,
    *of_event("When this became known, by the clock of the worker."),
    Column(
        "target", Text, nullable=False, comment="Name of the target in the agent profile, not its number."
    ),
    Column(
        "status",
        Text,
        nullable=False,
        comment="dialing, answered, no-answer, busy, failed or canceled.",
    ),
    Column("at_ms", Integer, nullable=False, comment="The same moment in ms since the call's first audio."),
    comment="Each step of putting a caller through to somebody.",
)

limits_reached: Final = by_month(
    LimitRow,
    *of_event("When it was reached, by the clock of the worker."),
    Column("limit_name", Text, nullable=False, comment="minutes, silence, cost or tools."),
    Column("at_ms", Integer, nullable=False, comment="The same moment in ms since the call's first audio."),
    comment="Each limit of the agent profile that a call reached.",
)
