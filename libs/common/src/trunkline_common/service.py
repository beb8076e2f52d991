"""How every service runs: signals, a task group, drain, and `/livez /readyz /metrics`.

A service is a coroutine `body(life)`. It reports what it still waits for (`life.waiting`), declares itself
ready, awaits `life.stop_requested`, drains, and returns. The first SIGTERM or SIGINT asks for that; a second
one ends the process at once. A service that is asked to stop before it declared itself ready has nothing to
drain: its body is cancelled. A background task that dies takes the process with it: a service is never left
half alive.

Exit codes: 0 stopped as asked · 1 something died · 2 configuration · 3 the drain deadline passed · 130 a
second signal.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Generator, MutableMapping
from importlib import metadata
from typing import Any, Final

import prometheus_client
import uvicorn
import uvloop

from trunkline_common import log
from trunkline_common.http_metrics import MeasuredHttp
from trunkline_common.settings import SettingsError

EXIT_OK: Final = 0
EXIT_DIED: Final = 1
EXIT_DRAIN_DEADLINE: Final = 3
EXIT_SECOND_SIGNAL: Final = 130

LOOP_PROBE_S: Final = 0.25
"""How often the event loop's lag is measured."""

CANCEL_S: Final = 5
"""A cancelled body gets this long to clean up (closing the bus takes 2 s); then the process ends without it."""

HEALTH_PAGES: Final = ("/livez", "/readyz", "/metrics")

