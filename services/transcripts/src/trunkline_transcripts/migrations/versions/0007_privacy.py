"""Callers' numbers have a table of their own, calls an end of their keeping, and the writer rights of its own.

Only adds. A service of the release before goes on writing, the caller's number in `calls.caller` and in `call_started`
events as it did. Numbers that are there, and those that it writes meanwhile, are moved in small transactions: by `trunkline
migrate` right after this, and by every service of this release when it starts and every ten minutes. `calls.caller` is
empty from then on; a later migration drops it, once no service of the release before can run any more.

`make_month` and `detach_month` act for the tables' owner, so that the writer needs to own nothing; who may call them is
granted by `trunkline migrate`.
"""

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES: Final = """
create table callers (
    call_started_at timestamptz not null,
    call_id text not null,
    number text not null,
    primary key (call_started_at, call_id)
) partition by range (call_started_at);

create table callers_default partition of callers default;

create index callers_number on callers (number);

comment on table callers is
    'The callers'' numbers, and their only place. Calls whose caller withheld the number have no row.';
comment on column callers.call_started_at is
    'When the call reached us.';
comment on column callers.call_id is
    'Twilio''s CallSid.';
comment on column callers.number is
    'Who called: a phone number as Twilio gave it (E.164). Personal data.';

create table caller_hash_key (
    only_row boolean primary key default true check (only_row),
    key bytea,
    check_value text not null,
    made_at timestamptz not null default now()
);

comment on table caller_hash_key is
    'The key that turns callers'' numbers into hashes. Who reads it can find out who called.';
comment on column caller_hash_key.only_row is
    'There is one key: two would make two callers of one.';
comment on column caller_hash_key.key is
    'The key, where the setting CALLER_HASH_KEY does not give it. Null: it does.';
comment on column caller_hash_key.check_value is
    'What the key makes of a certain text: tells another key from it.';
comment on column caller_hash_key.made_at is
    'When it was first used, by the clock of the database.';

alter table calls
    add column caller_hash text,
    add column keep_until timestamptz;

create index calls_caller_hash on calls (caller_hash, call_started_at);
create index calls_caller_left on calls (call_started_at) where caller is not null;
create index calls_keep_until on calls (keep_until) where keep_until is not null;

comment on column calls.caller is
    'Not used any more: the number is in callers. Always null.';
comment on column calls.caller_hash is
    'Stands for the caller''s number: the same number, the same 32 characters. Null: it was withheld.';
comment on column calls.keep_until is
    'When the call is deleted, by its agent profile. Null: it is kept until somebody deletes it.';
comment on column calls.started_from is
    'The event that caller_hash, called, agent and keep_until come from: attach, assign, n.'
"""

MONTHS_OF_CALLERS: Final = """
do $$
declare
    partition text;
begin
    for partition in
        select relname from pg_inherits join pg_class on pg_class.oid = inhrelid
        where inhparent = 'calls'::regclass and relname ~ '^calls_[0-9]{4}_[0-9]{2}$'
    loop
        perform make_month('callers', to_date(right(partition, 7), 'YYYY_MM'));
    end loop;
end $$
"""
"""The numbers of old calls find their month."""

FUNCTIONS: Final = """
do $$
begin
    execute format(
        'alter function make_month(text, date) security definer set search_path = %I, pg_temp', current_schema()
    );
    execute format(
        'alter function detach_month(text, date) security definer set search_path = %I, pg_temp', current_schema()
    );
    revoke execute on function make_month(text, date), detach_month(text, date) from public;
end $$
"""

