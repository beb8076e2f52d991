"""Views for analysts: call_summary, conversation, turn_latency, daily_usage, interruptions.

None of them shows who called: the caller's number stays in calls, and in the event that told it.
"""

from typing import Final

from alembic import op

revision = "0002"
down_revision = "0001"

VIEWS: Final = """
create view call_summary as
select
    call_started_at, call_id, called, agent, model, answered_at, ended_at,
    extract(epoch from answered_at - call_started_at) * 1000 as answer_ms,
    duration_ms, outcome, reason, interruptions,
    said.caller_turns, said.agent_turns, said.untranscribed_turns, said.median_response_ms, said.slowest_response_ms,
    spent.responses, spent.input_tokens, spent.cached_tokens, spent.output_tokens,
    events_expected - (
        select count(*)
        from events
        where (events.call_started_at, events.call_id) = (calls.call_started_at, calls.call_id)
          and array[events.attach, events.assign] = calls.ended_from[1:2]
    ) as events_missing
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
        coalesce(sum(output_tokens), 0) as output_tokens
    from usage
    where (usage.call_started_at, usage.call_id) = (calls.call_started_at, calls.call_id)
) as spent;

comment on view call_summary is
    'One row per call: how it went, how fast it was answered, what it used.';
comment on column call_summary.answer_ms is
    'From the moment the call reached us until Twilio''s stream reached a worker.';
comment on column call_summary.caller_turns is
    'How often the caller spoke.';
comment on column call_summary.agent_turns is
    'How often the agent spoke.';
comment on column call_summary.untranscribed_turns is
    'Turns of the caller that have no text: the transcript failed or has not come.';
comment on column call_summary.median_response_ms is
    'The median of the call''s response_ms, see turn_latency. Null: none was measured.';
comment on column call_summary.slowest_response_ms is
    'The longest of the call''s response_ms.';
comment on column call_summary.responses is
    'How many responses of the model were counted in tokens.';
comment on column call_summary.input_tokens is
    'All tokens that went into the model, cached ones included.';
comment on column call_summary.cached_tokens is
    'How many of input_tokens the model had in its cache; they cost less.';
comment on column call_summary.output_tokens is
    'All tokens that came out of the model.';
comment on column call_summary.events_missing is
    'How many events of the last attach and assign are not stored: 0 when the call is complete. Null: not over yet.';

create view conversation as
select
    turns.call_started_at, turns.call_id, calls.agent, turns.attach, turns.assign, turns.position, turns.item_id,
    turns.speaker, turns.start_ms, turns.end_ms, turns.text, turns.heard_text, turns.interrupted,
    turns.transcription, turns.response_ms, turns.words
from turns
left join calls using (call_started_at, call_id);

comment on view conversation is
    'One row per turn: who said what, and what of it was heard. Read a call in the order of attach, assign, position.';

create view turn_latency as
select
    turns.call_started_at, turns.call_id, calls.agent, calls.model,
    turns.attach, turns.assign, turns.position, turns.item_id, turns.response_ms,
    turns.twilio_to_gateway_ms, turns.gateway_to_worker_ms, turns.worker_to_model_ms, turns.model_ms,
    turns.model_to_worker_ms, turns.worker_ms, turns.worker_to_gateway_ms, turns.gateway_to_twilio_ms,
    coalesce(turns.gateway_to_worker_ms, 0) + turns.worker_ms + coalesce(turns.worker_to_gateway_ms, 0) as own_ms
from turns
left join calls using (call_started_at, call_id)
where turns.response_ms is not null;

comment on view turn_latency is
    'One row per answer of the agent whose time was measured: how long the caller waited, and for what.';
comment on column turn_latency.own_ms is
    'Our own part: gateway_to_worker_ms, worker_ms and worker_to_gateway_ms. What was not measured counts as 0.';

create view daily_usage as
select
    cast(call_started_at at time zone 'UTC' as date) as day,
    agent,
    model,
    count(*) as calls,
    sum(duration_ms) / 60000.0 as minutes,
    coalesce(sum(spent.responses), 0) as responses,
    coalesce(sum(spent.input_text_tokens), 0) as input_text_tokens,
    coalesce(sum(spent.input_audio_tokens), 0) as input_audio_tokens,
    coalesce(sum(spent.cached_tokens), 0) as cached_tokens,
    coalesce(sum(spent.output_text_tokens), 0) as output_text_tokens,
    coalesce(sum(spent.output_audio_tokens), 0) as output_audio_tokens
from calls
left join (
    select
        call_started_at, call_id,
        count(*) as responses,
        sum(input_text_tokens) as input_text_tokens,
        sum(input_audio_tokens) as input_audio_tokens,
        sum(cached_tokens) as cached_tokens,
        sum(output_text_tokens) as output_text_tokens,
        sum(output_audio_tokens) as output_audio_tokens
    from usage
    group by call_started_at, call_id
) as spent using (call_started_at, call_id)
group by day, agent, model;

comment on view daily_usage is
    'Calls, minutes and tokens per day, agent and model.';
comment on column daily_usage.day is
    'The day in UTC on which the calls began.';
comment on column daily_usage.calls is
    'How many calls began.';
comment on column daily_usage.minutes is
    'How long callers and agent were connected, in minutes. Null: no call of them is over.';
comment on column daily_usage.responses is
    'How many responses of the model were counted in tokens.';
comment on column daily_usage.input_text_tokens is
    'Text that went into the model, in tokens, cached ones included.';
comment on column daily_usage.input_audio_tokens is
    'Audio that went into the model, in tokens, cached ones included.';
comment on column daily_usage.cached_tokens is
    'How many of all input tokens the model had in its cache; they cost less.';
comment on column daily_usage.output_text_tokens is
    'Text that came out of the model, in tokens.';
comment on column daily_usage.output_audio_tokens is
    'Audio that came out of the model, in tokens.';

create view interruptions as
select
    turns.call_started_at, turns.call_id, calls.agent, turns.attach, turns.assign, turns.position, turns.item_id,
    turns.end_ms, turns.text, turns.heard_text, turns.generated_ms, turns.heard_ms,
    turns.generated_ms - turns.heard_ms as unheard_ms,
    (
        select caller.text
        from turns as caller
        where (caller.call_started_at, caller.call_id) = (turns.call_started_at, turns.call_id)
          and (caller.attach, caller.assign) = (turns.attach, turns.assign)
          and caller.speaker = 'caller'
          and caller.position > turns.position
        order by caller.position
        limit 1
    ) as caller_text
from turns
left join calls using (call_started_at, call_id)
where turns.interrupted;

comment on view interruptions is
    'One row per turn of the agent that the caller interrupted: what was said, and what of it was heard.';
comment on column interruptions.unheard_ms is
    'How much of the generated speech was never played to the caller.';
comment on column interruptions.caller_text is
    'What the caller said next. Null: no transcript (yet).';
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
        join unnest(array['turns', 'calls']) with ordinality as source (name, place) on true
        join pg_attribute as of_table
          on of_table.attrelid = source.name::regclass and of_table.attname = of_view.attname
        where shown.oid in (
                  'call_summary'::regclass, 'conversation'::regclass, 'turn_latency'::regclass,
                  'daily_usage'::regclass, 'interruptions'::regclass
              )
          and col_description(shown.oid, of_view.attnum) is null
        order by source.place desc
    loop
        execute format('comment on column %I.%I is %L', col.view, col.name, col.says);
    end loop;
end $$
"""
"""A column that a view shows as it is in calls or turns is explained in the same words."""


def upgrade() -> None:
    """Create the views; their columns may later be added to at the end, and nothing else."""
    for statement in VIEWS.strip().split(";\n"):
        op.execute(statement)
    op.execute(INHERITED_COMMENTS)
