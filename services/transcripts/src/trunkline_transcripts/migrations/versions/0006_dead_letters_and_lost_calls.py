"""Dead letters have rows, and calls whose end nobody wrote down are found by an index.

Only adds: a service of the release before goes on writing.
"""

from typing import Final

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS: Final = """
create table dead_letters (
    event_sequence bigint primary key,
    subject text not null,
    reason text not null,
    why text not null,
    size_bytes integer not null,
    set_aside_at timestamptz not null default now(),
    settled_at timestamptz,
    settled text
);

create index dead_letters_waiting on dead_letters (set_aside_at) where settled_at is null;

comment on table dead_letters is
    'Events that could not be stored. Look at them, and replay them, with trunkline transcripts dead-letters.';
comment on column dead_letters.event_sequence is
    'Its place in the event log of all calls.';
comment on column dead_letters.subject is
    'Where it was published: ev.v1.<call>.<kind>.';
comment on column dead_letters.reason is
    'unreadable, or refused: by Postgres, for what is in it.';
comment on column dead_letters.why is
    'One line about it; it may quote the event.';
comment on column dead_letters.size_bytes is
    'How large it is.';
comment on column dead_letters.set_aside_at is
    'When it was set aside, by the clock of the database.';
comment on column dead_letters.settled_at is
    'When somebody replayed or dropped it. Null: it waits for somebody.';
comment on column dead_letters.settled is
    'What became of it: stored or dropped. Null: it waits for somebody.';

create index calls_open on calls (call_started_at) where ended_at is null or reason = 'end-unknown';

comment on column calls.ended_at is
    'When its last owner ended the call; where reason is end-unknown, when it was last heard of. Null: it is going on.';
comment on column calls.duration_ms is
    'How long caller and agent were connected, in media time. Null: it is going on, or its end is unknown.';
comment on column calls.reason is
    'Why the call ended: a short word from a closed list. end-unknown: its worker was lost, and nobody wrote the end down.';
comment on column call_summary.ended_at is
    'When its last owner ended the call; where reason is end-unknown, when it was last heard of. Null: it is going on.';
comment on column call_summary.duration_ms is
    'How long caller and agent were connected, in media time. Null: it is going on, or its end is unknown.';
comment on column call_summary.reason is
    'Why the call ended: a short word from a closed list. end-unknown: its worker was lost, and nobody wrote the end down.'
"""


def upgrade() -> None:
    """Add the table and the index, and say what the end of a call is now."""
    for statement in STATEMENTS.strip().split(";\n"):
        op.execute(statement)
