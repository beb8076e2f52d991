"""Owners and takeovers: who held a call, who went on with it, and which events are superseded.

Only adds: a service of the release before goes on writing. Every call that is there had one owner.
"""

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"

NEW_TABLES: Final = ("owners", "takeovers")

TABLES: Final = """
create table owners (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    began_at timestamptz,
    first_sequence bigint,
    worker text,
    worker_n integer,
    ended_at timestamptz,
    reason text,
    events_expected integer,
    ended_n integer,
    primary key (call_started_at, call_id, attach, assign)
) partition by range (call_started_at);

comment on table owners is
    'Every owner that a call had: the worker under one attach and assign, lost or not, superseded or not.';
comment on column owners.call_started_at is
    'When the call reached us.';
comment on column owners.call_id is
    'Twilio''s CallSid.';
comment on column owners.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column owners.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column owners.began_at is
    'When its first event happened, by the clock of the worker.';
comment on column owners.first_sequence is
    'Place of its first event in the event log: what owners before it wrote behind that is superseded.';
comment on column owners.worker is
    'The worker. Null: it is not known (yet).';
comment on column owners.worker_n is
    'Number of the event that worker comes from.';
comment on column owners.ended_at is
    'When it ended the call. Null: it did not, or not yet, or it was lost.';
comment on column owners.reason is
    'Why it ended the call; what counts for the call is in calls.';
comment on column owners.events_expected is
    'How many rows of events it wrote, by its own count. Null: it never ended the call.';
comment on column owners.ended_n is
    'Number of the event that the columns about the end come from.';

create table takeovers (
    call_started_at timestamptz not null,
    call_id text not null,
    attach integer not null,
    assign integer not null,
    n integer not null,
    at timestamptz not null,
    worker text not null,
    cause text not null,
    previous_fence text,
    items integer not null,
    lost_ms double precision,
    primary key (call_started_at, call_id, attach, assign, n)
) partition by range (call_started_at);

comment on table takeovers is
    'Each time that another worker went on with a call.';
comment on column takeovers.call_started_at is
    'When the call reached us.';
comment on column takeovers.call_id is
    'Twilio''s CallSid.';
comment on column takeovers.attach is
    'How often Twilio had attached the call to us: 1, 2, …';
comment on column takeovers.assign is
    'How often a worker had been assigned within this attach: 1, 2, …';
comment on column takeovers.n is
    'Number of the event that this row comes from, under its attach and assign.';
comment on column takeovers.at is
    'When the new owner went on with the call, by its clock.';
comment on column takeovers.worker is
    'The new owner.';
comment on column takeovers.cause is
    'worker-lost, handover (the old owner was about to stop) or resumed (Twilio attached the call again).';
comment on column takeovers.previous_fence is
    'attach.assign of the owner before. Null: nobody knew it.';
comment on column takeovers.items is
    'Items of the conversation so far that the new owner knew.';
comment on column takeovers.lost_ms is
    'From the loss of the owner before until this. Null: nothing was lost, or it is not known.';

alter table events
    add column sequence bigint,
    add column superseded boolean not null default false;

create index events_superseded on events (call_started_at, call_id) where superseded;

comment on column events.sequence is
    'Its place in the event log of all calls. Null: stored before it was kept.';
comment on column events.superseded is
    'Whether it was written after another owner had begun. It tells nothing of the call any more.';

alter table calls
    add column worker_from integer[];

comment on column calls.started_from is
    'The event that caller, called and agent come from: attach, assign, n.';
comment on column calls.worker_from is
    'The event that worker comes from: attach, assign, n.';
comment on column calls.ended_at is
    'When its last owner ended the call. Null: it is going on, or its end is not stored yet.';
comment on column calls.events_expected is
    'How many rows of events the last owner wrote; see owners for those before it.';
comment on column calls.ended_from is
    'The event that the columns about the end come from, or a later owner''s first: attach, assign, n.';
comment on column turns.position is
    'Place in the conversation, counted on from owner to owner: read a call in this order.'
"""

OWNERS_SO_FAR: Final = """
insert into owners (call_started_at, call_id, attach, assign, worker, worker_n, ended_at, reason, events_expected, ended_n)
select
    call_started_at, call_id, (coalesce(ended_from, started_from))[1], (coalesce(ended_from, started_from))[2],
    worker, started_from[3], ended_at, reason, events_expected, ended_from[3]
from calls
where coalesce(ended_from, started_from) is not null
"""

