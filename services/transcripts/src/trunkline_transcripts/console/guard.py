"""ASGI: before and around every route. Refuses bodies, and counts and times what is answered."""

import time
from collections.abc import MutableMapping
from typing import Any, Final

from trunkline_common.service import AsgiApp, Receive, Scope, Send
from trunkline_transcripts.console import metrics
from trunkline_transcripts.console.problems import Kind, answer

BODY_BYTES_MAX: Final = 64 * 1024
"""Nothing here takes a body; whoever sends a small one by habit is served."""
NO_ROUTE: Final = "none"


class Guard:
    """The outermost layer of the console's application."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        status = 500

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _body_bytes(scope) > BODY_BYTES_MAX:
                await answer(Kind.TOO_LARGE)(scope, receive, watched)
            else:
                await self._app(scope, receive, watched)
        finally:
            # Never the path itself: it holds names that anybody may make up.
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            metrics.REQUESTS.labels(route, f"{status // 100}xx").inc()
            metrics.REQUEST_SECONDS.labels(route).observe(time.monotonic() - began_s)


def _body_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            # The server refuses what is no number.
            return int(value)
    return 0
