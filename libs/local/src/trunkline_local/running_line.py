"""How `trunkline call` finds the system that `trunkline up` runs: a small private file.

It holds the simulated account's token, so only this user may read it.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trunkline_local.system import Line, System


class AlreadyRunningError(RuntimeError):
    """Another `trunkline up` of this user is alive."""


class NotRunningError(RuntimeError):
    """No `trunkline up` of this user is alive."""


@dataclass(frozen=True, slots=True)
class RunningLine:
    """What a caller needs to know of a running system."""

    pid: int
    line: Line
    nats_url: str
    database_url: str
    folder: Path

    @classmethod
    def find(cls) -> Self:
        """Return the running system; raise `NotRunningError` when there is none."""
        try:
            found = json.loads(_path().read_text())
        except FileNotFoundError:
            raise NotRunningError("nothing is running; start it with: trunkline up") from None
        if not _is_alive(found["pid"]):
            raise NotRunningError("what was running has died; start it again with: trunkline up")
        return cls(
            found["pid"],
            Line(**found["line"]),
            found["nats_url"],
            found["database_url"],
            Path(found["folder"]),
        )


def check_that_none_runs() -> None:
    """Raise `AlreadyRunningError` when another system of this user is alive."""
    try:
        other = RunningLine.find()
    except NotRunningError:
        return
    raise AlreadyRunningError(f"a system is running already (process {other.pid}); call it, or stop it first")


@contextmanager
def announced(system: System) -> Iterator[None]:
    """Let `trunkline call` find this system inside the block."""
    path = _path()
    check_that_none_runs()
    path.unlink(missing_ok=True)
    announcement = {
        "pid": os.getpid(),
        "line": asdict(system.line),
        "nats_url": system.nats_url,
        "database_url": system.database_url,
        "folder": str(system.folder),
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(announcement, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _path() -> Path:
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"trunkline-up-{os.getuid()}.json"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
