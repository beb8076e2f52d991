"""The statements that find turns by their words, and words that are spelt like those that were found nowhere."""

import re
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, Select, Text, bindparam, func, literal, select, text, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.console.cursors import Place
from trunkline_transcripts.console.filters import (
    CallFilters,
    conditions,
    cost_conditions,
    cost_usd,
    of_the_call,
)
from trunkline_transcripts.tables import calls, turns

CONFIGURATION: Final = "simple"
"""As in `turns.words`: no language, no stems."""
SNIPPET_CHARS_MAX: Final = 50_000
"""As in `turns.words`: of a longer turn only the beginning is searched."""
WORDS_CORRECTED_MAX: Final = 8
SIMILARITY_MIN: Final = 0.25
"""Shared trigrams among all of both words: «saterday» and «saturday» have 0.5, «opne» and «open» 0.25."""

_START, _STOP = "\ue000", "\ue001"
"""Private characters around each word that was found. They are taken out of the text first, so nobody can say them."""
_HEADLINE: Final = (
    f'StartSel={_START}, StopSel={_STOP}, MaxFragments=2, MaxWords=30, MinWords=10, FragmentDelimiter=" … "'
)
_WORD: Final = re.compile(r"[^\W\d_]{4,40}")


class Part(NamedTuple):
    """A piece of a snippet."""

    text: str
    match: bool


def hits(query: str, filters: CallFilters, limit: int, after: Place | None) -> Select[Any]:
    """Return the statement for so many turns with these words, those of the newest calls first."""
    wanted = func.websearch_to_tsquery(text(f"'{CONFIGURATION}'"), bindparam("query", query, Text))
    key = (turns.c.call_started_at, turns.c.call_id, turns.c.position, turns.c.item_id)
    found = select(*key, turns.c.speaker, turns.c.start_ms, turns.c.text).where(
        turns.c.words.op("@@")(wanted)
    )
    if filters.started_from is not None:
        found = found.where(turns.c.call_started_at >= filters.started_from)
    if filters.started_to is not None:
        found = found.where(turns.c.call_started_at < filters.started_to)
    of_calls = conditions(filters.model_copy(update={"started_from": None, "started_to": None}))
    if filters.by_cost:
        of_calls += cost_conditions(filters, cost_usd(calls))
    if of_calls:
        # Not a join: Postgres takes it for far more selective than it is, and reads every turn with a common word
        # (5 s) instead of the newest until there are enough (5 ms).
        fits = select(true()).where(of_the_call(turns, calls), *of_calls).correlate(turns)
        found = found.where(fits.scalar_subquery())
    if after is not None:
        place = (
            literal(after.started_at),
            literal(after.call_id),
            literal(after.position),
            literal(after.item_id),
        )
        found = found.where(turns.c.call_started_at <= after.started_at, tuple_(*key) < tuple_(*place))
    newest = found.order_by(*(column.desc() for column in key)).limit(limit).subquery("found")
    said = func.translate(func.left(newest.c.text, SNIPPET_CHARS_MAX), _START + _STOP, "")
    snippet = func.ts_headline(text(f"'{CONFIGURATION}'"), said, wanted, _HEADLINE)
    shown = [column for column in newest.c if column.name != "text"]
    order = [newest.c[column.name].desc() for column in key]
    return (
        select(*shown, snippet.label("snippet"), calls.c.agent)
        .join(calls, of_the_call(newest, calls), isouter=True)
        .order_by(*order)
    )


def parts(snippet: str) -> list[Part]:
    """Return the snippet in pieces, found words apart: no markup that speech could imitate."""
    found = []
    for place, piece in enumerate(re.split(f"[{_START}{_STOP}]", snippet)):
        if piece:
            found.append(Part(piece, match=place % 2 == 1))
    return found


async def corrected(connection: AsyncConnection, query: str) -> str:
    """Return the query with each word that nobody says replaced by the most similar one that is said."""
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))[:WORDS_CORRECTED_MAX]
    if not words:
        return query
    rows = await connection.execute(_SIMILAR, {"words": words, "similarity_min": SIMILARITY_MIN})
    said = {row.asked: row.said for row in rows}
    return _WORD.sub(lambda word: said.get(word[0].lower(), word[0]), query)


_SIMILAR: Final = text("""
    select asked, said
    from (
        select distinct on (asked) asked, word as said, shared / (length(asked) + length(word) + 2 - shared) as similarity
        from (
            select asked, word, cast(count(*) as double precision) as shared
            from unnest(cast(:words as text[])) as asked
            cross join lateral word_trigrams(asked) as trigram
            join turn_words using (trigram)
            group by asked, word
        ) as counted
        order by asked, similarity desc, word
    ) as closest
    where similarity >= :similarity_min and said <> asked
""").bindparams(bindparam("words", type_=ARRAY(Text)))
