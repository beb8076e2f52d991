"""What goes wrong, as a page for those who asked for one; the API's problem details for everybody else."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from trunkline_transcripts.console.pages import rendering, visitors
from trunkline_transcripts.console.pages.visitors import SignInNeededError
from trunkline_transcripts.console.problems import Kind, ProblemError, answer

Handler = Callable[[Request, Any], Awaitable[Response]]


def add_handlers(app: FastAPI) -> None:
    """Wrap the handlers that the API has; its own answers stay as they are."""
    for error_type in (ProblemError, HTTPException, Exception):
        handler: Any = app.exception_handlers[error_type]
        app.add_exception_handler(error_type, _shown(handler))
    app.add_exception_handler(SignInNeededError, _sent_to_sign_in)


def _shown(handler: Handler) -> Handler:
    async def handled(request: Request, error: Any) -> Response:
        response = await handler(request, error)
        if not _wants_page(request):
            return response
        problem = msgspec.json.decode(bytes(response.body))
        headers = {
            name: response.headers[name] for name in ("retry-after", "allow") if name in response.headers
        }
        return rendering.page(
            "problem.html", response.status_code, headers, here="", visitor=None, problem=problem
        )

    return handled


async def _sent_to_sign_in(request: Request, error: Any) -> Response:
    if not _wants_page(request):
        return answer(Kind.UNAUTHORIZED, "Sign in first.")
    return RedirectResponse(visitors.sign_in_path(error.path), 303, {"Cache-Control": "no-store"})


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", "")
