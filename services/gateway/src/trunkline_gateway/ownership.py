"""Pure: who owns a live call, as the gateway with Twilio's socket sees it.

    HELD ──lost, or let go──▶ SEEKING ──taken, or the owner is back──▶ HELD
      └──MOVE──▶ MOVING ──candidate ready, owner let go──▶ HELD
                   └──lost──▶ the candidate takes over at once, or SEEKING

* One owner at a time, and each under a fence that was never given before.
* Whether the owner can be reached is another question: while the link is broken, it is `cut off`.
* Time without an owner that can be reached has a limit; after it the stream is given up.
"""

from enum import Enum
from typing import Final, NamedTuple

from trunkline_common.control import AssignKind
from trunkline_common.frames import Fence
from trunkline_gateway.events import AskWorkers, HandoverOver, TakeoverOver, Unwatch, Watch
from trunkline_gateway.reasons import HandoverResult, Loss, TakeoverResult

OWNERLESS_S_MAX: Final = 20.0
"""Callers hang up sooner than this; then whatever is configured for a call that we cannot serve is better."""

READY_S_MAX: Final = 8.0
"""For a candidate to open and restore its session: its own limit for that is 6 s."""

LET_GO_S_MAX: Final = 12.0
"""An owner waits 10 s for a quiet moment; one that is not heard of then has no say any more."""

HANDOVER_RETRY_S: Final = 2.0
"""The owner goes on meanwhile, so there is no hurry."""

TRIES_AT_ONCE: Final = 3
"""A worker that hangs swallows a question, so ask the next one at once; not for ever."""

ASK_BACKOFF_S: Final = 0.1
ASK_BACKOFF_S_MAX: Final = 2.0
"""Doubled from the first figure up to the second: the calls of a whole worker may be asking."""

TROUBLE_MEMORY_S: Final = 1.0
"""A trouble that comes back so soon was never over: a link that flaps does not earn a new limit each time."""

TAKEOVER_ASSIGN_FIRST: Final = 7
"""Above the numbers that the webhook (1 to 3) and the attach (4 to 6) may have given to workers that answered late."""

ASSIGN_MAX: Final = 0xFFFF
"""What fits into a frame."""


class Owner(NamedTuple):
    """A worker, and the fence under which a call is or would be its own."""

    worker: str
    fence: Fence


NOBODY: Final = Owner("", Fence(0, 0))
"""Its fence is below every one that a call can have."""


class Phase(Enum):
    """What the gateway is about to do with the call's owner."""

    HELD = "held"
    SEEKING = "seeking"
    MOVING = "moving"


class Switch(NamedTuple):
    """Another worker owns the call from now on."""

    before: Owner
    owner: Owner
    loss: Loss | None
    """None: it was handed over."""
    since: float
    is_final: bool
    """The owner before has let go by itself."""
    spent_seqs: int
    """Frames that the new owner sent before it was one."""


class Yield(NamedTuple):
    """Ask the owner to let go at the next quiet moment."""


class LetGo(NamedTuple):
    """Tell a worker that the call will not be its own."""

    candidate: Owner


class Resume(NamedTuple):
    """The owner can be reached again, and has consumed the frames up to this number if it says so."""

    consumed: int | None


class GiveUp(NamedTuple):
    """Nobody was found in time."""


Step = Switch | Yield | LetGo | Resume | GiveUp | AskWorkers | Watch | Unwatch | TakeoverOver | HandoverOver


class Ownership:
    """The owner of one stream's call, from its attach on; every method returns what follows."""

    def __init__(self) -> None:
        self.owner = NOBODY
        self.phase = Phase.HELD
        self._is_cut_off = False
        self._is_over = False
        self._wants_to_move = False
        self._has_let_go = False
        self._loss = Loss.GONE
        self._lost_at = 0.0
        self._consumed: int | None = None
        self._candidate: Owner | None = None
        self._ready_seqs: int | None = None
        """Frames that the candidate has sent, once it was ready."""
        self._candidate_since = 0.0
        self._asked: AskWorkers | None = None
        self._ask_at: float | None = None
        self._failures = 0
        self._newest_assign = TAKEOVER_ASSIGN_FIRST - 1
        self._trouble_since: float | None = None
        self._trouble_over_at = float("-inf")
        self._trouble_before = 0.0

    @property
    def is_reachable(self) -> bool:
        """Whether the owner can be sent what comes."""
        return self.phase is not Phase.SEEKING and not self._is_cut_off

    @property
    def trouble_since(self) -> float | None:
        """Since when the caller has nobody to talk to; None while all is well."""
        return self._trouble_since

    def wake_at(self) -> float | None:
        """Return when `wake` is due next, if it is."""
        times = [
            time for time in (self._ask_at, self._candidate_until(), self._give_up_at()) if time is not None
        ]
        return min(times, default=None)

    def attached(self, owner: Owner) -> None:
        """The call has its first owner on this stream."""
        self.owner = owner
        self._newest_assign = max(owner.fence.assign, self._newest_assign)

    def lost(self, worker: str, how: Loss, now: float) -> list[Step]:
        """A worker is lost, which may be the owner or the candidate."""
        candidate = self._candidate
        if worker != self.owner.worker:
            if candidate is None or worker != candidate.worker:
                return []
            return self._drop_candidate(HandoverResult.CANDIDATE_LOST, now)
        if self.phase is Phase.SEEKING:
            return []
        self._loss, self._lost_at = how, now
        if candidate is not None:
            return [
                HandoverOver(HandoverResult.OWNER_LOST),
                TakeoverOver(how, TakeoverResult.TAKEN),
                *self._switch(candidate, how, now, now),
            ]
        return self._seek(now)

    def link_lost(self, since: float) -> None:
        """What the owner is sent may not arrive."""
        self._is_cut_off = True
        self._begin_trouble(since)

    def asked_to_move(self, now: float) -> list[Step]:
        """The owner is about to stop, and asks for somebody else."""
        if self._wants_to_move:
            return []
        self._wants_to_move = True
        if self.phase is Phase.SEEKING:
            return []
        self.phase = Phase.MOVING
        return self._ask(now) if self._asked is None else []

    def assigned(self, owner: Owner, now: float) -> list[Step]:
        """A worker has taken what was asked for last."""
        asked, self._asked = self._asked, None
        if asked is None or owner.fence != asked.fence or self.phase is Phase.HELD:
            return [LetGo(owner)]
        if self.phase is Phase.SEEKING:
            return [
                TakeoverOver(self._loss, TakeoverResult.TAKEN),
                *self._switch(owner, self._loss, self._lost_at, now),
            ]
        if asked.kind is AssignKind.TAKEOVER:
            # Asked for while the owner seemed lost; it would not say when it is ready.
            return [LetGo(owner), *self._ask(now)]
        if owner.worker == self.owner.worker:
            self._ask_at = now + HANDOVER_RETRY_S
            return [LetGo(owner), HandoverOver(HandoverResult.NO_WORKER)]
        self._candidate = owner
        self._candidate_since = now
        return [Watch(owner.worker), *([Yield()] if self._ready_seqs else [])]

    def not_assigned(self, fence: Fence, is_full: bool, now: float) -> list[Step]:
        """No worker has taken it."""
        if self._asked is None or fence != self._asked.fence:
            return []
        self._asked = None
        if self.phase is Phase.SEEKING:
            self._failures += 1
            is_at_once = not is_full and self._failures < TRIES_AT_ONCE
            backoff_s = min(ASK_BACKOFF_S * 2.0**self._failures, ASK_BACKOFF_S_MAX)
            self._ask_at = now if is_at_once else now + backoff_s
            return []
        if self.phase is Phase.HELD:
            return []
        self._ask_at = now + HANDOVER_RETRY_S
        return [HandoverOver(HandoverResult.NO_WORKER)]

    def ready(self, fence: Fence, seq: int, now: float) -> list[Step] | None:
        """A worker could go on with the call; None when it was not asked, or has said so before."""
        if self.phase is not Phase.MOVING or self._ready_seqs is not None:
            return None
        if self._candidate is None:
            # Its word has overtaken its answer, on another connection.
            if self._asked is None or fence != self._asked.fence:
                return None
            self._ready_seqs = seq + 1
            return []
        if fence != self._candidate.fence:
            return None
        self._ready_seqs = seq + 1
        self._candidate_since = now
        return [Yield()]

    def let_go(self, now: float) -> list[Step]:
        """The owner says nothing any more, and will hear nothing."""
        candidate = self._candidate
        if candidate is not None:
            since = now if self._ready_seqs is None else self._candidate_since
            self._has_let_go = True
            return [
                HandoverOver(HandoverResult.MOVED),
                *self._switch(candidate, None, since, now),
            ]
        if self.phase is Phase.SEEKING:
            self._has_let_go = True
            return []
        self._loss, self._lost_at = Loss.GONE, now
        self._has_let_go = True
        return self._seek(now)

    def pinged(self, worker: str, consumed: int | None, now: float) -> list[Step]:
        """A worker has answered; a lost owner that does is back, if nobody has taken its place."""
        if worker != self.owner.worker:
            return []
        if self.phase is Phase.SEEKING:
            is_stuck = self._loss is Loss.STUCK and consumed == self._consumed
            if self._has_let_go or is_stuck or consumed is None:
                return []
            self.phase = Phase.MOVING if self._wants_to_move else Phase.HELD
            self._ask_at = now if self._wants_to_move and self._asked is None else None
            self._is_cut_off = False
            self._end_trouble(now)
            return [TakeoverOver(self._loss, TakeoverResult.RETURNED), Resume(consumed)]
        self._consumed = consumed
        if not self._is_cut_off:
            return []
        self._is_cut_off = False
        self._end_trouble(now)
        return [Resume(consumed)]

    def wake(self, now: float) -> list[Step]:
        """Do what is due."""
        give_up_at, candidate_until = self._give_up_at(), self._candidate_until()
        if give_up_at is not None and now >= give_up_at:
            return [GiveUp()]
        if self._candidate is not None and candidate_until is not None and now >= candidate_until:
            if self._ready_seqs is None:
                return self._drop_candidate(HandoverResult.NOT_READY, now)
            since = self._candidate_since
            return [
                HandoverOver(HandoverResult.OVERDUE),
                *self._switch(self._candidate, None, since, now),
            ]
        if self._ask_at is not None and now >= self._ask_at:
            return self._ask(now)
        return []

    def ended(self, *, is_given_up: bool = False) -> list[Step]:
        """The stream is over; what is still asked for is answered to `assigned_late`."""
        self._is_over = True
        steps: list[Step] = []
        if self.phase is Phase.SEEKING:
            result = TakeoverResult.GIVEN_UP if is_given_up else TakeoverResult.ENDED
            steps.append(TakeoverOver(self._loss, result))
        if self._candidate is not None:
            steps += [LetGo(self._candidate), HandoverOver(HandoverResult.ENDED)]
        elif self.phase is Phase.MOVING and self._asked is not None:
            steps.append(HandoverOver(HandoverResult.ENDED))
        self._candidate = self._ask_at = self._trouble_since = None
        return steps

    def assigned_late(self, owner: Owner, now: float) -> list[Step]:
        """A worker has taken a call whose stream is ending: it is to know that, if the call had nobody else."""
        asked, self._asked = self._asked, None
        if self.phase is not Phase.SEEKING or asked is None or asked.fence != owner.fence:
            return [LetGo(owner)]
        # Once the stream was over, that was counted.
        counted: list[Step] = [] if self._is_over else [TakeoverOver(self._loss, TakeoverResult.TAKEN)]
        return counted + self._switch(owner, self._loss, self._lost_at, now)

    def _seek(self, now: float) -> list[Step]:
        self.phase = Phase.SEEKING
        self._failures = 0
        self._begin_trouble(now)
        # An answer that is under way for a handover serves as well.
        return self._ask(now) if self._asked is None else []

    def _ask(self, now: float) -> list[Step]:
        self._ask_at = None
        if self._newest_assign >= ASSIGN_MAX:
            return []
        self._newest_assign += 1
        is_takeover = self.phase is Phase.SEEKING
        kind = AssignKind.TAKEOVER if is_takeover else AssignKind.HANDOVER
        may_be_back = is_takeover and self._loss is not Loss.STUCK and not self._has_let_go
        fence = Fence(self.owner.fence.attach, self._newest_assign)
        self._asked = AskWorkers(kind, fence, self.owner.worker if may_be_back else "")
        self._ready_seqs = None
        return [self._asked]

    def _switch(self, owner: Owner, loss: Loss | None, since: float, now: float) -> list[Step]:
        switch = Switch(self.owner, owner, loss, since, self._has_let_go, self._ready_seqs or 0)
        self.owner = owner
        self.phase = Phase.HELD
        self._is_cut_off = self._wants_to_move = self._has_let_go = False
        self._consumed = self._candidate = self._ready_seqs = self._ask_at = None
        self._end_trouble(now)
        return [switch]

    def _drop_candidate(self, result: HandoverResult, now: float) -> list[Step]:
        candidate = self._candidate
        assert candidate is not None
        self._candidate = self._ready_seqs = None
        self._ask_at = now + HANDOVER_RETRY_S
        return [LetGo(candidate), Unwatch(candidate.worker), HandoverOver(result)]

    def _begin_trouble(self, now: float) -> None:
        if self._trouble_since is None:
            is_the_same = now < self._trouble_over_at + TROUBLE_MEMORY_S
            self._trouble_since = self._trouble_before if is_the_same else now

    def _end_trouble(self, now: float) -> None:
        if self._trouble_since is not None:
            self._trouble_before, self._trouble_since = self._trouble_since, None
            self._trouble_over_at = now

    def _give_up_at(self) -> float | None:
        return None if self._trouble_since is None else self._trouble_since + OWNERLESS_S_MAX

    def _candidate_until(self) -> float | None:
        if self._candidate is None:
            return None
        return self._candidate_since + (READY_S_MAX if self._ready_seqs is None else LET_GO_S_MAX)
