"""The caller: a person who listens, waits for the turn, speaks, interrupts and hangs up. Pure.

Rules:
- Only sound counts. The caller knows nothing of messages and hears what the telephone plays.
- An answer begins with the first loud frame after the caller's own last word.
- A step is due when the answer has been followed by `after_quiet_ms` of quiet, or, if the caller
  means to interrupt, when `after_heard_ms` have passed since the answer began.
- Whoever hears nothing for `patience_ms` hangs up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from trunkline_simulators import g711
from trunkline_simulators.twilio_conversations import Conversation, Line, Step
from trunkline_simulators.twilio_player import FRAME_BYTES, FRAME_MS, SILENT_FRAME

LOUD_RMS = 200  # of 32768 (-44 dBFS): above a line's noise, below every syllable of the recordings
AGENT_QUIET_MS = 400  # longer than any pause inside a recording (260 ms)


@dataclass(frozen=True, slots=True)
class CallerSpeaking:
    """The caller began a line; `interrupting` says that the agent had not finished."""

    utterance: str
    text: str
    interrupting: bool


@dataclass(frozen=True, slots=True)
class CallerSilent:
    """The caller's line is over; its last loud frame ended at `t_ms`."""

    utterance: str
    text: str
    t_ms: int


@dataclass(frozen=True, slots=True)
class AgentAudible:
    """The agent is heard from `t_ms`; `reply_ms` after the caller's last word, if that was answered."""

    t_ms: int
    reply_ms: int | None


@dataclass(frozen=True, slots=True)
class AgentQuiet:
    """The agent was heard until `t_ms`; `yielded_ms` after an interruption began, if that was the end of it."""

    t_ms: int
    yielded_ms: int | None


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class CallerHungUp:
    """The caller hung up, by the script or because nothing was heard for too long."""

    reason: Literal["caller-hung-up", "caller-gave-up"]


CallerEvent = CallerSpeaking | CallerSilent | AgentAudible | AgentQuiet | KeyPressed | CallerHungUp


class Caller:
    """Plays one conversation; `tick` is called once for each 20 ms of the call."""

    def __init__(self, conversation: Conversation, lines: Mapping[str, Line]) -> None:
        self.hung_up = False
        self._patience_ms = conversation.patience_ms
        self._lines = lines
        self._steps = list(conversation.steps)
        self._line: str | None = None  # the utterance that is being spoken
        self._line_rest = b""
        self._last_word_ms: int | None = None  # when the caller was last loud
        self._waiting_since_ms = 0
        self._answer_since_ms: int | None = None
        self._heard_until_ms = 0  # when the agent was last loud
        self._agent_audible = False
        self._interrupted_at_ms: int | None = None

    @property
    def speaking(self) -> bool:
        """Return whether a line is being spoken."""
        return self._line is not None

    @property
    def finished(self) -> bool:
        """Return whether every step of the conversation was done."""
        return not self._steps and not self.speaking

    def tick(self, heard: bytes, t_ms: int) -> tuple[bytes, list[CallerEvent]]:
        """Hear the 160 bytes played at `t_ms`; return the 160 bytes spoken at that time, and what happened."""
        events: list[CallerEvent] = []
        if self.hung_up:
            return SILENT_FRAME, events
        self._listen(heard, t_ms, events)
        if not self.speaking:
            self._take_turn(t_ms, events)
        return self._speak(t_ms, events), events

    def _listen(self, heard: bytes, t_ms: int, events: list[CallerEvent]) -> None:
        if is_loud(heard):
            answers = not self.speaking and self._answer_since_ms is None
            if answers:
                self._answer_since_ms = t_ms
            if not self._agent_audible:
                asked = answers and self._last_word_ms is not None
                reply_ms = t_ms - (self._last_word_ms or 0) if asked else None
                events.append(AgentAudible(t_ms, reply_ms))
            self._agent_audible = True
            self._heard_until_ms = t_ms + FRAME_MS
        elif self._agent_audible and t_ms + FRAME_MS - self._heard_until_ms >= AGENT_QUIET_MS:
            self._agent_audible = False
            interrupted_at_ms, self._interrupted_at_ms = self._interrupted_at_ms, None
            yielded_ms = None if interrupted_at_ms is None else self._heard_until_ms - interrupted_at_ms
            events.append(AgentQuiet(self._heard_until_ms, yielded_ms))

    def _take_turn(self, t_ms: int, events: list[CallerEvent]) -> None:
        step = self._steps[0] if self._steps else None
        if step is not None and self._is_due(step, t_ms):
            self._do(self._steps.pop(0), t_ms, events)
        elif t_ms - max(self._waiting_since_ms, self._heard_until_ms) >= self._patience_ms:
            self.hung_up = True
            events.append(CallerHungUp("caller-gave-up"))

    def _is_due(self, step: Step, t_ms: int) -> bool:
        if self._answer_since_ms is None:
            return False
        if step.after_heard_ms is not None and t_ms - self._answer_since_ms >= step.after_heard_ms:
            return True
        return t_ms - self._heard_until_ms >= step.after_quiet_ms

    def _do(self, step: Step, t_ms: int, events: list[CallerEvent]) -> None:
        self._answer_since_ms = None
        self._waiting_since_ms = t_ms
        if step.say is not None:
            self._line, self._line_rest = step.say, self._lines[step.say].ulaw
            if self._agent_audible:
                self._interrupted_at_ms = t_ms
            text = self._lines[step.say].text
            events.append(CallerSpeaking(step.say, text, interrupting=self._agent_audible))
        elif step.press is not None:
            self._last_word_ms = t_ms
            events.append(KeyPressed(step.press))
        else:
            self.hung_up = True
            events.append(CallerHungUp("caller-hung-up"))

    def _speak(self, t_ms: int, events: list[CallerEvent]) -> bytes:
        if self._line is None:
            return SILENT_FRAME
        frame, self._line_rest = self._line_rest[:FRAME_BYTES], self._line_rest[FRAME_BYTES:]
        if is_loud(frame):
            self._last_word_ms = t_ms + FRAME_MS
        if not self._line_rest:
            text = self._lines[self._line].text
            events.append(CallerSilent(self._line, text, self._last_word_ms or t_ms))
            self._line = None
            self._waiting_since_ms = t_ms
        return frame.ljust(FRAME_BYTES, SILENT_FRAME[:1])


@cache
def _squares() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return g711.decode(bytes(range(256))).astype(np.int64) ** 2


def is_loud(frame: bytes) -> bool:
    """Return whether somebody speaks in these μ-law bytes."""
    if not frame or frame == SILENT_FRAME:
        return False
    return bool(_squares()[np.frombuffer(frame, np.uint8)].mean() > LOUD_RMS**2)
