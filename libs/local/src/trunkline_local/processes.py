"""Child processes of the local system: started with a log of their own, awaited until ready, stopped for sure.

No child outlives us. Each one runs in a process group of its own, so that Ctrl-C reaches only the parent, which
then stops its children in order; `lifeline.py` stops them when the parent dies before it could.
"""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sysconfig
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from trunkline_local.lifeline import lifeline

READY_LIMIT_S: Final = 60.0
"""A service imports and connects within 1–2 s; a loaded CI machine may be ten times slower."""
STOP_LIMIT_S: Final = 10.0
"""How long a child may take to stop by itself before it is killed."""
PROBE_INTERVAL_S: Final = 0.01
"""Between looks at a child that is starting. The wait ends at once when the child exits instead."""
ANSWER_LIMIT_S: Final = 2.0
"""How long one question about readiness may take; the next one may find the service awake."""
ANSWER_BYTES_MAX: Final = 500
"""What an error shows of the last answer, which says what is missing."""
LOG_TAIL_LINES: Final = 20
LOG_TAIL_BYTES: Final = 8192
"""What an error shows of a log: enough for a traceback, not more than a screen."""

_SCRIPTS_FOLDER: Final = Path(sysconfig.get_path("scripts"))
_OUR_VARIABLES: Final = re.compile(
    r"(NATS|OPENAI|TWILIO|TRUNKLINE|DATABASE|OTEL)_.*|(PUBLIC_URL|HOST|PORT|METRICS_PORT|LOG_LEVEL)(_FILE)?"
)

T = TypeVar("T")


class ProcessError(RuntimeError):
    """A child exited or stalled before it was ready; the message ends with the last lines of its log."""


def trunkline(*arguments: str) -> list[str]:
    """Return the command line of our own command, from this interpreter's environment whatever PATH says."""
    return [str(_SCRIPTS_FOLDER / "trunkline"), *arguments]


