"""Shell: keeps the profiles in use as the folder has them, for the calls that begin from then on.

The folder is looked at every `POLL_S` seconds rather than watched by the kernel: a ConfigMap is replaced by
swapping a symlink that none of the files' own directories report. An edit is used once two looks in a row saw
the same, so that a file is not read while an editor writes it. An edit that cannot be used changes nothing.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from trunkline_common import log
from trunkline_worker import metrics
from trunkline_worker.agent import Agent
from trunkline_worker.profile_files import ProfilesError, ProfileSet, profile_paths, read_folder
from trunkline_worker.profiles import Profile
from trunkline_worker.tool_rules import ToolRules

POLL_S: Final = 1.0
"""Somebody who has just saved a profile dials the number within seconds."""

PROBLEMS_LOGGED_MAX: Final = 20
"""`trunkline agents check` shows all of them."""

SWITCH_S: Final = 0.0005
"""Reading YAML keeps the interpreter busy. The calls' thread gets it back within this time instead of 5 ms."""

_Seen = tuple[tuple[str, int, int, int], ...] | None

_log = log.get(__name__)


class WatchedProfiles:
    """Who answers which number, now; `agent_for` is for the start of a call, which keeps what it got."""

    def __init__(self, folder: Path | None, built_in: Agent, rules: ToolRules | None = None) -> None:
        """Read the folder; raise `ProfilesError` when its profiles cannot be used. Without one, serve `built_in`."""
        self._folder = folder
        self._built_in = built_in
        self._rules = rules or ToolRules()
        self._seen: _Seen = None if folder is None else _look(folder)
        self._set = (
            ProfileSet((), built_in) if folder is None else read_folder(folder, built_in, rules=self._rules)
        )
        metrics.AGENTS.set(len(self._set.loaded))
        metrics.AGENTS_OUTDATED.set(0)

    def agent_for(self, called: str) -> Agent:
        """Return the agent that answers a call to this number."""
        return self._set.agent_for(called)

    def profile_for(self, called: str) -> Profile | None:
        """Return the profile of the agent that answers this number; None for the built-in agent."""
        return self._set.profile_for(called)

    async def run(self) -> None:
        """Follow the folder for ever."""
        if self._folder is None:
            await asyncio.Event().wait()
            return
        before = self._seen
        while True:
            await asyncio.sleep(POLL_S)
            now = await asyncio.to_thread(_look, self._folder)
            if now == before and now != self._seen:
                self._seen = now
                await self._reload(self._folder)
            before = now

    async def _reload(self, folder: Path) -> None:
        try:
            self._set = await asyncio.to_thread(
                _read_beside_calls, folder, self._built_in, self._set, self._rules
            )
        except ProfilesError as error:
            metrics.AGENT_RELOADS.labels("refused").inc()
            metrics.AGENTS_OUTDATED.set(1)
            _log.error(
                "agents-refused",
                problems=list(error.problems[:PROBLEMS_LOGGED_MAX]),
                do="correct the profiles; until then new calls get the ones from before the edit",
            )
            return
        metrics.AGENT_RELOADS.labels("loaded").inc()
        metrics.AGENTS_OUTDATED.set(0)
        metrics.AGENTS.set(len(self._set.loaded))
        _log.info("agents-loaded", agents=len(self._set.loaded))


def _read_beside_calls(folder: Path, built_in: Agent, current: ProfileSet, rules: ToolRules) -> ProfileSet:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        return read_folder(folder, built_in, current.loaded, rules)
    finally:
        sys.setswitchinterval(before)


def _look(folder: Path) -> _Seen:
    """Return what changes whenever a profile does; symlinks are followed."""
    try:
        return tuple(_state(path) for path in profile_paths(folder))
    except OSError:
        # Gone, or just being swapped: reading it will tell.
        return None


def _state(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return path.name, status.st_mtime_ns, status.st_size, status.st_ino
