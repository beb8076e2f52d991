"""The pipe that ties our children's lives to ours: when it closes, `reaper.py` at its other end stops them.

A parent that stops its children itself takes them off the list first. The list is for a parent that cannot:
SIGKILL, a crash, a closed terminal. This works alike on Linux and macOS. Linux's PR_SET_PDEATHSIG would not do:
it fires when the *thread* that forked ends, and we fork in worker threads to keep the event loop free.
"""

import atexit
import contextlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from trunkline_local import reaper

EXIT_LIMIT_S: Final = 1.0
"""A reaper with nothing to do ends within milliseconds; a fork of ours that holds the pipe may keep it."""


class Lifeline:
    """What must not outlive this process; safe to call from any thread."""

    def __init__(self) -> None:
        self._reaper: subprocess.Popen[str] | None = None
        self._listed: set[int | str] = set()
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Start the reaper, so that adding a child a moment later cannot fail for want of a process."""
        with self._lock:
            if self._reaper is None:
                self._reaper = subprocess.Popen(
                    [sys.executable, "-I", "-S", reaper.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
                atexit.register(self._close)

    def add_process(self, group: int, stop_signal: signal.Signals) -> None:
        """When we die, send the process group `stop_signal`, and SIGKILL if it does not go."""
        self._listed.add(group)
        self._tell("watch", group, stop_signal.value)

    def drop_process(self, group: int) -> None:
        """Note that the process group has ended."""
        self._listed.discard(group)
        self._tell("forget", group)

    def add_folder(self, folder: Path) -> None:
        """When we die, remove the folder after the processes have ended."""
        self._listed.add(str(folder))
        self._tell("remove", str(folder))

    def drop_folder(self, folder: Path) -> None:
        """Note that the folder has been removed."""
        self._listed.discard(str(folder))
        self._tell("keep", str(folder))

    def _tell(self, *line: str | int) -> None:
        self.prepare()
        with self._lock:
            assert self._reaper is not None, "prepared above"
            print(json.dumps(line), file=self._reaper.stdin, flush=True)

    def _close(self) -> None:
        assert self._reaper is not None, "registered once started"
        assert self._reaper.stdin is not None, "started with a pipe"
        self._reaper.stdin.close()
        # What is still listed are children of ours, which stay zombies for as long as we wait for the reaper
        # that waits for them. So it is left to finish alone, and declared done to keep `subprocess` silent.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._reaper.wait(timeout=0 if self._listed else EXIT_LIMIT_S)
        self._reaper.returncode = self._reaper.returncode or 0


lifeline = Lifeline()
"""The one of this process."""
