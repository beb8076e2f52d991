"""`/sign-in` and `/sign-out`: an API key for a session."""

import math
import time
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from trunkline_transcripts.console import metrics
from trunkline_transcripts.console.keys import Scope
from trunkline_transcripts.console.pages import rendering
from trunkline_transcripts.console.pages.visitors import (
    SIGN_IN_PATH,
    Visitors,
    own_path,
    refuse_other_origins,
)
from trunkline_transcripts.console.problems import Kind, ProblemError

FORM_BYTES_MAX: Final = 4 * 1024
"""A key and a path."""

router: Final = APIRouter(include_in_schema=False)


@router.get(SIGN_IN_PATH)
async def show_form(request: Request) -> Response:
    """Show the form, or, to somebody who needs none, the first page."""
    wanted = own_path(request.query_params.get("next", "/"))
    visitors: Visitors = request.app.state.visitors
    if visitors.recognise(request) is not None:
        return _to(wanted)
    return _form(200, wanted, "")


@router.post(SIGN_IN_PATH)
async def sign_in(request: Request) -> Response:
    """Take a key and give a session."""
    refuse_other_origins(request)
    fields = await _fields(request)
    wanted = own_path(fields.get("next", "/"))
    visitors: Visitors = request.app.state.visitors
    address = request.client.host if request.client else ""
    now_s = time.monotonic()
    if wait_s := math.ceil(visitors.failures.wait_s(address, now_s)):
        metrics.SIGN_INS.labels("too-many").inc()
        response = _form(429, wanted, f"Too many wrong keys. Try again in {wait_s} s.")
        response.headers["Retry-After"] = str(wait_s)
        return response
    key = visitors.find(fields.get("key", "").strip())
    if key is None:
        visitors.failures.count(address, now_s)
        metrics.SIGN_INS.labels("wrong-key").inc()
        return _form(403, wanted, "This is no key of CONSOLE_API_KEYS.")
    if Scope.CALLS not in key.scopes:
        metrics.SIGN_INS.labels("no-scope").inc()
        return _form(403, wanted, f"The key {key.name} cannot be used here: it lacks the scope calls.")
    metrics.SIGN_INS.labels("ok").inc()
    response = _to(wanted)
    visitors.sign_in(request, response, key)
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    refuse_other_origins(request)
    visitors: Visitors = request.app.state.visitors
    response = _to(SIGN_IN_PATH)
    visitors.sign_out(request, response)
    return response


def _form(status: int, wanted: str, fault: str) -> Response:
    return rendering.page("sign_in.html", status, here="", visitor=None, wanted=wanted, fault=fault)


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


async def _fields(request: Request) -> dict[str, str]:
    """Return the form's fields (WHATWG: URL, application/x-www-form-urlencoded)."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise ProblemError(Kind.TOO_LARGE)
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
