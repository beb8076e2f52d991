"""Whoever is called, by `<Dial>` or by the REST API: whether they answer, when, and what they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trunkline_simulators.twilio_program import DialStatus

AnsweredBy = Literal["human", "machine_start", "fax", "unknown"]


@dataclass(frozen=True, slots=True)
class Callee:
    """By default somebody who answers after a second and has little to say."""

    outcome: Literal["answered", "busy", "no-answer", "failed"] = "answered"
    after_s: float = 1.0  # until they answer, or the network says that they do not
    talk_s: float = 1.0  # with somebody who was put through
    answered_by: AnsweredBy = "human"  # what the detection of machines says
    detection_s: float = 0.5  # and how long it takes; Twilio's takes about 4 s

    def answers_within(self, ring_s: float) -> bool:
        """Return whether they answer a telephone that rings for so long."""
        return self.outcome == "answered" and self.after_s <= ring_s

    def ringing_s(self, ring_s: float) -> float:
        """Return how long it rings."""
        return ring_s if self.outcome == "no-answer" else min(self.after_s, ring_s)

    def status(self, ring_s: float) -> DialStatus:
        """Return what came of it, as DialCallStatus says it."""
        if self.outcome == "answered":
            return "completed" if self.answers_within(ring_s) else "no-answer"
        return self.outcome
