"""`POST /calls`: the outbound calls' HTTP side. Answers are JSON; refusals are problem details (RFC 9457)."""

import hmac
import math
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trunkline_common import log
from trunkline_gateway import metrics
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.outbound import Problem, Refused, check_key, read_request
from trunkline_gateway.public_url import CALLS_PATH

PROBLEM_TYPE: Final = "application/problem+json"

_log = log.get(__name__)


def add_calls(app: FastAPI, gateway: Gateway) -> None:
    """Serve `POST /calls`."""

    @app.post(CALLS_PATH)
    async def calls(request: Request) -> Response:
        try:
            return await _answer(gateway, request)
        except Refused as refused:
            return _refusal(refused)


async def _answer(gateway: Gateway, request: Request) -> Response:
    calling = gateway.outbound
    if not calling.keys:
        raise Refused(Problem.DISABLED)
    api_key = _valid_key(request.headers.get("authorization", ""), calling.keys)
    idempotency_key = check_key(request.headers.get("idempotency-key"))
    try:
        body = await request.body()
    except (HTTPException, ClientDisconnect) as error:
        raise Refused(Problem.BAD_REQUEST, "The body is too large, or was cut off.") from error
    answer = await calling.place(read_request(body), api_key, idempotency_key)
    is_problem = answer.status >= 400
    return JSONResponse(
        answer.body, answer.status, media_type=PROBLEM_TYPE if is_problem else "application/json"
    )


def _valid_key(authorization: str, keys: tuple[str, ...]) -> str:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        # All of them, so that the time tells nothing.
        matching = [key for key in keys if hmac.compare_digest(key.encode(), given.strip().encode())]
        if matching:
            return matching[0]
    raise Refused(Problem.UNAUTHORIZED)


def _refusal(refused: Refused) -> Response:
    problem = refused.problem
    metrics.OUTBOUND.labels(problem.word).inc()
    _log.info("outbound-call-refused", reason=problem.word)
    headers = {}
    if problem is Problem.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.retry_after_s:
        headers["Retry-After"] = str(math.ceil(refused.retry_after_s))
    return JSONResponse(problem.body(refused.detail), problem.status, headers, PROBLEM_TYPE)
