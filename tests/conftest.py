"""Guard rails of the whole suite: what no test may do, whatever it tests.

A coroutine may not block the event loop, and nothing may log an error that the test did not ask for. Warnings,
unknown markers and hung tests fail by pytest's own settings, see pyproject.toml.
"""

import asyncio
import inspect
import logging
from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from blockbuster import blockbuster_ctx

pytest_plugins = ["infra"]

# How fast an example runs says nothing about it on a shared machine.
hypothesis.settings.register_profile(
    "trunkline",
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("trunkline")

OUR_PACKAGES = [
    "trunkline_common",
    "trunkline_gateway",
    "trunkline_worker",
    "trunkline_transcripts",
    "trunkline_simulators",
    "trunkline_local",
]
"""Only what these call is watched, the libraries below them included; a test itself may read a file."""


class ErrorLogs:
    """The errors that were logged during one test."""

    def __init__(self) -> None:
        self._records: list[logging.LogRecord] = []
        self._expected: list[str] = []

    def expect(self, text: str) -> None:
        """Require at least one error that contains `text`, and allow any number of them."""
        self._expected.append(text)

    def add(self, record: logging.LogRecord) -> None:
        if (record.levelno or 0) >= logging.ERROR:
            self._records.append(record)

    def complaint(self) -> str | None:
        """Return what is wrong: errors that nobody asked for, or errors that did not come."""
        messages = [f"{record.name}: {record.getMessage()}" for record in self._records]
        unexpected = [message for message in messages if not any(text in message for text in self._expected)]
        missing = [text for text in self._expected if not any(text in message for message in messages)]
        lines = [f"unexpected error log: {message}" for message in unexpected]
        return "\n".join([*lines, *(f"no error log with {text!r}" for text in missing)]) or None


@pytest.fixture(autouse=True)
def error_logs() -> Iterator[ErrorLogs]:
    """Fail the test that logs an ERROR; a test that means to cause one calls `error_logs.expect("words of it")`."""
    logs = ErrorLogs()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    make_record = logging.getLogRecordFactory()

    # Where records are made, not in a handler: a service that configures its logs replaces the handlers.
    def make_watched_record(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = make_record(*args, **kwargs)
        logs.add(record)
        return record

    logging.setLogRecordFactory(make_watched_record)
    _send_structlog_through_logging()
    yield logs
    logging.setLogRecordFactory(make_record)
    root.handlers = handlers
    root.setLevel(level)
    if complaint := logs.complaint():
        pytest.fail(complaint)


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail when a coroutine of ours sleeps, reads a file or waits for a lock while it holds the event loop."""
    if not _is_async(request):
        yield
        return
    with blockbuster_ctx(OUR_PACKAGES) as blockbuster:
        for call in ("os.stat", "io.TextIOWrapper.read"):
            # asyncpg looks for ~/.pgpass at each connect, if it was given no password.
            blockbuster.functions[call].can_block_in("asyncpg/connect_utils.py", "_read_password_file")
        for call in ("connect", "accept", "recv"):
            # It talks to itself: its own listener answers within the same call.
            blockbuster.functions[f"socket.socket.{call}"].can_block_in(
                "trunkline_local/processes.py", "free_port"
            )
        yield


@pytest.fixture(autouse=True)
def event_loop_debug(request: pytest.FixtureRequest) -> None:
    """Let asyncio check itself, except in e2e, which runs in real time: a message costs ten times as much."""
    if _is_async(request) and "e2e" not in request.path.parts:
        request.getfixturevalue("event_loop_in_debug_mode")


@pytest.fixture
async def event_loop_in_debug_mode() -> None:
    """Find calls from foreign threads and show where a task was made (asyncio: Developing, Debug Mode)."""
    asyncio.get_running_loop().set_debug(True)


def _is_async(request: pytest.FixtureRequest) -> bool:
    return inspect.iscoroutinefunction(getattr(request, "function", None))


def _send_structlog_through_logging() -> None:
    # As in a service, except that the lines stay with pytest's handlers.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    structlog.contextvars.clear_contextvars()
