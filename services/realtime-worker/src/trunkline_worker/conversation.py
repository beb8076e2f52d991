"""Pure: what was said and what was heard, turn by turn, and when a turn is ready for the event log.

A turn's place is fixed when its item is added to the model's conversation. Its words may come much later: the
caller's transcript is made by another model, often after the answer, sometimes never. So each turn is written
when it is complete or when its deadline passes, and written again, with a higher revision, when words arrive
after that. What is written is also what the next session is told, should this one be lost: see `history`.
"""

from dataclasses import dataclass
from typing import Final

from trunkline_common.call_events import AgentTurn, CallerTurn
from trunkline_worker.debt import LastTurn
from trunkline_worker.floor import Floor
from trunkline_worker.history import History
from trunkline_worker.playing_item import Cut

TRANSCRIPT_WAIT_S: Final = 10.0
"""Measured transcripts take up to a few seconds; analysts should not wait longer for the rest of the turn."""

CHARACTERS_PER_S: Final = 15
"""Of speech, about. The words of an answer come ahead of its audio: of one that broke off, some were never audio."""

TURNS_KEPT_MAX: Final = 64
"""Turns whose words may still come; an older one keeps what it has."""


@dataclass(slots=True)
class CallerDraft:
    """A turn of the caller's whose words may still come."""

    item_id: str
    position: int = 0
    start_ms: int = 0
    end_ms: int = 0
    text: str | None = None
    transcription: str = "missing"
    revision: int = 0

    def written(self) -> CallerTurn:
        """Return the event, in a new revision."""
        self.revision += 1
        return self.unwritten()

    def unwritten(self) -> CallerTurn:
        """Return what the event would be."""
        return CallerTurn(
            item_id=self.item_id,
            position=self.position,
            start_ms=self.start_ms,
            end_ms=max(self.end_ms, self.start_ms),
            text=self.text,
            transcription=self.transcription,
            revision=max(self.revision, 1),
        )


@dataclass(slots=True)
class AgentDraft:
    """A turn of the agent's that is being made, or heard."""

    item_id: str
    response_id: str
    position: int
    started: bool = False
    """Audio of it was sent to the caller."""
    start_ms: int = 0
    text: str = ""
    text_final: bool = False
    broke_off: bool = False
    """Its session was lost before all of it was made."""
    cut: Cut | None = None
    heard: bool = False
    end_ms: int = 0
    generated_ms: int = 0

    def ready(self) -> bool:
        """Whether all of it is known."""
        return self.text_final and (self.heard or self.cut is not None)

    def worth_writing(self) -> bool:
        """Whether there was anything of it."""
        # An item that never became words or sound (a function call, a response cancelled at birth).
        return self.started or bool(self.text)

    def written(self) -> AgentTurn:
        """Return the event."""
        heard_ms = self.cut.heard_ms if self.cut else self.generated_ms if self.heard else 0
        return self._written(heard_ms, interrupted=self.cut is not None and not self.cut.fully_heard)

    def as_if_heard(self, generated_ms: int) -> AgentTurn:
        """Return what it will be when all of its audio is heard."""
        self.generated_ms = generated_ms
        return self._written(generated_ms, interrupted=False)

    def _written(self, heard_ms: int, *, interrupted: bool) -> AgentTurn:
        whole = not self.broke_off and (self.cut is None or self.cut.complete)
        text_ms = self.generated_ms if whole else max(self.generated_ms, self._text_ms())
        return AgentTurn(
            item_id=self.item_id,
            position=self.position,
            start_ms=self.start_ms,
            end_ms=self.end_ms or self.start_ms + heard_ms,
            generated_text=self.text,
            heard_text=heard_part(self.text, heard_ms, text_ms),
            generated_ms=self.generated_ms,
            heard_ms=heard_ms,
            interrupted=interrupted,
        )

    def _text_ms(self) -> int:
        return 1000 * len(self.text) // CHARACTERS_PER_S


