"""Views of costs, tools, transfers and model sessions; call_summary and daily_usage get more columns.

None of them shows who called.
"""

from typing import Final

from alembic import op

revision = "0004"
down_revision = "0003"

CALL_SUMMARY: Final = """
create or replace view call_summary as
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
    ) as events_missing,
    spent.response_usd,
    written.transcription_usd,
    spent.response_usd + written.transcription_usd as cost_usd,
    spent.unpriced + written.unpriced as unpriced,
    used.tool_calls, used.failed_tool_calls,
    held.model_losses,
    met.limits_reached
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
) as met;

comment on column call_summary.response_usd is
    'What the model''s responses cost, in USD. What has no price is not in it, see unpriced.';
comment on column call_summary.transcription_usd is
    'What writing down the caller cost, in USD. What has no price is not in it, see unpriced.';
comment on column call_summary.cost_usd is
    'Both together.';
comment on column call_summary.unpriced is
    'Responses and transcriptions without a price: when not 0, the call cost more than cost_usd.';
comment on column call_summary.tool_calls is
    'How often the model called a tool.';
comment on column call_summary.failed_tool_calls is
    'How many of them failed, took too long or were refused.';
comment on column call_summary.model_losses is
    'How often the model was refused or lost.';
comment on column call_summary.limits_reached is
    'The limits of the agent profile that the call reached, in order: minutes, silence, cost, tools. Null: none.'
"""

DAILY_USAGE: Final = """
create or replace view daily_usage as
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
    coalesce(sum(spent.output_audio_tokens), 0) as output_audio_tokens,
    coalesce(sum(spent.cached_text_tokens), 0) as cached_text_tokens,
    coalesce(sum(spent.cached_audio_tokens), 0) as cached_audio_tokens,
    coalesce(sum(spent.reasoning_tokens), 0) as reasoning_tokens,
    coalesce(sum(written.seconds), 0) as transcription_seconds,
    coalesce(sum(spent.cost_usd), 0) as response_usd,
    coalesce(sum(written.cost_usd), 0) as transcription_usd,
    coalesce(sum(spent.cost_usd), 0) + coalesce(sum(written.cost_usd), 0) as cost_usd,
    coalesce(sum(spent.unpriced), 0) + coalesce(sum(written.unpriced), 0) as unpriced
from calls
left join (
    select
        call_started_at, call_id,
        count(*) as responses,
        sum(input_text_tokens) as input_text_tokens,
        sum(input_audio_tokens) as input_audio_tokens,
        sum(cached_tokens) as cached_tokens,
        sum(output_text_tokens) as output_text_tokens,
        sum(output_audio_tokens) as output_audio_tokens,
        sum(cached_text_tokens) as cached_text_tokens,
        sum(cached_audio_tokens) as cached_audio_tokens,
        sum(reasoning_tokens) as reasoning_tokens,
        sum(cost_usd) as cost_usd,
        count(*) filter (where cost_usd is null) as unpriced
    from usage
    group by call_started_at, call_id
) as spent using (call_started_at, call_id)
left join (
    select
        call_started_at, call_id,
        sum(seconds) as seconds,
        sum(cost_usd) as cost_usd,
        count(*) filter (where cost_usd is null) as unpriced
    from transcription_usage
    group by call_started_at, call_id
) as written using (call_started_at, call_id)
group by day, agent, calls.model;

comment on view daily_usage is
    'Calls, minutes, tokens and costs per day, agent and model.';
comment on column daily_usage.cached_text_tokens is
    'Text among cached_tokens, where it was counted apart.';
comment on column daily_usage.cached_audio_tokens is
    'Audio among cached_tokens, where it was counted apart.';
comment on column daily_usage.reasoning_tokens is
    'Output that was never spoken, in tokens.';
comment on column daily_usage.transcription_seconds is
    'How much of the callers'' speech was billed by time for writing it down.';
comment on column daily_usage.response_usd is
    'What the model''s responses cost, in USD. What has no price is not in it, see unpriced.';
comment on column daily_usage.transcription_usd is
    'What writing down the callers cost, in USD. What has no price is not in it, see unpriced.';
comment on column daily_usage.cost_usd is
    'Both together.';
comment on column daily_usage.unpriced is
    'Responses and transcriptions without a price: when not 0, the day cost more than cost_usd.'
"""

