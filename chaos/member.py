"""One service process of the fleet, started again whenever it ends, as Kubernetes would do it."""

import asyncio
import json
import re
import signal
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from chaos.history import History
from chaos.tcp_proxy import TcpProxy
from trunkline_local.processes import Process, trunkline

Kind = Literal["worker", "gateway", "transcripts"]

DRAIN_LIMIT_S: Final = 75.0
"""A service drains within 60 s; then Kubernetes would kill it, and we say so."""

READY_LIMIT_S: Final = 60.0
"""A service starts within 2 s, and comes back to a server within one; on a machine full of calls it takes longer."""
SCRAPE_LIMIT_S: Final = 1.0

_READY: Final = {"worker": r'"worker": "(wk-[\w-]+)"', "gateway": r'"gateway": "(gw-[\w-]+)"'}
"""How a service names itself in its log once it is ready."""


class Member:
    """Runs `trunkline <kind>`; `name` stays the same over its lives, `id` is the present one's on the bus."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        port: int,
        environment: Mapping[str, str],
        links: Mapping[str, Sequence[TcpProxy]],
        folder: Path,
        history: History,
    ) -> None:
        self.name = name
        self.kind = kind
        self.port = port
        self.links = links
        """By the name of what they lead to, `nats` or `model`: one for each of its servers."""
        self.id = ""
        self.is_up = False
        """Ready, and not about to be stopped: what gets new work."""
        self._environment = environment
        self._folder = folder
        self._history = history
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._killed = False
        self._log = _CallsInLog(folder / f"{name}.log")

    async def start(self) -> None:
        """Start the process, and again each time it ends, until `stop` or `retire`."""
        self._keeping = asyncio.create_task(self._keep_running(), name=f"keep-{self.name}")
        await self.wait_until_ready()

    async def wait_until_ready(self) -> None:
        """Wait until the present process, or the one that follows it, is ready; raise what kept it from that."""
        assert self._keeping is not None, "started"
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self._keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._keeping.done():
            self._keeping.result()
        # One that has lost NATS or Postgres lives on, and says when it has found it again.
        await self._running.wait_until_ready(self._readiness_url, READY_LIMIT_S)

    async def kill(self) -> None:
        """Take the process away, SIGKILL; the next one is started at once."""
        self._killed, self.is_up = True, False
        self._ready.clear()
        await self._running.kill()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its sockets and says nothing more."""
        self.is_up = False
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running.send_signal(signal.SIGCONT)
        self.is_up = True

    async def retire(self) -> None:
        """Let the process drain (SIGTERM), start no other, and note how it ended."""
        self.is_up = False
        await self._stop_keeping()
        began_ns = self._history.add("retiring", member=self.name)
        code = await self._running.stop(DRAIN_LIMIT_S)
        at_ns = self._history.add("retired", member=self.name, code=code)
        self._history.add("drained", member=self.name, seconds=round((at_ns - began_ns) / 1e9, 2))

    async def stop(self, limit_s: float) -> None:
        """End it, at the end of the run."""
        await self._stop_keeping()
        if self._process is not None:
            await self._process.stop(limit_s)

    def calls(self) -> set[str]:
        """Return the calls whose stream is open here, by its log: for a gateway. Reads a file."""
        return self._log.live()

    async def stale_frames(self) -> int:
        """Return how many frames of an old fence this gateway has refused; 0 if it does not say."""
        try:
            page = await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}/metrics")
        except OSError:
            return 0
        counted = re.search(r'frames_dropped_total\{reason="stale-fence"\} (\S+)', page)
        return int(float(counted[1])) if counted else 0

    @property
    def _readiness_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/readyz"

    @property
    def _running(self) -> Process:
        assert self._process is not None, "started"
        return self._process

    async def _keep_running(self) -> None:
        while True:
            self._process = await Process.launch(
                self.name, trunkline(self.kind), self._folder, self._environment
            )
            self._history.add("process-started", member=self.name, pid=self._process.pid)
            await self._await_ready(self._process)
            code = await self._process.exited()
            self.is_up = False
            self._ready.clear()
            self._log.forget()
            self._history.add("process-ended", member=self.name, code=code, by_us=self._killed)
            self._killed = False

    async def _await_ready(self, process: Process) -> None:
        # A service that waits for NATS or Postgres is not ready, and need not be restarted for that.
        ready = asyncio.create_task(process.wait_until_ready(self._readiness_url, READY_LIMIT_S))
        exited = asyncio.create_task(process.exited())
        try:
            await asyncio.wait([ready, exited], return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                ready.cancel()
                return
            await ready
        finally:
            ready.cancel()
            exited.cancel()
            await asyncio.gather(ready, exited, return_exceptions=True)
        if self.kind in _READY:
            self.id = (await process.wait_for_line(_READY[self.kind]))[1]
        self._history.add("process-ready", member=self.name, id=self.id)
        self.is_up = True
        self._ready.set()

    async def _stop_keeping(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SCRAPE_LIMIT_S) as answer:  # our own page on loopback
        content: bytes = answer.read()
    return content.decode()


class _CallsInLog:
    """Follows a gateway's log, of which each line is JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._live: set[str] = set()
        self._lock = threading.Lock()

    def live(self) -> set[str]:
        # Asked from several threads, for several workers' calls at once.
        with self._lock:
            self._read()
            return set(self._live)

    def forget(self) -> None:
        """Whatever was live died with its process."""
        with self._lock:
            self._read()
            self._live.clear()

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            written, newline, _unfinished = file.read().rpartition(b"\n")
        self._read_bytes += len(written) + len(newline)
        for text in written.splitlines():
            if text.startswith(b"{") and b'"stream-' in text:
                self._note(json.loads(text))

    def _note(self, line: dict[str, Any]) -> None:
        match line:
            case {"event": "stream-started", "call_id": str(call_id)}:
                self._live.add(call_id)
            case {"event": "stream-ended", "call_id": str(call_id)}:
                self._live.discard(call_id)