HTTP_STOP_S: Final = 5
"""Open HTTP requests get this long at the end; media sockets were closed by the drain before."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOP_LAG = prometheus_client.Histogram(
    "trunkline_loop_lag_seconds",
    "How late the event loop woke up from a timer; above 20 ms callers hear it.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5),
)
BUILD_INFO = prometheus_client.Gauge(
    "trunkline_build_info",
    "Always 1: which release of which service this process is.",
    ["service", "version"],
)
READY = prometheus_client.Gauge("trunkline_ready", "1 while `/readyz` says that the process takes new work.")
DRAINING_SECONDS = prometheus_client.Gauge(
    "trunkline_draining_seconds", "How long ago the process was asked to stop; 0 while it was not."
)
DRAIN_DEADLINE_SECONDS = prometheus_client.Gauge(
    "trunkline_drain_deadline_seconds",
    "How long the process may take to stop; then it ends with what is left.",
)

_log = log.get(__name__)


class ServiceError(Exception):
    """The service cannot go on; the text says what a person should do."""


class Life:
    """What a running service tells the outside world, and what it is told."""

    def __init__(self, service: str, drain_deadline_s: float) -> None:
        self.service = service
        self.drain_deadline_s = drain_deadline_s
        self.stop_requested = asyncio.Event()
        self.stop_requested_at = 0.0
        """By `time.monotonic`."""
        self._has_started = False
        self._waiting: dict[str, str] = {"start": "the service is starting"}
        self._fatal: asyncio.Future[ServiceError] = asyncio.get_running_loop().create_future()

    def started(self) -> None:
        """Everything was built; readiness now depends on `waiting` alone."""
        self._has_started = True
        self.resolved("start")

    @property
    def has_started(self) -> bool:
        """Whether `started` was called."""
        return self._has_started

    def waiting(self, part: str, why: str) -> None:
        """Report not ready because of `part` (a short name such as "nats") until it is `resolved`."""
        self._waiting[part] = why

    def resolved(self, part: str) -> None:
        """Report that `part` no longer keeps the service from being ready."""
        self._waiting.pop(part, None)

    def not_ready_because(self) -> list[str]:
        """Return why the service should get no new work; empty when it is ready."""
        reasons = [f"{part}: {why}" for part, why in self._waiting.items()]
        if self.stop_requested.is_set():
            reasons.append("stop: draining")
        return reasons

    def fail(self, error: ServiceError) -> None:
        """End the process with exit code 1; callable from any callback of the loop."""
        if not self._fatal.done():
            self._fatal.set_result(error)

    async def failed(self) -> None:
        """Wait for `fail` and raise what it was told."""
        raise await asyncio.shield(self._fatal)


Body = Callable[[Life], Awaitable[None]]


class HealthApp:
    """ASGI: `/livez /readyz /metrics`, everything else goes to the service's own application."""

    def __init__(self, life: Life, inner: AsgiApp | None = None) -> None:
        self._life = life
        self._inner = inner
        self._metrics: AsgiApp = prometheus_client.make_asgi_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or hand it on."""
        path = scope.get("path") if scope["type"] == "http" else None
        if path == "/livez":
            await _answer(send, 200, "alive\n")
        elif path == "/readyz":
            reasons = self._life.not_ready_because()
            await _answer(send, 503 if reasons else 200, "\n".join(reasons or ["ready"]) + "\n")
        elif path == "/metrics":
            await self._metrics(scope, receive, send)
        elif self._inner is not None:
            await self._inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            await _answer(send, 404, "only /livez, /readyz and /metrics are served here\n")


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: the service has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def run(
    service: str,
    body: Body,
    *,
    host: str,
    port: int,
    log_level: str = "info",
    drain_deadline_s: float = 60,
    app: AsgiApp | None = None,
    routes: Collection[str] = (),
    http_options: dict[str, Any] | None = None,
) -> None:
    """Run a service until it is told to stop, then exit the process with one of the codes above.

    `app` is served on `host:port` beside the health pages; `routes` are the paths by which its requests are
    counted; `http_options` go to uvicorn.
    """
    log.configure(service, log_level)
    listener = listen(host, port)
    runner = _run(service, body, listener, drain_deadline_s, app, routes, http_options or {})
    sys.exit(uvloop.run(runner))


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise `SettingsError` when the port is taken or not allowed."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or choose another port"
        ) from error


async def _run(
    service: str,
    body: Body,
    listener: socket.socket,
    drain_deadline_s: float,
    app: AsgiApp | None,
    routes: Collection[str],
    http_options: dict[str, Any],
) -> int:
    life = Life(service, drain_deadline_s)
    _handle_signals(life)
    _export(life)
    config = uvicorn.Config(
        MeasuredHttp(HealthApp(life, app), (*HEALTH_PAGES, *routes)),
        log_config=None,
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=HTTP_STOP_S,
        **http_options,
    )
    server = _HttpServer(config)
    _log.info("service-listening", address="{}:{}".format(*listener.getsockname()[:2]))
    side_tasks = [
        asyncio.create_task(server.serve(sockets=[listener]), name="http"),
        asyncio.create_task(_watch_loop_lag(), name="loop-lag"),
        asyncio.create_task(life.failed(), name="failure"),
    ]
    main_task = asyncio.create_task(_body_with_deadline(body, life), name="body")
    try:
        return await _first_end(main_task, side_tasks)
    finally:
        main_task.cancel()
        server.should_exit = True
        for task in side_tasks[1:]:
            task.cancel()
        await asyncio.gather(main_task, *side_tasks, return_exceptions=True)


async def _first_end(main_task: asyncio.Task[int], side_tasks: list[asyncio.Task[Any]]) -> int:
    done, _ = await asyncio.wait([main_task, *side_tasks], return_when=asyncio.FIRST_COMPLETED)
    ended = main_task if main_task in done else done.pop()
    if ended.cancelled():
        _log.error("service-died", task=ended.get_name(), why="it was cancelled")
        return EXIT_DIED
    error = _only_error(ended.exception())
    if isinstance(error, ServiceError):
        _log.error("service-failed", why=str(error))
        return EXIT_DIED
    if error is not None:
        _log.error("service-died", task=ended.get_name(), exc_info=error)
        return EXIT_DIED
    if ended is not main_task:
        _log.error("service-died", task=ended.get_name(), why="it ended without being asked")
        return EXIT_DIED
    return main_task.result()


def _only_error(error: BaseException | None) -> BaseException | None:
    """Return the one error that task groups wrapped; several are left as they are."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _body_with_deadline(body: Body, life: Life) -> int:
    """Run the body; once it was asked to stop it has `drain_deadline_s` left."""
    working = asyncio.ensure_future(body(life))
    asked = asyncio.create_task(life.stop_requested.wait())
    try:
        await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
        if not life.stop_requested.is_set():
            working.result()
            _log.error("service-died", task="body", why="it ended without being asked")
            return EXIT_DIED
        if not life.has_started and not working.done():
            _log.info("service-stopped", why="asked to before it was ready")
            return EXIT_OK
        if not working.done():
            _log.info("service-draining", deadline_s=life.drain_deadline_s)
            await asyncio.wait([working], timeout=life.drain_deadline_s)
        if not working.done():
            _log.error("service-drain-deadline", deadline_s=life.drain_deadline_s)
            return EXIT_DRAIN_DEADLINE
        working.result()
        _log.info("service-stopped")
        return EXIT_OK
    finally:
        asked.cancel()
        await _cancel(working)


async def _cancel(working: asyncio.Future[None]) -> None:
    working.cancel()
    await asyncio.wait([working], timeout=CANCEL_S)
    if not working.done():
        _log.error("service-stuck", why="the body did not end when it was cancelled", waited_s=CANCEL_S)
        os._exit(EXIT_DRAIN_DEADLINE)


def _handle_signals(life: Life) -> None:
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        if life.stop_requested.is_set():
            _log.warning("service-killed", signal=name)
            os._exit(EXIT_SECOND_SIGNAL)
        _log.info("service-stop-requested", signal=name)
        life.stop_requested_at = time.monotonic()
        life.stop_requested.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)


def _export(life: Life) -> None:
    """Let the metrics of the process tell what its life is at the moment at which they are read."""
    BUILD_INFO.labels(life.service, metadata.version("trunkline-common")).set(1)
    READY.set_function(lambda: not life.not_ready_because())
    DRAIN_DEADLINE_SECONDS.set(life.drain_deadline_s)
    DRAINING_SECONDS.set_function(
        lambda: time.monotonic() - life.stop_requested_at if life.stop_requested.is_set() else 0
    )


async def _watch_loop_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOP_PROBE_S
        await asyncio.sleep(LOOP_PROBE_S)
        LOOP_LAG.observe(max(loop.time() - due, 0))
