"""`GET /v1/export`: many rows at once, oldest first, in constant memory.

Each row ends with its `cursor`. An export that was cut, or reached its limit, goes on with `after=` the cursor of the
last whole row: nothing is lost and nothing comes twice. A cut one never ends like a whole one: the connection breaks.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.console import cursors, export_formats, export_queries, metrics
from trunkline_transcripts.console.access import allowed
from trunkline_transcripts.console.calls_routes import Cursor
from trunkline_transcripts.console.cursors import Place
from trunkline_transcripts.console.export_formats import MEDIA_TYPES, ExportRow, Format
from trunkline_transcripts.console.export_queries import What
from trunkline_transcripts.console.filters import CallFilters
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.problems import Kind, ProblemError, documented
from trunkline_transcripts.console.reading import Reading, reading

LIMIT_MAX: Final = 10_000_000
"""More is a job for pg_dump."""
FETCHED_ROWS: Final = 1_000
"""Rows in memory at a time: half a megabyte of turns."""
PAGING: Final = frozenset({"format", "limit", "after"})

router: Final = APIRouter(prefix="/v1", tags=["export"])


class ExportQuery(CallFilters):
    """Which rows, in which form, and from where on."""

    format: Format
    what: What = Field(What.CALLS, description="What has a row.")
    limit: int = Field(1_000_000, ge=1, le=LIMIT_MAX, description="Rows at most.")
    after: Cursor | None = Field(None, description="The cursor of the last row that was received whole.")


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The rows; the last column of each is its cursor.",
            "content": {
                media_type.partition(";")[0]: {"schema": {"type": "string"}}
                for media_type in MEDIA_TYPES.values()
            },
        },
        **documented(Kind.BAD_CURSOR, Kind.NO_PARQUET, Kind.BUSY),
    },
)
async def export(
    request: Request,
    key: Annotated[ApiKey, Depends(allowed(Scope.EXPORT))],
    query: Annotated[ExportQuery, Query()],
) -> StreamingResponse:
    """Take calls or turns away, oldest first, as CSV, JSON lines or Parquet."""
    if query.format is Format.PARQUET and not export_formats.has_parquet():
        raise ProblemError(Kind.NO_PARQUET, "Install trunkline-transcripts[parquet], or take csv or jsonl.")
    store: Reading = request.app.state.reading
    pieces = _pieces(store, query, Scope.CALLERS in key.scopes)
    # What is wrong shows at the first piece, before the answer begins.
    first = await anext(pieces)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{query.what}.{query.format}"',
    }
    return StreamingResponse(_from(first, pieces), media_type=MEDIA_TYPES[query.format], headers=headers)


async def _pieces(store: Reading, query: ExportQuery, with_numbers: bool) -> AsyncGenerator[bytes]:
    asked = cursors.fingerprint("export", query, PAGING)
    after = cursors.read(asked, query.after) if query.after else None
    statement = export_queries.rows(query.what, query, after, query.limit, with_numbers)
    names = [*(column.name for column in statement.selected_columns), "cursor"]
    writer = export_formats.writer(query.format, names)
    async with reading(store.exports) as connection:
        async for lot in _lots(connection, statement, asked):
            data = writer.write(lot)
            metrics.ROWS_EXPORTED.labels(query.format).inc(len(lot))
            if data:
                yield data
    yield writer.end()


async def _lots(connection: AsyncConnection, statement: Any, asked: bytes) -> AsyncIterator[list[ExportRow]]:
    """Yield rows as they come from a cursor on the server."""
    async with connection.stream(statement, execution_options={"yield_per": FETCHED_ROWS}) as result:
        async for lot in result.mappings().partitions():
            yield [{**row, "cursor": cursors.write(asked, _place(row))} for row in lot]


def _place(row: Any) -> Place:
    return Place(row["call_started_at"], row["call_id"], row.get("position", 0), row.get("item_id", ""))


async def _from(first: bytes, pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    is_whole = False
    try:
        async with contextlib.aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece
        is_whole = True
    except ProblemError as problem:
        # Too late to say so: whoever reads must see that the end is missing.
        raise ConnectionAbortedError("Postgres went away in the middle of an export") from problem
    finally:
        if not is_whole:
            metrics.EXPORTS_CUT.inc()
