"""The console's application: its routes and pages, its OpenAPI document, its problems."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from trunkline_common.service import AsgiApp
from trunkline_transcripts.console import calls_routes, export_routes, live_routes, search_routes
from trunkline_transcripts.console.access import Access
from trunkline_transcripts.console.days import Days
from trunkline_transcripts.console.guard import Guard
from trunkline_transcripts.console.live import LiveCalls
from trunkline_transcripts.console.pages import page_problems, routes, sign_in_routes
from trunkline_transcripts.console.pages.visitors import Visitors
from trunkline_transcripts.console.problems import ProblemDetails, add_handlers
from trunkline_transcripts.console.reading import Reading
from trunkline_transcripts.console.settings import ConsoleSettings

OPENAPI_PATH: Final = "/v1/openapi.json"
_UNUSED_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
"""FastAPI's own shape of a validation error, which is never sent."""


def build(chosen: ConsoleSettings, reading: Reading, live: LiveCalls) -> FastAPI:
    """Return the routes; nothing is opened yet."""
    app = FastAPI(
        title="Trunkline",
        version="1",
        summary="What was said on the telephone: calls, turns, search, export, live.",
        openapi_url=OPENAPI_PATH,
        # Their scripts come from a CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.reading = reading
    app.state.live = live
    app.state.access = Access(chosen.api_keys, chosen.console_requests_per_minute)
    app.state.visitors = Visitors(app.state.access, chosen.session_secret)
    app.state.days = Days()
    for module in (calls_routes, search_routes, export_routes, live_routes, routes, sign_in_routes):
        app.include_router(module.router)
    add_handlers(app)
    page_problems.add_handlers(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def guarded(app: FastAPI) -> AsgiApp:
    """Return the application as the server runs it."""
    return Guard(app)


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = document["components"]["schemas"]
        for name in _UNUSED_SCHEMAS:
            schemas.pop(name, None)
        problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs")
        schemas["ProblemDetails"] = problem
        app.openapi_schema = document
    return app.openapi_schema
