"""The table `dead_letters`: what could not be stored, and what became of it. What it said is in JetStream only."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, func, text

from trunkline_transcripts.columns import MOMENT, metadata

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column(
        "event_sequence",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Its place in the event log of all calls.",
    ),
    Column("subject", Text, nullable=False, comment="Where it was published: ev.v1.<call>.<kind>."),
    Column("reason", Text, nullable=False, comment="unreadable, or refused: by Postgres, for what is in it."),
    Column("why", Text, nullable=False, comment="One line about it; it may quote the event."),
    Column("size_bytes", Integer, nullable=False, comment="How large it is."),
    Column(
        "set_aside_at",
        MOMENT,
        nullable=False,
        server_default=func.now(),
        comment="When it was set aside, by the clock of the database.",
    ),
    Column(
        "settled_at", MOMENT, comment="When somebody replayed or dropped it. Null: it waits for somebody."
    ),
    Column("settled", Text, comment="What became of it: stored or dropped. Null: it waits for somebody."),
    Index("dead_letters_waiting", "set_aside_at", postgresql_where=text("settled_at is null")),
    comment="Events that could not be stored. Look at them, and replay them, with trunkline transcripts dead-letters.",
)

NOTE: Final = text("""
    insert into dead_letters (event_sequence, subject, reason, why, size_bytes)
    values (:event_sequence, :subject, :reason, :why, :size_bytes)
    on conflict (event_sequence) do update
    set subject = excluded.subject, reason = excluded.reason, why = excluded.why, size_bytes = excluded.size_bytes,
        set_aside_at = excluded.set_aside_at, settled_at = null, settled = null
""")
"""The number comes again with the same event, or, once in a while, with another one: the log was made anew."""

SETTLE: Final = text("""
    update dead_letters
    set settled_at = now(), settled = :settled
    where event_sequence = :event_sequence and settled_at is null
""")
