"""The modelled fleet: the call's worker dies or lets go, and another one goes on.

What a gateway does with a live call is done here: it keeps the newest checkpoint, the caller's frames since then and
the newest marks, and gives them to the next owner, with what the event log holds by then.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from trunkline_common.call_events import CallEvent
from trunkline_common.frames import CALLER_KEPT_MS_MAX
from trunkline_worker import checkpoint, commands, events
from trunkline_worker.call import Call
from trunkline_worker.call_life import State

if TYPE_CHECKING:
    from call_world.world import World

CHANGES_MAX = 3
LOG_LAG_EVENTS_MAX = 2
"""Events that were under way to the log when their writer died."""


class Owners:
    """One worker after another."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = world.options
        self.changes = 0
        self.away = False
        """Nobody owns the call."""
        self.lost_items: set[str] = set()
        """Turns whose events died with their writer."""
        self._log: list[CallEvent] = []
        self._newest: commands.SendCheckpoint | None = None
        self._ring: deque[events.Event] = deque()
        self._mark_sent = self._mark_played = ""
        self._measured: events.LineMeasured | None = None
        self._stream: object = None
        self._left: object = None
        """The stream that carried the call when its owner was gone."""

    def begin(self) -> None:
        """Draw when workers die, or are to stop."""
        for _ in range(self._draw.choice([1, 1, 2, CHANGES_MAX])):
            lets_go = self._draw.random() < 0.4
            self._world.after(self._draw.uniform(0.3, 14), self._ask if lets_go else self._die)

    def heard(self, event: events.Event) -> bool:
        """Note what the gateway hears of the line; return whether there is an owner to tell."""
        if self._world.line.stream is not self._stream:
            self._stream = self._world.line.stream
            self._ring.clear()
            self._mark_sent = self._mark_played = ""
        match event:
            case events.MarkPlayed(name):
                self._mark_played = name
            case events.LineMeasured():
                self._measured = event
            case events.CallerAudio() | events.KeyPressed():
                self._ring.append(event)
        return not self.away

    def follow(self, command: commands.Command) -> None:
        """Note what the owner says."""
        match command:
            case commands.Record(event):
                self._log.append(event)
            case commands.PutMark(_, name):
                self._mark_sent = name
            case commands.SendCheckpoint():
                self._newest = command
                self._ring = deque(each for each in self._ring if isinstance(each, events.CallerAudio))
                self._prune(command.needed_from_ms)
            case commands.LetGo():
                self._world.saw("let go")
                self._change("handover", self._draw.choice([0.0, 0.002]))

    def _prune(self, needed_from_ms: int) -> None:
        while self._ring and isinstance(self._ring[0], events.CallerAudio):
            first = self._ring[0]
            if first.t_ms + len(first.ulaw) // 8 > needed_from_ms:
                return
            self._ring.popleft()

    def _ask(self) -> None:
        if not self.away and self._world.call.state is State.TALKING and self._world.line.is_up:
            self._world.tell(events.YieldAsked())

    def _die(self) -> None:
        if self.away or self._world.call.state is not State.TALKING or not self._world.line.is_up:
            return
        lag = self._draw.randint(0, min(LOG_LAG_EVENTS_MAX, len(self._log)))
        for event in self._log[len(self._log) - lag :]:
            self.lost_items.add(getattr(event, "item_id", ""))
        del self._log[len(self._log) - lag :]
        self._world.saw("worker died")
        self._change("worker-lost", self._draw.choice([0.05, 0.2, 0.8, 1.4]))

    def _change(self, cause: str, after_s: float) -> None:
        self.away = True
        self._left = self._world.line.stream
        self.changes += 1
        self._world.owner_gone()
        self._world.after(after_s, lambda: self._next(cause))

    def _next(self, cause: str) -> None:
        world = self._world
        if not self._has_stream:
            world.abandoned = True
            return
        world.new_owner()
        world.after(self._draw.choice([0.0, 0.01]), lambda: self._own(cause))

    @property
    def _has_stream(self) -> bool:
        """The stream of the owner before is there: on another one, a call goes on from its log alone."""
        return self._world.line.is_up and self._world.line.stream is self._left

    def _own(self, cause: str) -> None:
        world = self._world
        if not self._has_stream:
            world.abandoned = True
            return
        newest = self._newest
        told = checkpoint.decode(checkpoint.encode(newest.checkpoint)) if newest else None
        self.away = False
        world.tell(
            events.Owned(
                "gw-1",
                "MZ1",
                checkpoint.joined(checkpoint.of_log(self._log), told),
                cause,
                "1.1",
                world.generation,
                self._mark_sent,
                self._mark_played,
                round(world.line.unplayed_ms),
            )
        )
        if self._measured is not None:
            world.tell(self._measured)
        kept = list(self._ring)
        audio = [each for each in kept if isinstance(each, events.CallerAudio)]
        oldest_ms = audio[-1].t_ms - CALLER_KEPT_MS_MAX if audio else 0
        for event in kept:
            if not isinstance(event, events.CallerAudio) or event.t_ms >= oldest_ms:
                world.tell_again(event)


def new_call(world: World) -> Call:
    """Return a call that stands by at another worker."""
    return Call(
        world.call_id,
        "+15550001",
        "+15550002",
        f"wk-{1 + world.owners.changes if world.owners else 1}",
        world.agent,
        "polyphase",
        world.session_max_s,
    )
