"""First tables: events, calls, turns, usage, each split by the month in which a call began.

A month's partition is filled before it is attached: that locks the default partition for a moment, where
`create table … partition of` would lock the whole table.
"""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None

TABLES: Final = """
create table events (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    kind text not null,
    data jsonb not null,
    stored_at timestamptz not null default now(),
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table events is
    'Every call''s event log as the workers wrote it. calls, turns and usage are made from it.';
comment on column events.call_started_at is
    'When the call reached us.';
comment on column events.call_id is
    'Twilio''s CallSid.';
comment on column events.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column events.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column events.n is
    'Number of the event under its attach and assign: 0, 1, 2, … without holes.';
comment on column events.at is
    'When it happened, by the clock of the worker that wrote it.';
comment on column events.kind is
    'What happened: call_started, turn_caller, turn_agent, …';
comment on column events.data is
    'The event itself; its fields depend on the kind.';
comment on column events.stored_at is
    'When this row was written, by the clock of the database.';

create table calls (
    call_started_at timestamptz not null,
    call_id text not null,
    caller text,
    called text,
    agent text,
    worker text,
    started_from integer[],
    gateway text,
    stream_sid text,
    answered_at timestamptz,
    attached_from integer[],
    model text,
    model_session_id text,
    model_connect_ms double precision,
    model_from integer[],
    ended_at timestamptz,
    duration_ms integer,
    outcome text,
    reason text,
    interruptions integer,
    events_expected integer,
    ended_from integer[],
    primary key (call_started_at, call_id)
) partition by range (call_started_at);

create index calls_call_id on calls (call_id);

comment on table calls is
    'One row per call. Where several events tell the same, the one with the highest attach and assign counts.';
comment on column calls.call_started_at is
    'When the call reached us.';
comment on column calls.call_id is
    'Twilio''s CallSid.';
comment on column calls.caller is
    'Who called: a phone number as Twilio gave it. Personal data.';
comment on column calls.called is
    'The number that was called.';
comment on column calls.agent is
    'Name of the agent profile that answered.';
comment on column calls.worker is
    'The worker that took the call; the last one, if it was taken over.';
comment on column calls.started_from is
    'The event that caller, called, agent and worker come from: attach, assign, n.';
comment on column calls.gateway is
    'The gateway that held Twilio''s stream; the last one, if it was attached again.';
comment on column calls.stream_sid is
    'Twilio''s name of that stream.';
comment on column calls.answered_at is
    'When Twilio''s stream first reached a worker. Null: the caller was never connected.';
comment on column calls.attached_from is
    'The event that gateway and stream_sid come from: attach, assign, n.';
comment on column calls.model is
    'The model that spoke; the last one, if the session was replaced.';
comment on column calls.model_session_id is
    'The model vendor''s name of the session, for its support.';
comment on column calls.model_connect_ms is
    'From the first attempt to connect this session until the model accepted its configuration.';
comment on column calls.model_from is
    'The event that the model columns come from: attach, assign, n.';
comment on column calls.ended_at is
    'When the call ended. Null: it is going on, or its end is not stored yet.';
comment on column calls.duration_ms is
    'How long caller and agent were connected, in media time.';
comment on column calls.outcome is
    'Whose doing the end was: success, caller, server, upstream or indeterminate.';
comment on column calls.reason is
    'Why the call ended: a short word from a closed list.';
comment on column calls.interruptions is
    'How often the caller interrupted the agent.';
comment on column calls.events_expected is
    'How many rows of events the last attach and assign wrote. Fewer rows there: some are missing.';
comment on column calls.ended_from is
    'The event that the columns about the end come from: attach, assign, n.';

create table turns (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    item_id text not null,
    speaker text not null,
    position integer not null,
    start_ms integer,
    end_ms integer,
    text text,
    heard_text text,
    generated_ms integer,
    heard_ms integer,
    interrupted boolean,
    transcription text,
    revision integer not null,
    response_ms double precision,
    twilio_to_gateway_ms double precision,
    gateway_to_worker_ms double precision,
    worker_to_model_ms double precision,
    model_ms double precision,
    model_to_worker_ms double precision,
    worker_to_gateway_ms double precision,
    gateway_to_twilio_ms double precision,
    worker_ms double precision,
    words tsvector generated always as (
        to_tsvector('simple'::regconfig, "left"(text, 50000))
    ) stored,
    primary key (call_started_at, call_id, attach, assign, item_id)
) partition by range (call_started_at);

create index turns_words on turns using gin (words);

comment on table turns is
    'What was said, turn by turn, what of it was heard, and how fast the agent answered.';
comment on column turns.call_started_at is
    'When the call reached us.';
comment on column turns.call_id is
    'Twilio''s CallSid.';
comment on column turns.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column turns.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column turns.item_id is
    'The model''s name of this piece of the conversation.';
comment on column turns.speaker is
    'caller or agent.';
comment on column turns.position is
    'Place in the conversation. Read a call in the order of attach, assign, position.';
comment on column turns.start_ms is
    'When the turn began, in ms since the call''s first audio.';
comment on column turns.end_ms is
    'When it ended; for the agent: when its last heard audio was played.';
comment on column turns.text is
    'What was said. For the agent: what it generated, heard or not. Null: no transcript (yet).';
comment on column turns.heard_text is
    'What the caller heard of it, as far as one can tell. Null for the caller''s turns.';
comment on column turns.generated_ms is
    'How much speech the agent generated. Null for the caller''s turns.';
comment on column turns.heard_ms is
    'How much of it was played to the caller. Null for the caller''s turns.';
comment on column turns.interrupted is
    'Whether the caller interrupted it. Null for the caller''s turns.';
comment on column turns.transcription is
    'How the caller''s words became text: completed, failed or missing. Null for the agent''s turns.';
comment on column turns.revision is
    'Which version of the turn this is; a higher one replaces a lower one. 0: only its latency is known.';
comment on column turns.response_ms is
    'From the end of the caller''s speech, as the model heard it, to the first audio sent to Twilio.';
comment on column turns.twilio_to_gateway_ms is
    'Part of the way: Twilio to gateway. Null: not measured.';
comment on column turns.gateway_to_worker_ms is
    'Part of the way: gateway to worker. Null: not measured.';
comment on column turns.worker_to_model_ms is
    'Part of the way: worker to model. Null: not measured.';
comment on column turns.model_ms is
    'What the model itself took, less the way to it and back.';
comment on column turns.model_to_worker_ms is
    'Part of the way: model to worker. Null: not measured.';
comment on column turns.worker_to_gateway_ms is
    'Part of the way: worker to gateway. Null: not measured.';
comment on column turns.gateway_to_twilio_ms is
    'Part of the way: gateway to Twilio. Null: not measured.';
comment on column turns.worker_ms is
    'Our own work in the worker on the way back.';
comment on column turns.words is
    'The words of text for full-text search: words @@ websearch_to_tsquery(''simple'', ''…'').';

create table usage (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    response_id text not null,
    input_tokens integer not null,
    input_text_tokens integer not null,
    input_audio_tokens integer not null,
    cached_tokens integer not null,
    output_tokens integer not null,
    output_text_tokens integer not null,
    output_audio_tokens integer not null,
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table usage is
    'The tokens of each response, as the model counted them.';
comment on column usage.call_started_at is
    'When the call reached us.';
comment on column usage.call_id is
    'Twilio''s CallSid.';
comment on column usage.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column usage.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column usage.n is
    'Number of the event that this row comes from, under its attach and assign.';
comment on column usage.at is
    'When the response was over, by the clock of the worker.';
comment on column usage.response_id is
    'The model''s name of the response.';
comment on column usage.input_tokens is
    'All tokens that went in: text, audio and what was cached of them.';
comment on column usage.input_text_tokens is
    'Text among input_tokens.';
comment on column usage.input_audio_tokens is
    'Audio among input_tokens.';
comment on column usage.cached_tokens is
    'How many of input_tokens the model had in its cache; they cost less.';
comment on column usage.output_tokens is
    'All tokens that came out.';
comment on column usage.output_text_tokens is
    'Text among output_tokens.';
comment on column usage.output_audio_tokens is
    'Audio among output_tokens.';
"""