NEW_VIEWS: Final = """
create view tool_usage as
select
    used.call_started_at, used.call_id, calls.agent, used.tool_call_id, used.name, used.at_ms, used.called_at,
    used.arguments, used.outcome, used.output, used.duration_ms, used.http_status
from tool_calls as used
left join calls using (call_started_at, call_id);

comment on view tool_usage is
    'One row per call of a tool: which, with what, how it went and how long it took.';

create view transfer_attempts as
select
    dialed.call_started_at, dialed.call_id, calls.agent, dialed.target, dialed.at_ms,
    ended.status as result,
    extract(epoch from ended.at - dialed.at) * 1000 as ringing_ms
from transfers as dialed
left join calls using (call_started_at, call_id)
left join lateral (
    select status, at
    from transfers as later
    where (later.call_started_at, later.call_id) = (dialed.call_started_at, dialed.call_id)
      and (later.attach, later.assign, later.n) > (dialed.attach, dialed.assign, dialed.n)
    order by later.attach, later.assign, later.n
    limit 1
) as ended on true
where dialed.status = 'dialing';

comment on view transfer_attempts is
    'One row per attempt to put a caller through to somebody, and how it ended.';
comment on column transfer_attempts.target is
    'Name of the target in the agent profile, not its number.';
comment on column transfer_attempts.at_ms is
    'When it was dialed, in ms since the call''s first audio.';
comment on column transfer_attempts.result is
    'answered, no-answer, busy, failed or canceled. Null: not known (yet).';
comment on column transfer_attempts.ringing_ms is
    'How long that took.';

create view model_connections as
select
    held.call_started_at, held.call_id, calls.agent, held.attach, held.assign, held.session, held.model, held.cause,
    held.connected_at, held.connect_ms, held.items, held.lost_at, held.lost_reason, held.lost_fatal,
    extract(epoch from held.lost_at - held.connected_at) * 1000 as lived_ms
from model_sessions as held
left join calls using (call_started_at, call_id);

comment on view model_connections is
    'One row per session with the model: why it was opened, how long that took, and how it was lost.';
comment on column model_connections.lived_ms is
    'From its connection to its loss. Null: it was never lost, or never connected.'
"""

INHERITED_COMMENTS: Final = """
do $$
declare
    col record;
begin
    for col in
        select shown.relname as view, of_view.attname as name, col_description(of_table.attrelid, of_table.attnum) as says
        from (
            values ('tool_usage', 'tool_calls'), ('transfer_attempts', 'transfers'),
                   ('model_connections', 'model_sessions')
        ) as pair (view, source)
        join pg_class as shown on shown.oid = pair.view::regclass
        join pg_attribute as of_view on of_view.attrelid = shown.oid
        join unnest(array[pair.source, 'calls']) with ordinality as source (name, place) on true
        join pg_attribute as of_table
          on of_table.attrelid = source.name::regclass and of_table.attname = of_view.attname and of_table.attnum > 0
        where col_description(shown.oid, of_view.attnum) is null
        order by source.place desc
    loop
        execute format('comment on column %I.%I is %L', col.view, col.name, col.says);
    end loop;
end $$
"""
"""A column that a view shows as it is in its table is explained in the same words."""


def upgrade() -> None:
    """Create the new views, and add columns at the end of the two that are there."""
    for views in (CALL_SUMMARY, DAILY_USAGE, NEW_VIEWS):
        for statement in views.strip().split(";\n"):
            op.execute(statement)
    op.execute(INHERITED_COMMENTS)
