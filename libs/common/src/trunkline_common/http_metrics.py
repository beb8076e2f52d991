"""Rate, errors and duration of a service's HTTP requests, by routes from a closed list. Websockets pass uncounted."""

import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

import prometheus_client

OTHER: Final = "other"
"""Whatever a scanner asks for."""

STATUSES: Final = ("2xx", "3xx", "4xx", "5xx", "none")
"""`none`: the request ended without an answer, because the client was gone or the application failed."""

REQUESTS = prometheus_client.Counter(
    "trunkline_http_requests", "HTTP requests that ended, by the class of their status.", ["route", "status"]
)
SECONDS = prometheus_client.Histogram(
    "trunkline_http_request_seconds",
    "From a request's first line until the last byte of its answer was handed over.",
    ["route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_AsgiApp = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class MeasuredHttp:
    """ASGI: counts and times the requests of the application inside."""

    def __init__(self, inner: _AsgiApp, routes: Collection[str]) -> None:
        self._inner = inner
        self._requests = {
            route: {status: REQUESTS.labels(route, status) for status in STATUSES}
            for route in (*routes, OTHER)
        }
        self._seconds = {route: SECONDS.labels(route) for route in self._requests}

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Hand one request on; media streams go straight through."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self._requests else OTHER
        status = "none"

        async def note_status(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
            await send(message)

        began = time.perf_counter()
        try:
            await self._inner(scope, receive, note_status)
        finally:
            self._requests[route][status].inc()
            self._seconds[route].observe(time.perf_counter() - began)
