"""What the read API needs: indexes for its filters, and the words that are said, to correct misspelt ones.

Only adds: a service of the release before goes on writing. `create index` on a table that is split locks it against
writers until it is there; the store waits for it and loses nothing.

pg_trgm would need rights that managed databases give to few, and is not in every build of Postgres. On the words
themselves, some ten thousand, arrays of trigrams under a plain GIN index find the most similar one in a few ms.
"""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0006"

# Measured with bench/console_api.py; see the comment of each.
INDEXES: Final = """
create index calls_agent on calls (agent, call_started_at desc, call_id desc);
create index calls_outcome on calls (outcome, call_started_at desc, call_id desc);
create index calls_reason on calls (reason, call_started_at desc, call_id desc)
"""

WORDS: Final = (
    """
create table turn_words (
    word text primary key,
    trigrams text[] not null
)
""",
    """
create index turn_words_trigrams on turn_words using gin (trigrams)
""",
    """
comment on table turn_words is
    'Words that were said in several calls, so that a misspelt one can be looked up. Nothing tells who said them.'
""",
    """
comment on column turn_words.word is
    'The word in lower case; 4 to 40 letters.'
""",
    """
comment on column turn_words.trigrams is
    'Its trigrams, as word_trigrams makes them.'
""",
    """
create function word_trigrams(word text) returns text[] language sql immutable strict parallel safe
return array(
    select distinct substr('  ' || lower(word) || ' ', place, 3) from generate_series(1, length(word) + 1) as place
)
""",
    """
comment on function word_trigrams is
    'Every three letters in a row of a word, two blanks before it and one behind it included.'
""",
    """
create function learn_turn_words(since timestamptz, calls_min integer) returns bigint language sql
begin atomic
    with learned as (
        insert into turn_words (word, trigrams)
        select word, word_trigrams(word)
        from (
            select distinct call_id, word
            from turns
            cross join lateral unnest(tsvector_to_array(words)) as word
            where call_started_at >= since and word ~ '^[[:alpha:]]{4,40}$'
        ) as said
        group by word
        having count(*) >= calls_min
        on conflict do nothing
        returning 1
    )
    select count(*) from learned;
end
""",
    """
comment on function learn_turn_words is
    'Adds the words that were said in at least so many calls since a moment to turn_words, and tells how many were new. What only few said, such as a name, stays out.'
""",
)


def upgrade() -> None:
    """Add the indexes, the table and its functions."""
    for statement in (*INDEXES.strip().split(";\n"), *WORDS):
        op.execute(statement)