VIEW: Final = """
create or replace view call_summary as
select
    call_started_at, call_id, called, agent, model, answered_at, ended_at,
    extract(epoch from answered_at - call_started_at) * 1000 as answer_ms,
    duration_ms, outcome, reason, interruptions,
    said.caller_turns, said.agent_turns, said.untranscribed_turns, said.median_response_ms, said.slowest_response_ms,
    spent.responses, spent.input_tokens, spent.cached_tokens, spent.output_tokens,
    case when ended_at is not null then counted.missing end as events_missing,
    spent.response_usd,
    written.transcription_usd,
    spent.response_usd + written.transcription_usd as cost_usd,
    spent.unpriced + written.unpriced as unpriced,
    used.tool_calls, used.failed_tool_calls,
    held.model_losses,
    met.limits_reached,
    changed.takeovers, changed.handovers, changed.longest_lost_ms,
    (
        select count(*)
        from events
        where (events.call_started_at, events.call_id) = (calls.call_started_at, calls.call_id) and superseded
    ) as events_superseded,
    calls.caller_hash, calls.keep_until
from calls
cross join lateral (
    select
        count(*) filter (where speaker = 'caller') as caller_turns,
        count(*) filter (where speaker = 'agent') as agent_turns,
        count(*) filter (where transcription <> 'completed') as untranscribed_turns,
        percentile_cont(0.5) within group (order by response_ms) as median_response_ms,
        max(response_ms) as slowest_response_ms
    from turns
    where (turns.call_started_at, turns.call_id) = (calls.call_started_at, calls.call_id)
) as said
cross join lateral (
    select
        count(*) as responses,
        coalesce(sum(input_tokens), 0) as input_tokens,
        coalesce(sum(cached_tokens), 0) as cached_tokens,
        coalesce(sum(output_tokens), 0) as output_tokens,
        coalesce(sum(cost_usd), 0) as response_usd,
        count(*) filter (where cost_usd is null) as unpriced
    from usage
    where (usage.call_started_at, usage.call_id) = (calls.call_started_at, calls.call_id)
) as spent
cross join lateral (
    select
        coalesce(sum(cost_usd), 0) as transcription_usd,
        count(*) filter (where cost_usd is null) as unpriced
    from transcription_usage as written
    where (written.call_started_at, written.call_id) = (calls.call_started_at, calls.call_id)
) as written
cross join lateral (
    select
        count(*) as tool_calls,
        count(*) filter (where outcome in ('failed', 'timeout', 'refused')) as failed_tool_calls
    from tool_calls
    where (tool_calls.call_started_at, tool_calls.call_id) = (calls.call_started_at, calls.call_id)
) as used
cross join lateral (
    select count(lost_at) as model_losses
    from model_sessions
    where (model_sessions.call_started_at, model_sessions.call_id) = (calls.call_started_at, calls.call_id)
) as held
cross join lateral (
    select array_agg(limit_name order by attach, assign, n) as limits_reached
    from limits_reached
    where (limits_reached.call_started_at, limits_reached.call_id) = (calls.call_started_at, calls.call_id)
) as met
cross join lateral (
    select
        count(*) filter (where cause <> 'handover') as takeovers,
        count(*) filter (where cause = 'handover') as handovers,
        max(lost_ms) as longest_lost_ms
    from takeovers
    where (takeovers.call_started_at, takeovers.call_id) = (calls.call_started_at, calls.call_id)
) as changed
cross join lateral (
    select cast(sum(coalesce(owners.events_expected, written.numbered) - written.events) as bigint) as missing
    from (
        select attach, assign, count(*) as events, max(n) + 1 as numbered
        from events
        where (events.call_started_at, events.call_id) = (calls.call_started_at, calls.call_id)
        group by attach, assign
    ) as written
    left join owners
      on (owners.call_started_at, owners.call_id) = (calls.call_started_at, calls.call_id)
     and (owners.attach, owners.assign) = (written.attach, written.assign)
) as counted;

comment on column call_summary.caller_hash is
    'Stands for the caller''s number: the same number, the same 32 characters. Null: it was withheld.';
comment on column call_summary.keep_until is
    'When the call is deleted, by its agent profile. Null: it is kept until somebody deletes it.'
"""


def upgrade() -> None:
    """Add the tables, columns and rights; `trunkline migrate` moves the numbers."""
    for statement in TABLES.strip().split(";\n"):
        op.execute(statement)
    op.execute(FUNCTIONS)
    op.execute(MONTHS_OF_CALLERS)
    for statement in VIEW.strip().split(";\n"):
        op.execute(statement)
