"""`GET /v1/search`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, Field

from trunkline_transcripts.console import cursors, search_queries
from trunkline_transcripts.console.access import allowed
from trunkline_transcripts.console.answers import SearchPage
from trunkline_transcripts.console.calls_routes import LIMIT_DEFAULT, LIMIT_MAX, PAGING, Cursor
from trunkline_transcripts.console.cursors import Place
from trunkline_transcripts.console.filters import TEXT_CHARS_MAX, CallFilters, printable
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.problems import Kind, documented
from trunkline_transcripts.console.reading import Reading, reading

router: Final = APIRouter(prefix="/v1", tags=["search"])


def _has_words(value: str) -> str:
    if not any(character.isalnum() for character in value):
        raise ValueError("holds no word")
    return value


class SearchQuery(CallFilters):
    """Which words, in which calls, and which page of the turns."""

    q: Annotated[
        str,
        Field(min_length=1, max_length=TEXT_CHARS_MAX),
        AfterValidator(printable),
        AfterValidator(_has_words),
    ] = Field(description='Words that were all said in one turn; "in a row", this or that, -but not this.')
    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Turns on a page.")
    cursor: Cursor | None = Field(None, description="next_cursor of the page before.")


@router.get("/search", responses=documented(Kind.BAD_CURSOR))
async def search(
    request: Request,
    _: Annotated[ApiKey, Depends(allowed(Scope.CALLS))],
    query: Annotated[SearchQuery, Query()],
) -> SearchPage:
    """Find turns by the words in them, those of the newest calls first.

    Where no turn has the words, each word that is in no turn is replaced by the most similar one that is, and `match`
    is `similar`.
    """
    asked = cursors.fingerprint("search", query, PAGING)
    after = cursors.read(asked, query.cursor) if query.cursor else None
    searched_for, match = query.q, "words"
    store: Reading = request.app.state.reading
    async with reading(store.pages) as connection:
        rows = list(await connection.execute(search_queries.hits(query.q, query, query.limit + 1, after)))
        if not rows and after is None:
            searched_for = await search_queries.corrected(connection, query.q)
            if searched_for != query.q:
                match = "similar"
                statement = search_queries.hits(searched_for, query, query.limit + 1, after)
                rows = list(await connection.execute(statement))
    next_cursor = None
    if len(rows) > query.limit:
        last = rows[query.limit - 1]
        place = Place(last.call_started_at, last.call_id, last.position, last.item_id)
        again = query.model_copy(update={"q": searched_for})
        next_cursor = cursors.write(cursors.fingerprint("search", again, PAGING), place)
    return SearchPage.model_validate(
        {
            "searched_for": searched_for,
            "match": match,
            "hits": [_hit(row) for row in rows[: query.limit]],
            "next_cursor": next_cursor,
        }
    )


def _hit(row: Any) -> dict[str, Any]:
    return dict(row._mapping) | {"snippet": search_queries.parts(row.snippet)}
