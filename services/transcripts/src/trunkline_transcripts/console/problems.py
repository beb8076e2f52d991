"""What can go wrong, as problem details (RFC 9457), for every route alike."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_DATABASE_S: Final = 2
RETRY_BUSY_S: Final = 10
ERRORS_TOLD_MAX: Final = 20
"""Of a request's faults; whoever sent more than that sees enough."""


class _Kind(NamedTuple):
    status: HTTPStatus
    word: str
    title: str


class Kind(Enum):
    """Every problem that this API tells of."""

    BAD_CURSOR = _Kind(HTTPStatus.BAD_REQUEST, "bad-cursor", "The cursor is of no use here")
    UNAUTHORIZED = _Kind(HTTPStatus.UNAUTHORIZED, "unauthorized", "No valid API key")
    FORBIDDEN = _Kind(HTTPStatus.FORBIDDEN, "forbidden", "The API key lacks a scope")
    NO_CALL = _Kind(HTTPStatus.NOT_FOUND, "no-such-call", "There is no such call")
    NO_PAGE = _Kind(HTTPStatus.NOT_FOUND, "no-such-page", "There is no such page")
    BAD_METHOD = _Kind(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "Only GET is served here")
    TOO_LARGE = _Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "Requests have no body here")
    INVALID = _Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request cannot be understood")
    TOO_MANY = _Kind(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
    FAILED = _Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "Something is broken here")
    NO_PARQUET = _Kind(HTTPStatus.NOT_IMPLEMENTED, "no-parquet", "Parquet is not installed")
    DATABASE_AWAY = _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "database-away", "Postgres cannot be used now")
    TOO_SLOW = _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "too-slow", "The answer took too long")
    LOG_AWAY = _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "event-log-away", "The event log cannot be read now")
    BUSY = _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "All places are taken")
    OTHER = _Kind(HTTPStatus.BAD_REQUEST, "bad-request", "The request cannot be served")


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The parameter.")
    what: str = Field(description="What is wrong with it.")


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="Ends in a short word that stays the same.")
    title: str
    status: int
    detail: str = Field("", description="What to do about it.")
    errors: list[Fault] = Field([], description="Each parameter that is wrong.")


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, kind: Kind, detail: str = "", retry_after_s: int = 0) -> None:
        super().__init__(kind.value.word, detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s


def answer(
    kind: Kind,
    detail: str = "",
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem as a response."""
    status, word, title = kind.value
    body: dict[str, Any] = {
        "type": f"urn:trunkline:problem:{word}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    # No store: a proxy may keep a 404 otherwise.
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(body, status, all_headers, PROBLEM_TYPE)


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return these problems, and those of every route, as OpenAPI has them."""
    every = {*kinds, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.BAD_METHOD, Kind.TOO_LARGE, Kind.INVALID}
    every |= {Kind.TOO_MANY, Kind.FAILED, Kind.DATABASE_AWAY}
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        int(kind.value.status): {"description": kind.value.title, "content": content}
        for kind in Kind
        if kind in every
    }


def add_handlers(app: FastAPI) -> None:
    """Turn everything that is raised into a problem."""
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        ProblemError: _of_problem,
        RequestValidationError: _of_validation,
        HTTPException: _of_http,
        Exception: _of_anything,
    }
    for error_type, handler in handlers.items():
        app.add_exception_handler(error_type, handler)


async def _of_problem(_: Request, error: ProblemError) -> Response:
    headers = {}
    if error.kind is Kind.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    return answer(error.kind, error.detail, headers=headers)


async def _of_validation(_: Request, error: RequestValidationError) -> Response:
    faults = [
        # Never the value: it may be a number or what somebody said.
        {"where": ".".join(str(part) for part in fault["loc"][1:])[:80], "what": _plain(fault)}
        for fault in error.errors()[:ERRORS_TOLD_MAX]
    ]
    return answer(Kind.INVALID, "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults), faults)


def _plain(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such parameter"
    return str(fault["msg"]).removeprefix("Value error, ")


async def _of_http(_: Request, error: HTTPException) -> Response:
    kinds = {404: Kind.NO_PAGE, 405: Kind.BAD_METHOD, 413: Kind.TOO_LARGE}
    return answer(kinds.get(error.status_code, Kind.OTHER), headers=error.headers)


async def _of_anything(_: Request, __: Exception) -> Response:
    # Starlette raises it again for the log after this is sent.
    return answer(Kind.FAILED, "Its operator finds the reason in the log.")
