"""`GET /v1/calls` and `GET /v1/calls/{call_id}`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field

from trunkline_transcripts.console import calls_queries, cursors
from trunkline_transcripts.console.access import allowed
from trunkline_transcripts.console.answers import Call, CallPage
from trunkline_transcripts.console.cursors import CURSOR_CHARS_MAX, Place
from trunkline_transcripts.console.filters import CALL_ID_PATTERN, CallFilters
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.problems import Kind, ProblemError, documented
from trunkline_transcripts.console.reading import Reading, reading

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50
PAGING: Final = frozenset({"limit", "cursor"})

Cursor = Annotated[str, Field(max_length=CURSOR_CHARS_MAX, pattern=r"^[A-Za-z0-9_-]+$")]

router: Final = APIRouter(prefix="/v1", tags=["calls"])


class ListQuery(CallFilters):
    """Which calls, and which page of them."""

    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Calls on a page.")
    cursor: Cursor | None = Field(None, description="next_cursor of the page before.")


@router.get("/calls", responses=documented(Kind.BAD_CURSOR))
async def list_calls(
    request: Request,
    key: Annotated[ApiKey, Depends(allowed(Scope.CALLS))],
    query: Annotated[ListQuery, Query()],
) -> CallPage:
    """List calls, newest first.

    A page that was filtered by cost may be short, or empty, and still have a next one.
    """
    asked = cursors.fingerprint("calls", query, PAGING)
    after = cursors.read(asked, query.cursor) if query.cursor else None
    store: Reading = request.app.state.reading
    async with reading(store.pages) as connection:
        # One more than is shown tells whether there are more.
        rows = await calls_queries.page(
            connection, query, query.limit + 1, after, Scope.CALLERS in key.scopes
        )
        more = len(rows) > query.limit
        last: Any = rows[query.limit - 1] if more else None
        if not more and query.by_cost:
            scanned = await connection.execute(calls_queries.last_scanned(query, after))
            last = scanned.mappings().first()
    place = Place(last["call_started_at"], last["call_id"]) if last is not None else None
    return CallPage.model_validate(
        {"calls": rows[: query.limit], "next_cursor": cursors.write(asked, place) if place else None}
    )


@router.get("/calls/{call_id}", responses=documented(Kind.NO_CALL))
async def read_call(
    request: Request,
    key: Annotated[ApiKey, Depends(allowed(Scope.CALLS))],
    call_id: Annotated[str, Path(pattern=CALL_ID_PATTERN, description="Twilio's CallSid.")],
) -> Call:
    """Return one call: what was said and heard, how fast, by whom, with which tools, for how much."""
    store: Reading = request.app.state.reading
    async with reading(store.pages) as connection:
        call = await calls_queries.one(connection, call_id, Scope.CALLERS in key.scopes)
    if call is None:
        raise ProblemError(Kind.NO_CALL, "It may have been erased, or never existed.")
    return Call.model_validate(call)
