"""Costs, tools, model sessions, transfers and limits: new tables, and new columns of usage.

Only adds: a service of the release before goes on writing. The new columns of usage are null in the rows that are there.
"""

from typing import Final

from alembic import op

revision = "0003"
down_revision = "0002"

NEW_TABLES: Final = ("transcription_usage", "tool_calls", "model_sessions", "transfers", "limits_reached")

TABLES: Final = """
comment on table events is
    'Every call''s event log as the workers wrote it. The other tables are made from it.';

alter table usage
    add column cached_text_tokens integer,
    add column cached_audio_tokens integer,
    add column reasoning_tokens integer,
    add column model text,
    add column cost_usd numeric,
    add column price_date date;

comment on column usage.cached_text_tokens is
    'Text among cached_tokens. Null: stored before it was counted.';
comment on column usage.cached_audio_tokens is
    'Audio among cached_tokens. Null: stored before it was counted.';
comment on column usage.reasoning_tokens is
    'Output that was never spoken. Null: stored before it was counted.';
comment on column usage.model is
    'The model that answered. Null: stored before it was told.';
comment on column usage.cost_usd is
    'What the response cost, in USD. Null: the model has no price.';
comment on column usage.price_date is
    'Date of the price list by which cost_usd was reckoned.';

create table transcription_usage (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    item_id text not null,
    model text,
    seconds double precision,
    input_tokens integer,
    output_tokens integer,
    cost_usd numeric,
    price_date date,
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table transcription_usage is
    'What writing down each turn of the caller took: billed apart from the responses.';
comment on column transcription_usage.call_started_at is
    'When the call reached us.';
comment on column transcription_usage.call_id is
    'Twilio''s CallSid.';
comment on column transcription_usage.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column transcription_usage.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column transcription_usage.n is
    'Number of the event that this row comes from, under its attach and assign.';
comment on column transcription_usage.at is
    'When the text came, by the clock of the worker.';
comment on column transcription_usage.item_id is
    'The caller''s turn that was written down, as in turns.';
comment on column transcription_usage.model is
    'The model that wrote it down.';
comment on column transcription_usage.seconds is
    'How much speech was billed. Null: this model is billed by tokens.';
comment on column transcription_usage.input_tokens is
    'Tokens that went in. Null: this model is billed by time.';
comment on column transcription_usage.output_tokens is
    'Tokens that came out. Null: this model is billed by time.';
comment on column transcription_usage.cost_usd is
    'What it cost, in USD. Null: the model has no price.';
comment on column transcription_usage.price_date is
    'Date of the price list by which cost_usd was reckoned.';

create table tool_calls (
    call_started_at timestamptz not null,
    call_id text not null,
    tool_call_id text not null,
    called_at timestamptz,
    item_id text,
    name text,
    arguments jsonb,
    at_ms integer,
    called_from integer[],
    returned_at timestamptz,
    outcome text,
    output text,
    duration_ms double precision,
    http_status integer,
    returned_from integer[],
    primary key (call_started_at, call_id, tool_call_id)
) partition by range (call_started_at);

comment on table tool_calls is
    'Every call of a tool by the model, with its answer.';
comment on column tool_calls.call_started_at is
    'When the call reached us.';
comment on column tool_calls.call_id is
    'Twilio''s CallSid.';
comment on column tool_calls.tool_call_id is
    'The model''s name of this call of a tool.';
comment on column tool_calls.called_at is
    'When the model called the tool, by the clock of the worker.';
comment on column tool_calls.item_id is
    'The model''s name of this piece of the conversation.';
comment on column tool_calls.name is
    'The tool''s name.';
comment on column tool_calls.arguments is
    'What the model gave the tool. A JSON string: what it wrote was no JSON, and this is its text.';
comment on column tool_calls.at_ms is
    'When it was called, in ms since the call''s first audio.';
comment on column tool_calls.called_from is
    'The event that the columns above come from: attach, assign, n.';
comment on column tool_calls.returned_at is
    'When the model was given the answer. Null: not (yet).';
comment on column tool_calls.outcome is
    'How it went: ok, failed, timeout, refused (never called) or cancelled. Null: not over (yet).';
comment on column tool_calls.output is
    'The answer as the model was given it.';
comment on column tool_calls.duration_ms is
    'How long the tool took.';
comment on column tool_calls.http_status is
    'The HTTP status of its answer. Null: none came, or it is no HTTP tool.';
comment on column tool_calls.returned_from is
    'The event that the columns about the answer come from: attach, assign, n.';

create table model_sessions (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    session integer not null,
    connected_at timestamptz,
    model text,
    session_id text,
    connect_ms double precision,
    media_start_ms integer,
    cause text,
    items integer,
    connected_n integer,
    lost_at timestamptz,
    lost_reason text,
    lost_fatal boolean,
    lost_n integer,
    primary key (call_started_at, call_id, attach, assign, session)
) partition by range (call_started_at);

comment on table model_sessions is
    'Every session with the model: opened, restored or rotated, and how it was lost.';
comment on column model_sessions.call_started_at is
    'When the call reached us.';
comment on column model_sessions.call_id is
    'Twilio''s CallSid.';
comment on column model_sessions.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column model_sessions.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column model_sessions.session is
    'Number of the model''s session under its attach and assign: 1, 2, …';
comment on column model_sessions.connected_at is
    'When the model had accepted its configuration. Null: it never did.';
comment on column model_sessions.model is
    'The model.';
comment on column model_sessions.session_id is
    'The model vendor''s name of the session, for its support.';
comment on column model_sessions.connect_ms is
    'From the first attempt to connect this session until the model accepted its configuration.';
comment on column model_sessions.media_start_ms is
    'The first of the caller''s speech that it was sent, in ms since the call''s first audio.';
comment on column model_sessions.cause is
    'Why it was opened: start, restored (the one before was lost) or rotated (it was about to expire).';
comment on column model_sessions.items is
    'Items of the conversation so far that it was given.';
comment on column model_sessions.connected_n is
    'Number of the event that the columns above come from.';
comment on column model_sessions.lost_at is
    'When it was refused or lost. Null: it was not, or not yet.';
comment on column model_sessions.lost_reason is
    'Why: an error code of the model, close-<code> or connect-<what>.';
comment on column model_sessions.lost_fatal is
    'Whether trying again could not help.';
comment on column model_sessions.lost_n is
    'Number of the event that the columns about the loss come from.';

create table transfers (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    target text not null,
    status text not null,
    at_ms integer not null,
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table transfers is
    'Each step of putting a caller through to somebody.';
comment on column transfers.call_started_at is
    'When the call reached us.';
comment on column transfers.call_id is
    'Twilio''s CallSid.';
comment on column transfers.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column transfers.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column transfers.n is
    'Number of the event that this row comes from, under its attach and assign.';
comment on column transfers.at is
    'When this became known, by the clock of the worker.';
comment on column transfers.target is
    'Name of the target in the agent profile, not its number.';
comment on column transfers.status is
    'dialing, answered, no-answer, busy, failed or canceled.';
comment on column transfers.at_ms is
    'The same moment in ms since the call''s first audio.';

create table limits_reached (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    limit_name text not null,
    at_ms integer not null,
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table limits_reached is
    'Each limit of the agent profile that a call reached.';
comment on column limits_reached.call_started_at is
    'When the call reached us.';
comment on column limits_reached.call_id is
    'Twilio''s CallSid.';
comment on column limits_reached.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column limits_reached.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column limits_reached.n is
    'Number of the event that this row comes from, under its attach and assign.';
comment on column limits_reached.at is
    'When it was reached, by the clock of the worker.';
comment on column limits_reached.limit_name is
    'minutes, silence, cost or tools.';
comment on column limits_reached.at_ms is
    'The same moment in ms since the call''s first audio.';
"""


def upgrade() -> None:
    """Add the tables and the columns; nothing that is there changes its meaning."""
    for statement in TABLES.strip().rstrip(";").split(";\n"):
        op.execute(statement)
    for table in NEW_TABLES:
        op.execute(f"create table {table}_default partition of {table} default")
