"""The pages: calls, one call, search, days. Each asks what the API's own routes ask."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline_common.verdict import Outcome, Verdict
from trunkline_transcripts.console import calls_queries, calls_routes, live_routes, search_routes
from trunkline_transcripts.console.calls_routes import ListQuery
from trunkline_transcripts.console.days import Days
from trunkline_transcripts.console.filters import YEARS, Name, is_call_id
from trunkline_transcripts.console.keys import Scope
from trunkline_transcripts.console.pages import plots, rendering, timeline, waterfall
from trunkline_transcripts.console.pages.shown import ShownCall
from trunkline_transcripts.console.pages.visitors import Visitor, visiting
from trunkline_transcripts.console.problems import Kind, ProblemError
from trunkline_transcripts.console.reading import Reading, reading
from trunkline_transcripts.console.search_routes import SearchQuery

LIVE_SHOWN_MAX: Final = 50
"""More than anybody can watch; the page says so."""
DAYS_CHOICES: Final = (7, 14, 31)
REASONS: Final = tuple(verdict.reason for verdict in Verdict)
OUTCOMES: Final = tuple(str(outcome) for outcome in Outcome)

_Query = TypeVar("_Query", bound=BaseModel)
CallsVisitor = Annotated[Visitor, Depends(visiting(Scope.CALLS))]

router: Final = APIRouter(include_in_schema=False)


class DaysQuery(BaseModel):
    """Which days."""

    model_config = ConfigDict(extra="forbid")

    until: date | None = Field(None, ge=date(YEARS[0], 3, 1), lt=date(YEARS[1], 1, 1))
    days: int = Field(14, ge=1, le=DAYS_CHOICES[-1])
    agent: Name | None = None


class Asked(NamedTuple):
    """What somebody typed, and what is wrong with it."""

    given: dict[str, str]
    query: Any
    faults: list[str]

    @property
    def filtered(self) -> bool:
        """Whether anything was asked for."""
        return bool(set(self.given) - {"cursor", "limit"})

    def path(self, path: str, **changes: str) -> str:
        """Return the address of the same question with these changes."""
        return f"{path}?{urlencode({**self.given, **changes})}"

    def newest(self, path: str) -> str:
        """Return the address of the first page of the same question."""
        given = {name: value for name, value in self.given.items() if name != "cursor"}
        return f"{path}?{urlencode(given)}" if given else path


@router.get("/")
async def show_calls(request: Request, visitor: CallsVisitor) -> Response:
    """Show the calls that go on, and the newest that are over."""
    asked = _asked(request, ListQuery)
    live = past = None
    if not asked.faults:
        past = await calls_routes.list_calls(
            request, visitor.key, asked.query.model_copy(update={"live": False})
        )
        if not asked.given:
            going_on = ListQuery(live=True, limit=LIVE_SHOWN_MAX)
            live = await calls_routes.list_calls(request, visitor.key, going_on)
    return rendering.page(
        "calls.html",
        422 if asked.faults else 200,
        here="calls",
        visitor=visitor,
        asked=asked,
        live=live,
        past=past,
        older=asked.path("/", cursor=past.next_cursor) if past and past.next_cursor else None,
        outcomes=OUTCOMES,
        reasons=REASONS,
    )


@router.get("/calls/{call_id}")
async def show_call(request: Request, visitor: CallsVisitor, call_id: str) -> Response:
    """Show one call."""
    if not is_call_id(call_id):
        raise ProblemError(Kind.NO_CALL, "This is no CallSid.")
    store: Reading = request.app.state.reading
    async with reading(store.pages) as connection:
        found = await calls_queries.one(connection, call_id, visitor.sees_numbers)
    if found is None:
        raise ProblemError(Kind.NO_CALL, "It may have been erased, or never existed.")
    call = ShownCall.model_validate(found)
    return rendering.page(
        "call.html",
        here="calls",
        visitor=visitor,
        call=call,
        timeline=timeline.timeline(call),
        entries=timeline.conversation(call),
        waterfall=waterfall.waterfall(call.conversation),
    )


@router.get("/search")
async def show_search(request: Request, visitor: CallsVisitor) -> Response:
    """Show the turns with some words."""
    asked = _asked(request, SearchQuery)
    found = None
    if "q" not in asked.given:
        asked.faults.clear()
    elif not asked.faults:
        found = await search_routes.search(request, visitor.key, asked.query)
    older = None
    if found and found.next_cursor:
        older = asked.path("/search", q=found.searched_for, cursor=found.next_cursor)
    return rendering.page(
        "search.html",
        422 if asked.faults else 200,
        here="search",
        visitor=visitor,
        asked=asked,
        found=found,
        older=older,
    )


@router.get("/days")
async def show_days(request: Request, visitor: CallsVisitor) -> Response:
    """Show the figures of some days."""
    asked = _asked(request, DaysQuery)
    today = datetime.now(UTC).date()
    days = []
    query = asked.query or DaysQuery()
    last = min(query.until or today, today)
    if not asked.faults:
        store: Reading = request.app.state.reading
        remembered: Days = request.app.state.days
        async with reading(store.pages) as connection:
            days = await remembered.until(connection, last, query.days, query.agent, today, time.monotonic())
    step = timedelta(days=query.days)
    return rendering.page(
        "days.html",
        422 if asked.faults else 200,
        here="days",
        visitor=visitor,
        asked=asked,
        days=days,
        plots=plots.plots(days) if any(day.calls for day in days) else [],
        outcomes=[name for name in plots.OUTCOMES if any(name in day.outcomes for day in days)],
        count=query.days,
        choices=DAYS_CHOICES,
        last=last,
        today=today,
        earlier=asked.path("/days", until=str(last - step)),
        later=asked.path("/days", until=str(min(last + step, today))) if last < today else None,
    )


@router.get("/live")
async def follow(
    request: Request, visitor: Annotated[Visitor, Depends(visiting(Scope.LIVE))]
) -> StreamingResponse:
    """Tell the pages' scripts of calls while they go on: `/v1/live` for those who are signed in."""
    call_id = request.query_params.get("call_id")
    if call_id is not None and not is_call_id(call_id):
        raise ProblemError(Kind.INVALID, "call_id: is no CallSid")
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else None
    return await live_routes.live(request, visitor.key, call_id, after)


@router.get("/static/{version}/{name}")
async def static_file(version: str, name: str) -> Response:
    """Return a script, a style or a picture of ours."""
    return rendering.static_file(version, name)


def _asked(request: Request, model: type[_Query]) -> Asked:
    """Return the question; fields that were left empty are not asked."""
    given = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
    try:
        return Asked(given, model.model_validate(_for_api(given)), [])
    except ValidationError as error:
        return Asked(given, None, [_fault(fault) for fault in error.errors()])


def _for_api(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters as the API takes them: people give durations in seconds."""
    values: dict[str, Any] = dict(given)
    for bound in ("min", "max"):
        seconds = values.pop(f"{bound}_s", None)
        if seconds is not None:
            try:
                values[f"{bound}_duration_ms"] = round(float(seconds) * 1000)
            except (ValueError, OverflowError):
                values[f"{bound}_duration_ms"] = seconds
    return values


def _fault(fault: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"])[:80]
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such filter"
    return f"{where}: {str(fault['msg']).removeprefix('Value error, ')}".removeprefix(": ")
