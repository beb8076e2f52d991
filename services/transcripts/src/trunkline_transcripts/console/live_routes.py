"""`GET /v1/live`: server-sent events (WHATWG: HTML, Server-sent events)."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from trunkline_transcripts.console.access import allowed
from trunkline_transcripts.console.filters import CALL_ID_PATTERN
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.live import LiveCalls
from trunkline_transcripts.console.problems import Kind, documented

LAST_EVENT_ID_MAX: Final = 2**62
"""JetStream counts to 2**64; nobody gets there."""

router: Final = APIRouter(prefix="/v1", tags=["live"])


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events call_started, turn and call_ended, with JSON as data.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(Kind.LOG_AWAY, Kind.BUSY),
    },
)
async def live(
    request: Request,
    key: Annotated[ApiKey, Depends(allowed(Scope.LIVE))],
    call_id: Annotated[
        str | None, Query(pattern=CALL_ID_PATTERN, description="Follow only this call.")
    ] = None,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=LAST_EVENT_ID_MAX, description="Go on behind this event; without it, from now on."),
    ] = None,
) -> StreamingResponse:
    """Follow calls while they go on. A turn that is told again, with a higher revision, replaces the one before."""
    calls: LiveCalls = request.app.state.live
    pieces = calls.listen(call_id, last_event_id, Scope.CALLERS in key.scopes)
    # What is wrong shows at the first piece, before the answer begins.
    first = await anext(pieces)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_from(first, pieces), media_type="text/event-stream", headers=headers)


async def _from(first: bytes, pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece
