"""Pure: one owner of a call among several: it tells all the time what the next one would have to know, goes on where
the one before was, and lets go when another is ready.
"""

from typing import Final

import msgspec

from trunkline_common.call_events import CallAttached, CallTakenOver
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import Command, Record, SendCheckpoint
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.events import Owned
from trunkline_worker.limits import LimitWatch
from trunkline_worker.resumption import needed_from_ms, outline, resume, taken

GROWTH_S: Final = 0.5
"""Words and audio that only grow are told twice a second; anything else at once."""

HEARD_LIVE_MS: Final = 1_500
"""A session that lets go in a quiet moment has heard everything before this; it would have told of speech.

Not one that was opened since: what it was given at once, it may not have looked at.
"""

YIELD_S: Final = 10.0
"""A call is let go in a quiet moment, or after so long in the middle of whatever happens: the process has to end."""

WORDS_S: Final = 2.0
"""For a transcript that is still to come; the next owner would have to hear that turn again."""


class Custody:
    """What a call is to its owner besides the talk."""

    def __init__(self, worker: str, dialogue: Dialogue, limits: LimitWatch) -> None:
        self.greeted = False
        """The agent was asked to speak first."""
        self.signs = 0
        """How often the caller has spoken or pressed a key."""
        self._worker = worker
        self._dialogue = dialogue
        self._limits = limits
        self._checkpoints = Checkpoints(dialogue)
        self._yielding = Yielding(dialogue)

    def take_up(self, known: Checkpoint, now: float) -> list[Command]:
        """Go on with a call of which only the log is left."""
        taken_over = CallTakenOver(worker=self._worker, cause="resumed", items=len(known.items))
        return [Record(taken_over), *self._restore(known, None, now)]

    def take_over(self, owned: Owned, now: float) -> list[Command]:
        """Go on with a live call."""
        taken_over = CallTakenOver(
            worker=self._worker,
            cause=owned.cause,
            previous_fence=owned.previous,
            items=len(owned.known.items),
        )
        attached = CallAttached(gateway=owned.gateway, stream_sid=owned.stream_sid)
        return [Record(taken_over), Record(attached), *self._restore(owned.known, owned, now)]

    def tell(self, now: float) -> list[Command]:
        """Return the checkpoint that is due, if one is."""
        return self._checkpoints.step(self._of_call, now)

    def stay(self) -> None:
        """Another stream carries the call: nobody is ready to go on with that one."""
        self._yielding = Yielding(self._dialogue)

    def yield_soon(self, now: float) -> None:
        """Another owner is ready."""
        self._yielding.ask(now)

    def wake_at(self) -> float | None:
        """Return when `lets_go` may have become true by time alone."""
        return self._yielding.wake_at()

    def lets_go(self, now: float) -> bool:
        """Return whether this is the moment to let go."""
        return self._yielding.is_due(now)

    def last_words(self) -> Command:
        """Return the final checkpoint."""
        return self._checkpoints.last(self._of_call)

    @property
    def _of_call(self) -> Checkpoint:
        return Checkpoint(greeted=self.greeted, signs=self.signs)

    def _restore(self, known: Checkpoint, owned: Owned | None, now: float) -> list[Command]:
        self.greeted, self.signs = known.greeted, known.signs
        self._limits.restore(now - known.media_ms / 1000)
        return resume(self._dialogue, known, owned, now)


class Checkpoints:
    """When the owner of a call tells what, and what of the caller's audio may be forgotten."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._outline: object = None
        self._told_at = float("-inf")

    def step(self, of_call: Checkpoint, now: float) -> list[Command]:
        """Return the checkpoint that is due, if one is; `of_call` holds what the talk itself does not know."""
        shape = (outline(self._dialogue), of_call)
        if shape == self._outline and now < self._told_at + GROWTH_S:
            return []
        checkpoint = taken(self._dialogue, of_call)
        is_news = shape != self._outline or self._dialogue.playback.active or checkpoint.agent
        if not is_news:
            return []
        self._outline, self._told_at = shape, now
        return [SendCheckpoint(checkpoint, needed_from_ms(self._dialogue, checkpoint))]

    def last(self, of_call: Checkpoint) -> SendCheckpoint:
        """Return the final checkpoint, with the whole conversation."""
        dialogue = self._dialogue
        checkpoint = taken(dialogue, of_call, items_max=None)
        heard_ms = checkpoint.media_ms - HEARD_LIVE_MS
        hears = dialogue.uplink.is_open and dialogue.uplink.opened_ms <= heard_ms
        if dialogue.in_session and dialogue.quiet and hears:
            told_ms = max(checkpoint.told_ms, heard_ms)
            checkpoint = msgspec.structs.replace(checkpoint, told_ms=told_ms)
        return SendCheckpoint(checkpoint, needed_from_ms(dialogue, checkpoint), is_final=True)


class Yielding:
    """Waits for the moment at which a call may be let go."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._asked_at: float | None = None
        self._wake_at: float | None = None

    def ask(self, now: float) -> None:
        """Another owner is ready."""
        if self._asked_at is None:
            self._asked_at = now

    def wake_at(self) -> float | None:
        """Return when `is_due` may have become true by time alone."""
        return self._wake_at

    def is_due(self, now: float) -> bool:
        """Return whether to let go now."""
        if self._asked_at is None:
            return False
        words_until, until = self._asked_at + WORDS_S, self._asked_at + YIELD_S
        self._wake_at = words_until if now < words_until else until
        words = now < words_until and self._dialogue.conversation.waits_for_words()
        return now >= until or (self._dialogue.quiet and not words)
