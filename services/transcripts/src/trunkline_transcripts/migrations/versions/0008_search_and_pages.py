"""What the read API needs: indexes for its filters, and the words that are said, to correct misspelt ones.

Only adds: a service of the release before goes on writing. `create index` on a table that is split locks it against
writers until it is there; the store waits for it and loses nothing.

pg_trgm would need rights that managed databases give to few, and is not in every build of Postgres. Its way of finding
similar words takes one plain table: some ten thousand words by their trigrams, looked up in a few ms.
"""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"

# Measured with bench/console_api.py; see the comment of each.
INDEXES: Final = """
create index calls_agent on calls (agent, call_started_at desc, call_id desc);
create index calls_outcome on calls (outcome, call_started_at desc, call_id desc);
create index calls_reason on calls (reason, call_started_at desc, call_id desc)
"""

WORDS: Final = (
    """
    create table turn_words (
        trigram text not null,
        word text not null,
        primary key (trigram, word)
    )
    """,
    """
    comment on table turn_words is
        'Words that were said in several calls, by their trigrams, to correct misspelt ones. Nothing tells who said them.'
    """,
    """
    comment on column turn_words.trigram is
        'Three letters in a row of the word; two blanks stand before it, and one behind it.'
    """,
    """
    comment on column turn_words.word is
        'The word in lower case; 4 to 40 letters.'
    """,
    """
    create function word_trigrams(word text) returns setof text language sql immutable strict parallel safe
    begin atomic
        select distinct substr('  ' || lower(word) || ' ', place, 3) from generate_series(1, length(word) + 1) as place;
    end
    """,
    """
    comment on function word_trigrams is
        'Every three letters in a row of a word, two blanks before it and one behind it included.'
    """,
    """
    create function learn_turn_words(since timestamptz, calls_min integer) returns bigint language sql
    begin atomic
        with learned as (
            insert into turn_words (trigram, word)
            select trigram, said.word
            from (
                select spoken.word
                from (
                    select distinct call_id, word
                    from turns
                    cross join lateral unnest(tsvector_to_array(words)) as word
                    where call_started_at >= since and word ~ '^[[:alpha:]]{4,40}$'
                ) as spoken
                group by spoken.word
                having count(*) >= calls_min
            ) as said
            cross join lateral word_trigrams(said.word) as trigram
            on conflict do nothing
            returning turn_words.word
        )
        select count(distinct word) from learned;
    end
    """,
    """
    comment on function learn_turn_words is
        'Adds words that were said in at least so many calls since a moment to turn_words; tells how many were new. What few said, such as a name, stays out.'
    """,
)


def upgrade() -> None:
    """Add the indexes, the table and its functions."""
    for statement in (*INDEXES.strip().split(";\n"), *WORDS):
        op.execute(statement)