class Conversation:
    """The turns of one call, by the item ids of one model session after another."""

    def __init__(self) -> None:
        self.history = History()
        self._next_position = 0
        self._caller: dict[str, CallerDraft] = {}
        self._agent: dict[str, AgentDraft] = {}
        self._due: dict[str, float] = {}
        """When caller's turns are written without their words; soonest first. Asked for at every frame."""

    @property
    def position(self) -> int:
        """The last place that was given."""
        return self._next_position

    def drafts(self) -> tuple[list[CallerDraft], list[AgentDraft]]:
        """Return the turns that are not written."""
        return [turn for turn in self._caller.values() if turn.revision == 0], list(self._agent.values())

    def restore(self, position: int, caller: list[CallerDraft], agent: list[AgentDraft], now: float) -> None:
        """Go on where another owner of the call was: these turns it had not written."""
        self._next_position = position
        self.history.reached(position)
        self._caller = {turn.item_id: turn for turn in caller}
        self._agent = {turn.item_id: turn for turn in agent}
        self._due = {turn.item_id: now + TRANSCRIPT_WAIT_S for turn in caller if turn.end_ms}

    def caller_started(self, item_id: str, media_ms: int) -> None:
        """The caller began to speak."""
        if item_id not in self._caller and len(self._caller) >= TURNS_KEPT_MAX:
            oldest = next(iter(self._caller))
            del self._caller[oldest]
            self._due.pop(oldest, None)
        self._caller.setdefault(item_id, CallerDraft(item_id, start_ms=media_ms))

    def caller_stopped(self, item_id: str, media_ms: int, now: float) -> None:
        """The caller stopped; the words have until the deadline."""
        turn = self._caller.setdefault(item_id, CallerDraft(item_id, start_ms=media_ms))
        turn.end_ms = media_ms
        if turn.revision == 0:
            self._due.setdefault(item_id, now + TRANSCRIPT_WAIT_S)

    def added(self, item_id: str, role: str, response_id: str) -> None:
        """The item took its place in the model's conversation, during this response (or none, "")."""
        if item_id in self.history:
            # Replayed into a new session.
            return
        caller_turn = self._caller.get(item_id)
        if caller_turn is not None:
            self._place(caller_turn)
        elif role == "assistant":
            self._agent_turn(item_id, response_id)

    def caller_said(self, item_id: str, text: str | None) -> list[CallerTurn]:
        """The transcript came, or (None) failed; return the turn, ready or revised."""
        turn = self._caller.get(item_id)
        if turn is None:
            return []
        turn.text = text
        turn.transcription = "failed" if text is None else "completed"
        return [self._written(turn)]

    def agent_started(self, item_id: str, response_id: str, media_ms: int) -> int:
        """Audio of an item came, which starts the turn if it is the first; return the turn's position."""
        turn = self._agent_turn(item_id, response_id)
        if not turn.started:
            turn.started, turn.start_ms = True, media_ms
        return turn.position

    def agent_said(self, item_id: str, text: str, *, final: bool) -> list[AgentTurn]:
        """Words of the agent arrived; return the turn when it is complete."""
        if item_id in self.history and item_id not in self._agent:
            # Written already: a turn is written once.
            return []
        turn = self._agent_turn(item_id, "")
        turn.text = text if final else turn.text + text
        turn.text_final = turn.text_final or final
        return self._written_if_ready(turn)

    def agent_heard(self, item_id: str, generated_ms: int, media_ms: int) -> list[AgentTurn]:
        """All of the item was played; return the turn when it is complete."""
        turn = self._agent.get(item_id)
        if turn is None:
            return []
        turn.heard, turn.generated_ms, turn.end_ms = True, generated_ms, media_ms
        return self._written_if_ready(turn)

    def agent_cut(self, cut: Cut, media_ms: int) -> list[AgentTurn]:
        """The item was interrupted; return the turn when it is complete."""
        turn = self._agent.get(cut.item_id)
        if turn is None:
            return []
        turn.cut, turn.generated_ms, turn.end_ms = cut, cut.generated_ms, media_ms
        return self._written_if_ready(turn)

    def unheard_items(self, response_id: str) -> list[str]:
        """Return the items of a response of which nothing was ever sent to the caller."""
        return [
            turn.item_id
            for turn in self._agent.values()
            if turn.response_id == response_id and not turn.started and turn.cut is None
        ]

    def response_done(self, response_id: str, *, cut_off: bool) -> list[AgentTurn]:
        """No more words will come for this response; return the turns that only waited for that.

        `cut_off` tells that it did not run to its end: what never became audio was not heard.
        """
        ready = []
        for turn in [turn for turn in self._agent.values() if turn.response_id == response_id]:
            turn.text_final = True
            if cut_off and not turn.started and turn.cut is None:
                turn.cut = Cut(turn.item_id, heard_ms=0, generated_ms=0, complete=False)
            ready += self._written_if_ready(turn)
        return ready

    def session_lost(self, generated_ms: dict[str, int]) -> list[AgentTurn]:
        """No more will come of what the session was making; return the turns that are complete by that.

        `generated_ms` are the items that the caller has not wholly heard: they go on, and count as said.
        """
        ready = []
        for turn in list(self._agent.values()):
            if not turn.text_final:
                turn.text_final = turn.broke_off = True
            if not turn.started and turn.cut is None:
                turn.cut = Cut(turn.item_id, heard_ms=0, generated_ms=0, complete=False)
            ready += self._written_if_ready(turn)
            if turn.item_id in generated_ms and turn.item_id in self._agent:
                self.history.take(turn.as_if_heard(generated_ms[turn.item_id]))
        return ready

    def heard_again(self, since_ms: int) -> None:
        """A new session hears the caller from this media time on: what began then is written under its new id."""
        for turn in [
            turn for turn in self._caller.values() if not turn.revision and turn.start_ms >= since_ms
        ]:
            del self._caller[turn.item_id]
            self._due.pop(turn.item_id, None)

    def last_turn(self, floor: Floor) -> LastTurn | None:
        """Return what a session that follows must know of the caller's turn under way, if there is one."""
        item_id, is_over = floor.last_item, floor.speaking_item is None
        if item_id is None:
            return None
        turn = self._caller.get(item_id)
        return LastTurn(is_over, None, None) if turn is None else LastTurn(is_over, turn.start_ms, turn.text)

    def remember_callers(self) -> None:
        """Let the history know the turns whose words are still to come."""
        for turn in self._caller.values():
            if turn.revision == 0 and turn.end_ms:
                self._place(turn)
                self.history.take(turn.unwritten())

    def waits_for_words(self) -> bool:
        """A caller's turn was not written yet."""
        return any(turn.revision == 0 for turn in self._caller.values())

    def due_at(self) -> float | None:
        """Return when the next turn is written without its words."""
        return next(iter(self._due.values()), None)

    def overdue(self, now: float) -> list[CallerTurn]:
        """Return the turns whose deadline has passed."""
        items = [item_id for item_id, due_at in self._due.items() if due_at <= now]
        return [self._written(self._caller[item_id]) for item_id in items]

    def close(self, media_ms: int) -> list[CallerTurn | AgentTurn]:
        """The call is over: return what was not written yet, in order; who still spoke, spoke until now."""
        rest: list[CallerTurn | AgentTurn] = []
        for caller_turn in self._caller.values():
            if caller_turn.revision == 0:
                caller_turn.end_ms = caller_turn.end_ms or media_ms
                rest.append(self._written(caller_turn))
        rest += [turn.written() for turn in self._agent.values() if turn.worth_writing()]
        self._caller.clear()
        self._agent.clear()
        return sorted(rest, key=lambda turn: turn.position)

    def _place(self, turn: CallerDraft) -> None:
        if not turn.position:
            turn.position = self._new_position()

    def _new_position(self) -> int:
        self._next_position += 1
        self.history.reached(self._next_position)
        return self._next_position

    def _written(self, turn: CallerDraft) -> CallerTurn:
        # The model may not have taken the item in yet when the call ends: it comes after all that it has.
        self._place(turn)
        self._due.pop(turn.item_id, None)
        written = turn.written()
        self.history.take(written)
        return written

    def _agent_turn(self, item_id: str, response_id: str) -> AgentDraft:
        turn = self._agent.get(item_id)
        if turn is None:
            turn = self._agent[item_id] = AgentDraft(item_id, response_id, self._new_position())
        turn.response_id = response_id or turn.response_id
        return turn

    def _written_if_ready(self, turn: AgentDraft) -> list[AgentTurn]:
        if not turn.ready():
            return []
        del self._agent[turn.item_id]
        if not turn.worth_writing():
            return []
        written = turn.written()
        self.history.take(written)
        return [written]


def heard_part(text: str, heard_ms: int, generated_ms: int) -> str:
    """Return the words of `text` that were heard, taking speech to be even.

    The model truncates its own transcript to nothing, and no word times exist, so this is an estimate: the
    words that ended before the heard share of the text.
    """
    if heard_ms >= generated_ms > 0:
        return text
    share = heard_ms / generated_ms if generated_ms else 0.0
    end = round(len(text) * share)
    if end < len(text) and not text[end].isspace():
        end = text.rfind(" ", 0, end + 1)
    return text[: max(end, 0)].rstrip()