def free_port() -> int:
    """Return a loopback TCP port that the kernel will not give to anybody else for the next half minute.

    A connection to itself leaves the port in TIME_WAIT: searches for a free port (bind to port 0, connect) pass
    over it, but a server that asks for it by number with SO_REUSEADDR, as every server of ours does, gets it.
    TIME_WAIT lasts 60 s on Linux and 30 s on macOS. The call blocks for some 0.1 ms.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = listener.accept()
            # The side that closes first is the one that keeps TIME_WAIT: it must be the server's.
            accepted.close()
            client.recv(1)
    return address[1]


class Process:
    """One child process: `async with Process.start("gateway", trunkline("gateway"), folder) as gateway`."""

    def __init__(
        self, name: str, child: subprocess.Popen[bytes], log: "_Log", stop_signal: signal.Signals
    ) -> None:
        self.name = name
        self.pid = child.pid
        self._child = child
        self._log = log
        self._stop_signal = stop_signal
        # A concurrent future belongs to no event loop: a server may outlive the loop that started it. Marked as
        # running it cannot be cancelled by somebody who only stopped waiting for it.
        self._exit_code: Future[int] = Future()
        self._exit_code.set_running_or_notify_cancel()
        threading.Thread(target=self._await_exit, name=f"wait-{name}", daemon=True).start()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> AsyncIterator["Process"]:
        """Run `command` inside the `async with` block and stop it at the end; arguments as for `launch`."""
        process = await cls.launch(name, command, folder, environment)
        try:
            yield process
        finally:
            await process.stop()

    @classmethod
    async def launch(
        cls,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        working_folder: Path | None = None,
        user_id: int | None = None,
        group_id: int | None = None,
    ) -> "Process":
        """Start `command`, its output appended to `<folder>/<name>.log`; the caller must `stop` it.

        `environment` is added to ours, less every setting of a service that our own shell may hold: a leftover
        NATS_URL must not lead the demo to a real system.
        Raises `OSError` when the program cannot be executed.
        """

        log_path = folder / f"{name}.log"

        def spawn() -> "Process":
            folder.mkdir(parents=True, exist_ok=True)
            lifeline.prepare()
            with log_path.open("ab") as output:
                log = _Log(log_path, output.tell())
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=working_folder,
                    env=_inherited_environment() | dict(environment or {}),
                    process_group=0,
                    user=user_id,
                    group=group_id,
                    extra_groups=None if user_id is None else (),
                )
            lifeline.add_process(child.pid, stop_signal)
            return Process(name, child, log, stop_signal)

        spawning = asyncio.create_task(asyncio.to_thread(spawn))
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # The child is started all the same, and nobody else would know it.
            await (await spawning).kill()
            raise

    @property
    def log_path(self) -> Path:
        """Where its output goes, after that of earlier runs in the same folder."""
        return self._log.path

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal as in `subprocess`; None while the process runs."""
        return self._exit_code.result() if self._exit_code.done() else None

    async def exited(self) -> int:
        """Wait until the process has ended and return its exit code; cancelling the wait is harmless."""
        await self._wait_for_exit(None)
        return self._exit_code.result()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, e.g. SIGSTOP and SIGCONT; does nothing when it has ended."""
        self._child.send_signal(number)

    async def stop(self, limit_s: float = STOP_LIMIT_S) -> int:
        """Ask the process to stop, kill it and its group after `limit_s`, and return the exit code."""
        try:
            self.send_signal(self._stop_signal)
            self.send_signal(signal.SIGCONT)  # a process frozen by a test could not obey
            if not await self._wait_for_exit(limit_s):
                await self.kill()
        except asyncio.CancelledError:
            await self.kill()
            raise
        return self._exit_code.result()

    async def kill(self) -> int:
        """Kill the process and whatever it started in its group, as a crash would, and return the exit code."""
        if not self._exit_code.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return await self.exited()

    async def wait_until_ready(self, url: str, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until `url`, a service's `/readyz`, answers 200; `ProcessError` on exit or after `limit_s`."""
        answer = "none"

        async def is_ready() -> bool:
            nonlocal answer
            try:
                status, body = await asyncio.to_thread(_get, url)
            except (OSError, http.client.HTTPException):
                return False
            answer = f"{status} {body}"
            return status == HTTPStatus.OK

        await self.wait_until(is_ready, lambda: f"{url} to answer 200 (last answer: {answer})", limit_s)

    async def wait_for_line(self, pattern: str, limit_s: float = READY_LIMIT_S) -> re.Match[str]:
        """Wait for output that matches `pattern` (a regular expression) and return the match."""

        return await self.wait_until(
            lambda: asyncio.to_thread(self._log.search, pattern), lambda: f"a line like {pattern!r}", limit_s
        )

    async def wait_until(
        self, probe: Callable[[], Awaitable[T | None]], goal: Callable[[], str], limit_s: float
    ) -> T:
        """Repeat `probe` until it returns something true, and return that.

        Raises `ProcessError`, naming `goal()`, when the process exits first or `limit_s` has passed.
        """
        try:
            async with asyncio.timeout(limit_s):
                while not (result := await probe()):
                    if await self._wait_for_exit(PROBE_INTERVAL_S):
                        raise await self.error(f"exited with code {self.exit_code}, awaiting {goal()}")
                return result
        except TimeoutError:
            raise await self.error(f"waited {limit_s} s for {goal()}") from None

    async def error(self, what: str) -> ProcessError:
        """Return an error about this process that ends with the last lines of its log."""
        tail = await asyncio.to_thread(self._log.tail)
        return ProcessError(f"{self.name}: {what}\nlast lines of {self.log_path}:\n{tail or '(nothing)'}")

    async def _wait_for_exit(self, limit_s: float | None) -> bool:
        exit_code = asyncio.wrap_future(self._exit_code)
        try:
            await asyncio.wait([exit_code], timeout=limit_s)
        finally:
            exit_code.cancel()
        return self._exit_code.done()

    def _await_exit(self) -> None:
        self._exit_code.set_result(self._child.wait())
        lifeline.drop_process(self.pid)


@dataclass(frozen=True, slots=True)
class _Log:
    """What one run has written to a file that may hold earlier runs."""

    path: Path
    start_bytes: int

    def search(self, pattern: str) -> re.Match[str] | None:
        with self.path.open("rb") as file:
            file.seek(self.start_bytes)
            written, _, _unfinished_line = file.read().rpartition(b"\n")
        return re.search(pattern, written.decode(errors="replace"), re.MULTILINE)

    def tail(self) -> str:
        with self.path.open("rb") as file:
            end_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(self.start_bytes, end_bytes - LOG_TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _get(url: str) -> tuple[int, str]:
    """Return the status and the first bytes of the body; httpx would cost every command 0.4 s of imports."""
    address = urlsplit(url)
    assert address.hostname, "our own URLs name their host"
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_LIMIT_S)
    with contextlib.closing(connection):
        connection.request("GET", address.path)
        response = connection.getresponse()
        return response.status, response.read(ANSWER_BYTES_MAX).decode(errors="replace")


def _inherited_environment() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not _OUR_VARIABLES.fullmatch(key)}
    # Output to a file is buffered otherwise, and the last lines of a killed service would be lost.
    return inherited | {"PYTHONUNBUFFERED": "1"}
