"""Virtual time for one call: everything that happens is drawn from one seed, and every step is checked."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from call_world import doings
from call_world.checks import Checks
from call_world.line import LATE_MS_MAX, Line
from call_world.model import ModelSession
from call_world.owners import Owners, new_call
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent, ServerVad
from trunkline_worker.call_life import State
from trunkline_worker.limits import Limits

STARTS_AT = 1_000.0
CALL_S_MAX = 200.0
"""Every call of this world is over long before."""

TICKS_MAX = 5_000
"""A call that wants to be woken more often is busy with nothing."""

STEPS_SHOWN = 60


class World:
    """One call with its caller, its line and its model."""

    def __init__(self, seed: int, *, owners_change: bool = False) -> None:
        self.seed = seed
        self.call_id = f"CA{seed:032x}"
        self.random = random.Random(seed)
        self.now = STARTS_AT
        # From a source of its own: a seed's line and model stay what they were before there were these options.
        self.options = options = random.Random(f"options of {seed}")
        self.watch = random.Random(f"watch of {seed}")
        self.agent = Agent(
            audio_path="pcm24k" if self.random.random() < 0.05 else "pcmu",
            turn_detection=ServerVad(idle_timeout_ms=options.choice([None, None, None, 5_000])),
            listen_during_greeting=options.random() < 0.75,
            min_speech_ms=options.choice([0, 0, 0, 250, 400]),
            filler=options.choice(["none", "soft"]),
        )
        self.doings = doings.Doings(self) if seed % 7 == 6 else None
        if self.doings is not None:
            self.agent = doings.able(self.agent)
        if seed % 5 == 4:
            self.agent = replace(self.agent, limits=Limits(minutes=0.1, silence_s=2.0))
        self.session_max_s = self.random.choice([10.0, 3_300.0, 3_300.0, 3_300.0])
        self.owners = Owners(self) if owners_change else None
        self.generation = 0
        self.is_kind = False
        self.voice = b"\x33"
        self.abandoned = False
        """The call lost its worker and its line: no core is left to end it."""
        self.call = new_call(self)
        self.line = Line(self)
        self.sessions: dict[int, ModelSession] = {}
        self.session: ModelSession | None = None
        """The one in use."""
        self.seen: Counter[str] = Counter()
        """What happened, to show that the seeds reach what they should."""
        self._steps: deque[tuple[float, object, list[commands.Command]]] = deque(maxlen=STEPS_SHOWN)
        self._checks = Checks(self)
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    @property
    def ended(self) -> bool:
        """The call is over."""
        return self.call.state is State.ENDED

    @property
    def ids_from(self) -> int:
        """No two workers' sessions make the same ids."""
        return 100 * self.owners.changes if self.owners else 0

    def last_steps(self) -> str:
        """Return what happened last, without the caller's frames, one event on a line."""
        return "\n".join(
            f"{at - STARTS_AT:8.3f} {_short(cause)} -> {', '.join(map(_short, following)) or '-'}"
            for at, cause, following in self._steps
        )

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Let something happen later."""
        self.at(self.now + delay_s, action)

    def at(self, at: float, action: Callable[[], object]) -> None:
        """Let something happen at this time; of two things at one time the older is first."""
        heapq.heappush(self._agenda, (max(at, self.now), next(self._order), action))

    def saw(self, what: str) -> None:
        """Remember that this happened."""
        self.seen[what] += 1

    def run(self) -> None:
        """Let the call happen, from the offer until nothing moves any more."""
        self._follow("start", self.call.start(self.now))
        self.line.begin()
        if self.owners is not None:
            self.owners.begin()
        if self.random.random() < 0.03:
            self.after(self.random.uniform(0, 12), lambda: self.tell(events.WorkerStopping()))
        if self.random.random() < 0.2:
            self.after(self.random.uniform(0, 12), lambda: self.tell(events.Tick()))
        ticks = 0
        while True:
            wake_at = None if self._nobody_owns else self.call.wake_at()
            next_at = self._agenda[0][0] if self._agenda else None
            if wake_at is not None and (next_at is None or wake_at <= next_at):
                ticks += 1
                assert ticks < TICKS_MAX, "the call keeps itself busy"
                self.now = max(self.now, wake_at + self.random.choice([0, 0, 0, 0.0004, LATE_MS_MAX / 1000]))
                self.tell(events.Tick())
                due_again = self.call.wake_at()
                assert due_again is None or due_again > self.now, "due again at once"
            elif next_at is not None:
                self.now = max(self.now, next_at)
                heapq.heappop(self._agenda)[2]()
            else:
                break
            assert self.now < STARTS_AT + CALL_S_MAX, (
                f"still {self.call.state} with the link {self.call.link}"
            )
        if self.abandoned:
            return
        self._checks.at_the_end()
        if self.doings is not None:
            self.doings.check_at_the_end()

    @property
    def _nobody_owns(self) -> bool:
        return self.owners is not None and self.owners.away

    def owner_gone(self) -> None:
        """The worker is no more, and its sessions with it."""
        for session in self.sessions.values():
            session.closed, session.alive = True, False
        self.sessions, self.session = {}, None
        self._checks.owner_gone()
        if self.doings is not None:
            self.doings.owner_gone()

    def new_owner(self) -> None:
        """Another worker gets ready."""
        self.call = new_call(self)
        self._follow("stand by", self.call.stand_by(self.now))

    def hear(self, session: ModelSession, event: events.ModelEvent) -> None:
        """Hear a session; of a worker that is no more, nobody reads the sockets."""
        if self.sessions.get(session.number) is session:
            self.tell(event)

    def tell(self, event: events.Event) -> None:
        """Give the call an event, check what follows, and let it happen."""
        if self.owners is not None and not self.owners.heard(event):
            if isinstance(event, events.MarkPlayed):
                self._checks.before(event)
            return
        self.tell_again(event)

    def tell_again(self, event: events.Event) -> None:
        """Give the call an event that its gateway has kept."""
        self._checks.before(event)
        self._follow(event, self.call.handle(event, self.now))

    def _follow(self, cause: object, following: list[commands.Command]) -> None:
        if not isinstance(cause, events.CallerAudio):
            self._steps.append((self.now, cause, following))
        self._checks.start_step(cause)
        for command in following:
            self._checks.command(command)
            self._perform(command)
            if self.doings is not None:
                self.doings.follow(command)
            if self.owners is not None:
                self.owners.follow(command)
        self._checks.end_step()

    def _perform(self, command: commands.Command) -> None:
        match command:
            case commands.OpenSession(number):
                self.sessions[number] = ModelSession(self, number)
                self.sessions[number].open()
            case commands.UseSession(number):
                self.session = self.sessions[number]
            case commands.CloseSession(number):
                # A shell reports nothing more of a closed session; the core must not rely on that.
                self.sessions[number].closed = True
                if self.random.random() < 0.5:
                    self.sessions[number].alive = False
            case commands.SendToModel(event, number):
                session = self.session if number is None else self.sessions[number]
                assert session is not None
                session.take(event)
            case commands.Play():
                self.line.play(command)
            case commands.PutMark():
                self.line.put_mark(command)
            case commands.ClearPlayback(generation):
                self.generation = generation
                self.line.clear()
            case commands.AskForRedirect():
                self.after(0.01, lambda: self.tell(events.RedirectAnswered("nobody")))


def _short(thing: object) -> str:
    text = repr(thing)
    return text if len(text) < 160 else f"{text[:120]}…{text[-30:]}"
