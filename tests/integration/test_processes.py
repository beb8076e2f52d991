import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from infra import MS

from trunkline_local.processes import Process, ProcessError, free_port, trunkline

# A stand-in for a service: answers 503 to the first requests and 200 from the third on.
SLOW_SERVICE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    requests = 0
    def do_GET(self):
        Handler.requests += 1
        self.send_response(200 if Handler.requests > int(sys.argv[2]) else 503)
        self.end_headers()
        self.wfile.write(b"nats is not reachable")
    def log_message(self, *_):
        pass
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# Connects to the port in argv[1] and waits for ever; says there when it is asked to stop.
TETHERED = """
import signal, socket, sys
tether = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def stop(number, frame):
    tether.sendall(b"asked to stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
tether.sendall(b"ready\\n")
signal.pause()
"""

# A parent that starts the program in argv[2] with the argument argv[1], and then never stops it.
CARELESS_PARENT = """
import asyncio, pathlib, signal, sys
from trunkline_local.processes import Process
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite run by nohup hands it down ignored
signal.signal(signal.SIGINT, signal.default_int_handler)  # and one in the background of a shell, this
async def main():
    child = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
    await Process.launch("child", child, pathlib.Path(sys.argv[3]))
    await asyncio.Event().wait()
asyncio.run(main())
"""

WAITING = "import signal; print('calls on port 80', flush=True); signal.pause()"

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
signal.pause()
"""


async def test_a_service_is_ready_when_readyz_answers_200(tmp_path: Path) -> None:
    port = free_port()
    async with Process.start("slow", [*_python(SLOW_SERVICE), str(port), "2"], tmp_path) as service:
        await service.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        assert service.exit_code is None
    assert service.exit_code == -signal.SIGTERM


async def test_a_service_that_never_gets_ready_tells_its_last_answer_and_its_log(tmp_path: Path) -> None:
    port = free_port()
    async with Process.start("slow", [*_python(SLOW_SERVICE), str(port), "1000000"], tmp_path) as service:
        await service.wait_for_line("listening")
        with pytest.raises(ProcessError, match=r"(?s)503 nats is not reachable.*slow\.log:\nlistening"):
            await service.wait_until_ready(f"http://127.0.0.1:{port}/readyz", limit_s=300 * MS)


async def test_a_service_that_exits_instead_is_noticed_at_once(tmp_path: Path) -> None:
    program = "import sys; print('DATABASE_URL is missing'); sys.exit(2)"
    async with Process.start("store", _python(program), tmp_path) as service:
        with pytest.raises(ProcessError, match=r"(?s)store: exited with code 2.*DATABASE_URL is missing"):
            await service.wait_until_ready(f"http://127.0.0.1:{free_port()}/readyz")


async def test_a_line_of_output_is_awaited(tmp_path: Path) -> None:
    async with Process.start("speaker", _python(WAITING), tmp_path) as speaker:
        line = await speaker.wait_for_line(r"calls on port (\d+)$")
        assert line[1] == "80"


async def test_only_this_run_is_searched_in_a_log_of_several(tmp_path: Path) -> None:
    async with Process.start("twice", _python("print('first')"), tmp_path) as first:
        assert await first.exited() == 0

    async with Process.start("twice", _python("print('second')"), tmp_path) as second:
        with pytest.raises(ProcessError):
            await second.wait_for_line("first")
    assert second.log_path.read_text() == "first\nsecond\n"


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async with Process.start("deaf", _python(STUBBORN), tmp_path) as deaf:
        await deaf.wait_for_line("deaf")
        assert await deaf.stop(limit_s=100 * MS) == -signal.SIGKILL


async def test_a_frozen_process_can_still_be_stopped(tmp_path: Path) -> None:
    async with Process.start("frozen", _python(WAITING), tmp_path) as frozen:
        await frozen.wait_for_line("calls")
        frozen.send_signal(signal.SIGSTOP)
        assert await frozen.stop() == -signal.SIGTERM


async def test_our_own_command_is_found_without_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    async with Process.start("version", trunkline("--version"), tmp_path) as process:
        await process.wait_for_line(r"^trunkline, version \d+\.")


async def test_settings_of_the_shell_do_not_reach_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://production.example")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN_FILE", "/run/secrets/token")
    monkeypatch.setenv("LC_PAPER", "an inherited one")

    program = _python("import os; print(*(f'{key}={value}' for key, value in os.environ.items()), sep='\\n')")
    async with Process.start("env", program, tmp_path, {"PORT": "0"}) as process:
        await process.exited()

    environment = process.log_path.read_text().splitlines()
    assert {"PORT=0", "LC_PAPER=an inherited one"} <= set(environment)
    assert not [line for line in environment if line.startswith(("NATS_URL", "TWILIO"))]


async def test_nothing_is_left_when_a_start_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    async with Process.start("warm-up", _python(""), tmp_path):  # so that only the child is recorded
        monkeypatch.setattr(subprocess, "Popen", Recorded)
    launching = asyncio.create_task(Process.launch("child", _python(WAITING), tmp_path))
    await asyncio.sleep(0)  # it begins
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching

    assert [child.returncode for child in started] == [-signal.SIGKILL]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
async def test_children_are_stopped_when_their_parent_dies(tmp_path: Path, fault: signal.Signals) -> None:
    async with _tether() as (port, connections):
        command = [*_python(CARELESS_PARENT), str(port), TETHERED, str(tmp_path)]
        async with Process.start("parent", command, tmp_path) as parent:
            reader = await connections.get()
            assert await reader.readline() == b"ready\n"

            parent.send_signal(fault)

            # The end of the connection is the end of the child.
            async with asyncio.timeout(10_000 * MS):
                assert await reader.read() == b"asked to stop"


async def test_a_deaf_child_is_killed_when_its_parent_dies(tmp_path: Path) -> None:
    deaf = TETHERED.replace(
        "signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    )
    async with _tether() as (port, connections):
        command = [*_python(CARELESS_PARENT), str(port), deaf, str(tmp_path)]
        async with Process.start("parent", command, tmp_path) as parent:
            reader = await connections.get()
            assert await reader.readline() == b"ready\n"

            await parent.kill()

            async with asyncio.timeout(20_000 * MS):
                assert await reader.read() == b""


def test_a_free_port_is_free_for_a_server_that_names_it() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port


def test_a_free_port_is_given_to_nobody_else() -> None:
    reserved = {free_port() for _ in range(50)}
    assert len(reserved) == 50

    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(500)]
        assert reserved.isdisjoint(other.getsockname()[1] for other in others)


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@contextlib.asynccontextmanager
async def _tether() -> AsyncIterator[tuple[int, asyncio.Queue[asyncio.StreamReader]]]:
    """Listen for processes that stay connected for as long as they live."""
    connections: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    writers = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connections.put_nowait(reader)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1], connections
        finally:
            for writer in writers:
                writer.close()
