"""Shell: sends the requests of tools and says in a sentence how each went.

One pool of connections for the whole process. Nothing is followed: no redirect, no proxy of the environment, no
cookie. Whatever goes wrong becomes an outcome and an explanation that the model can act on; arguments and answers
never reach a log.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import httpcore
import msgspec

from trunkline_common import log
from trunkline_common.call_events import ToolOutcome
from trunkline_worker import metrics
from trunkline_worker.agent_tools import HttpRequest
from trunkline_worker.events import ToolReturned
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_network import RefusedAddressError, Resolve, ToolNetwork

CONNECTIONS_MAX: Final = 200
"""Two for each call of a full worker. A request waits for a free one within its own time."""

CONNECTIONS_IDLE_MAX: Final = 20
IDLE_S: Final = 30.0
TRIES_MAX: Final = 3
RETRY_S: Final = 0.1
"""Before the second try, doubled for the third, less a random part; all within the tool's own time."""

DETAIL_CHARS_MAX: Final = 500
"""Of an error that the service explains: enough for a sentence, too little for a stack trace."""

_TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_BODY_AT_ERROR_BYTES_MAX: Final = 4096

_log = log.get(__name__)

OnReturn = Callable[[ToolReturned], None]
MayAct = Callable[[], Awaitable[None]]
"""Returns once this worker is known to own the call still."""


class _FailedError(Exception):
    """The answer is no answer; the text is what the model is told."""

    def __init__(self, why: str, *, http_status: int | None = None, passing: bool = False) -> None:
        super().__init__(why)
        self.http_status = http_status
        self.passing = passing
        """Another try may go better."""


class ToolRunner:
    """The HTTP client of all tools of all calls."""

    def __init__(
        self, hosts: ToolHosts, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._running: set[asyncio.Task[None]] = set()
        """The calls' cores bound it: a few for each call."""
        self._pool = httpcore.AsyncConnectionPool(
            # Made here, before there are calls: reading the certificates takes 60 ms.
            ssl_context=tls or ssl.create_default_context(),
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=CONNECTIONS_IDLE_MAX,
            keepalive_expiry=IDLE_S,
            retries=0,
            network_backend=ToolNetwork(hosts, resolve),
        )

    def start(
        self, tool_call_id: str, request: HttpRequest, on_return: OnReturn, may_act: MayAct | None = None
    ) -> asyncio.Task[None]:
        """Send a request; `on_return` hears of its end, unless the task is cancelled first.

        One that changes something waits for `may_act`.
        """
        waits = None if request.method == "GET" else may_act
        task = asyncio.create_task(self._run(tool_call_id, request, on_return, waits), name="tool")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def close(self) -> None:
        """Give up what still runs and close every connection."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._pool.aclose()

    async def _run(
        self, tool_call_id: str, request: HttpRequest, on_return: OnReturn, may_act: MayAct | None
    ) -> None:
        with metrics.TOOLS_RUNNING.track_inprogress():
            try:
                returned = await self._call(tool_call_id, request, may_act)
            except Exception as error:  # noqa: BLE001 - the boundary of a request: the model gets an answer to each
                # Without the text or a traceback: they may quote arguments.
                _log.error("tool-fault", error=type(error).__name__)
                returned = _failed(tool_call_id, _FailedError("The service cannot be called."))
        on_return(returned)

    async def _call(self, tool_call_id: str, request: HttpRequest, may_act: MayAct | None) -> ToolReturned:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                if may_act is not None:
                    await may_act()
                for tried in range(1, TRIES_MAX + 1):
                    try:
                        status, result = await self._try(request)
                    except _FailedError as error:
                        wait_s = RETRY_S * 2 ** (tried - 1) * random.uniform(0.5, 1)  # noqa: S311 - jitter
                        again = request.retry and error.passing and tried < TRIES_MAX
                        if not again or loop.time() + wait_s >= deadline:
                            return _failed(tool_call_id, error)
                        metrics.TOOL_RETRIES.inc()
                        await asyncio.sleep(wait_s)
                    else:
                        output = msgspec.json.encode({"ok": True, "result": result}).decode()
                        return ToolReturned(tool_call_id, ToolOutcome.OK, output, status)
        except TimeoutError:
            return ToolReturned(
                tool_call_id, ToolOutcome.TIMEOUT, _error("The service did not answer in time.")
            )
        raise AssertionError("the last try returns")

    async def _try(self, request: HttpRequest) -> tuple[int, object]:
        """Return the status and the answer; raise `_FailedError` for everything else."""
        headers = [
            ("Accept", "application/json, text/plain;q=0.9"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "trunkline"),
            *request.headers,
        ]
        try:
            async with self._pool.stream(
                request.method,
                request.url,
                headers=[(name.encode(), value.encode()) for name, value in headers],
                content=request.body or None,
            ) as response:
                return response.status, await _answer(response, request.result_bytes_max)
        except RefusedAddressError as error:
            _log.warning("tool-address-refused", why=str(error))
            raise _FailedError("The service cannot be reached.") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
            raise _FailedError("The service cannot be reached.", passing=True) from error
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError) as error:
            raise _FailedError("The service cannot be called.") from error


async def _answer(response: httpcore.Response, bytes_max: int) -> object:
    status = response.status
    headers = {name.lower(): value for name, value in response.headers}
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise _FailedError("The service gave an answer that cannot be read.", http_status=status)
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    if 200 <= status < 300:
        body = await _body(response, bytes_max)
        if body is None:
            raise _FailedError("The service's answer is too large.", http_status=status)
        return _content(body, kind, status)
    if status < 400:
        raise _FailedError("The service wants to be called elsewhere.", http_status=status)
    if status >= 500 or status in _TRY_AGAIN:
        why = f"The service has a problem of its own (HTTP {status})."
        raise _FailedError(why, http_status=status, passing=status in _TRY_AGAIN)
    detail = await _detail(response, kind)
    raise _FailedError(f"The service refused (HTTP {status}){detail}.", http_status=status)


async def _body(response: httpcore.Response, bytes_max: int) -> bytes | None:
    """Return the body, or None as soon as it is longer than it may be."""
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


def _content(body: bytes, kind: str, status: int) -> object:
    """Return an answer of JSON or plain text."""
    if not body.strip():
        return None
    try:
        if kind == "application/json" or kind.endswith("+json"):
            return msgspec.json.decode(body)
        if kind in {"text/plain", "text/csv", "text/markdown", ""}:
            return body.decode()
    except (ValueError, RecursionError):
        raise _FailedError("The service gave an answer that cannot be read.", http_status=status) from None
    raise _FailedError("The service's answer is neither JSON nor plain text.", http_status=status)


async def _detail(response: httpcore.Response, kind: str) -> str:
    """Return why the service refused, where it says so in a few words."""
    body = await _body(response, _BODY_AT_ERROR_BYTES_MAX)
    try:
        content = _content(body or b"", kind, response.status)
    except _FailedError:
        return ""
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return f": {text[:DETAIL_CHARS_MAX]}" if content is not None else ""


def _failed(tool_call_id: str, error: _FailedError) -> ToolReturned:
    return ToolReturned(tool_call_id, ToolOutcome.FAILED, _error(str(error)), error.http_status)


def _error(why: str) -> str:
    return msgspec.json.encode({"ok": False, "error": why}).decode()