MAKE_MONTH: Final = """
create function make_month(parent text, month date) returns boolean language plpgsql as $$
declare
    first_day date := date_trunc('month', month);
    partition text := parent || to_char(first_day, '_YYYY_MM');
    net text := parent || '_default';
    starts timestamptz := first_day::timestamp at time zone 'UTC';
    ends timestamptz := (first_day + interval '1 month') at time zone 'UTC';
    columns text;
begin
    perform pg_advisory_xact_lock(hashtext('make_month'), hashtext(partition));
    if to_regclass(quote_ident(partition)) is not null then
        return false;
    end if;
    execute format('lock table %I in access exclusive mode', net);
    execute format('create table %I (like %I including all)', partition, parent);
    select string_agg(quote_ident(attname), ', ' order by attnum) into columns
    from pg_attribute
    where attrelid = parent::regclass and attnum > 0 and not attisdropped and attgenerated = '';
    execute format(
        'with moved as (
            delete from %1$I where call_started_at >= %2$L and call_started_at < %3$L returning %4$s
        )
        insert into %5$I (%4$s) select * from moved',
        net, starts, ends, columns, partition
    );
    execute format(
        'alter table %I attach partition %I for values from (%L) to (%L)', parent, partition, starts, ends
    );
    return true;
end $$
"""

DETACH_MONTH: Final = """
create function detach_month(parent text, month date) returns boolean language plpgsql as $$
declare
    partition text := parent || to_char(month, '_YYYY_MM');
begin
    if not exists (
        select from pg_inherits
        where inhrelid = to_regclass(quote_ident(partition)) and inhparent = parent::regclass
    ) then
        return false;
    end if;
    execute format('alter table %I detach partition %I', parent, partition);
    return true;
end $$
"""

COMMENTS: Final = """
comment on function make_month is
    'Makes the partition of a table for the month of a date, takes over what the default partition holds of it, and tells whether there was anything to do.';
comment on function detach_month is
    'Takes the month of a date out of a table, to archive it or to drop it, and tells whether it was there. Set lock_timeout: it locks the table for a moment.';
"""


def upgrade() -> None:
    """Create the tables; there is no way back that keeps what is in them."""
    for statement in (*TABLES.strip().split(";\n"), *_default_partitions()):
        op.execute(statement)
    for statement in (MAKE_MONTH, DETACH_MONTH, *COMMENTS.strip().split(";\n")):
        op.execute(statement)


def _default_partitions() -> list[str]:
    """Return the statements that make the nets: a row whose month has no partition lands there."""
    return [
        f"create table {table}_default partition of {table} default"
        for table in ("events", "calls", "turns", "usage")
    ]
