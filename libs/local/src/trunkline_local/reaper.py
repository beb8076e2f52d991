"""Ends what a dead parent left running: a tiny program that holds the other end of its parent's pipe.

The parent writes one JSON list a line: `["watch", process group, signal]` and `["forget", process group]` as
children come and go, `["remove", folder]` and `["keep", folder]` for folders that must not outlive it. When the
pipe closes, whatever is still listed is stopped (the signal, then SIGKILL), and removed.

This file runs by its path with `-I -S`, without the environment's packages, so that it starts in 15 ms: it
imports the standard library only.
"""

import json
import os
import shutil
import signal
import sys
import time

STOP_LIMIT_S = 2.0
"""How long the orphans may take to stop before they are killed: nobody is left who could wait for them."""
CHECK_INTERVAL_S = 0.02
"""Between looks at processes that are not our children, so that no `wait` tells us when they end."""


def main() -> None:
    """Follow the parent's lines until it is gone, then end what is left."""
    # Ctrl-C and a hang-up are meant for the parent; this program goes when the parent has gone.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    folders: set[str] = set()
    for line in sys.stdin:
        match json.loads(line):
            case ["watch", int(group), int(number)]:
                groups[group] = number
            case ["forget", int(group)]:
                groups.pop(group, None)
            case ["remove", str(folder)]:
                folders.add(folder)
            case ["keep", str(folder)]:
                folders.discard(folder)
    end(groups)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def end(groups: dict[int, int]) -> None:
    """Send each process group its stop signal, and SIGKILL to those that are still there after the limit."""
    left = {group for group, number in groups.items() if _signal(group, number)}
    deadline = time.monotonic() + STOP_LIMIT_S
    while left and time.monotonic() < deadline:
        time.sleep(CHECK_INTERVAL_S)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Return whether the group was there to be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers the second for a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