VIEWS: Final = """
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
    ) as events_superseded
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

comment on column call_summary.ended_at is
    'When its last owner ended the call. Null: it is going on, or its end is not stored yet.';
comment on column call_summary.events_missing is
    'How many events of all its owners are not stored: 0 when the call is complete. Null: not over yet.';
comment on column call_summary.takeovers is
    'How often another worker went on with the call because its owner was lost.';
comment on column call_summary.handovers is
    'How often its owner handed it to another worker because it was about to stop.';
comment on column call_summary.longest_lost_ms is
    'How long the call was without an owner, at the worst. Null: it never was.';
comment on column call_summary.events_superseded is
    'How many events an owner wrote after another one had gone on: what they tell is in no view.';

create view call_owners as
select
    owners.call_started_at, owners.call_id, calls.agent, owners.attach, owners.assign, owners.worker, owners.began_at,
    changed.cause, changed.previous_fence, changed.items, changed.lost_ms, owners.ended_at, owners.reason,
    written.events, coalesce(owners.events_expected, written.numbered) - written.events as events_missing,
    written.superseded as events_superseded
from owners
left join calls using (call_started_at, call_id)
left join lateral (
    select cause, previous_fence, items, lost_ms
    from takeovers
    where (takeovers.call_started_at, takeovers.call_id) = (owners.call_started_at, owners.call_id)
      and (takeovers.attach, takeovers.assign) = (owners.attach, owners.assign)
    order by n
    limit 1
) as changed on true
cross join lateral (
    select count(*) as events, max(n) + 1 as numbered, count(*) filter (where superseded) as superseded
    from events
    where (events.call_started_at, events.call_id) = (owners.call_started_at, owners.call_id)
      and (events.attach, events.assign) = (owners.attach, owners.assign)
) as written;

comment on view call_owners is
    'One row per worker that held a call: why it went on with it, and whether its events are all there.';
comment on column call_owners.cause is
    'worker-lost, handover (the old owner was about to stop) or resumed (attached again). Null: it took the call first.';
comment on column call_owners.events is
    'How many of its events are stored.';
comment on column call_owners.events_missing is
    'How many of its events are not stored. A lost owner never said how many there are; its last counts as the end.';
comment on column call_owners.events_superseded is
    'How many it wrote after another owner had gone on: what they tell is in no view.';

create or replace view interruptions as
select
    turns.call_started_at, turns.call_id, calls.agent, turns.attach, turns.assign, turns.position, turns.item_id,
    turns.end_ms, turns.text, turns.heard_text, turns.generated_ms, turns.heard_ms,
    turns.generated_ms - turns.heard_ms as unheard_ms,
    (
        select caller.text
        from turns as caller
        where (caller.call_started_at, caller.call_id) = (turns.call_started_at, turns.call_id)
          and caller.speaker = 'caller'
          and caller.position > turns.position
        order by caller.position
        limit 1
    ) as caller_text
from turns
left join calls using (call_started_at, call_id)
where turns.interrupted;

comment on view conversation is
    'One row per turn: who said what, and what of it was heard. Read a call in the order of position.'
"""

INHERITED_COMMENTS: Final = """
do $$
declare
    col record;
begin
    for col in
        select shown.relname as view, of_view.attname as name, col_description(of_table.attrelid, of_table.attnum) as says
        from pg_class as shown
        join pg_attribute as of_view on of_view.attrelid = shown.oid
        join unnest(array['owners', 'takeovers', 'calls']) with ordinality as source (name, place) on true
        join pg_attribute as of_table
          on of_table.attrelid = source.name::regclass and of_table.attname = of_view.attname and of_table.attnum > 0
        where shown.oid = 'call_owners'::regclass and col_description(shown.oid, of_view.attnum) is null
        order by source.place desc
    loop
        execute format('comment on column %I.%I is %L', col.view, col.name, col.says);
    end loop;
    for col in
        select shown.relname as view, col_description('turns'::regclass, of_table.attnum) as says
        from pg_class as shown
        join pg_attribute as of_view on of_view.attrelid = shown.oid and of_view.attname = 'position'
        join pg_attribute as of_table on of_table.attrelid = 'turns'::regclass and of_table.attname = 'position'
        where shown.oid in ('conversation'::regclass, 'turn_latency'::regclass, 'interruptions'::regclass)
    loop
        execute format('comment on column %I.position is %L', col.view, col.says);
    end loop;
end $$
"""
"""A column that a view shows as it is in its table is explained in the same words."""


def upgrade() -> None:
    """Add the tables, the columns and the view; `events_missing` now looks at every owner."""
    for statement in TABLES.strip().split(";\n"):
        op.execute(statement)
    for table in NEW_TABLES:
        op.execute(f"create table {table}_default partition of {table} default")
    op.execute(OWNERS_SO_FAR)
    for statement in VIEWS.strip().split(";\n"):
        op.execute(statement)
    op.execute(INHERITED_COMMENTS)
