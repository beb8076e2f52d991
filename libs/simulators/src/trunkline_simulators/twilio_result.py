"""How one simulated call went, in numbers that a test or a person can judge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from trunkline_simulators.twilio_program import EndReason
from trunkline_simulators.twilio_stream import CLOSED_BY_SERVER, NORMAL_CLOSURE, MediaStream
from trunkline_simulators.twilio_twiml import Warned


@dataclass(slots=True)
class CallResult:
    """One call's outcome; counters are sums over its streams."""

    call_sid: str
    end_reason: EndReason = "application-error"
    script_finished: bool = False  # every step of the conversation was done
    duration_ms: int = 0  # since the answer
    warnings: list[Warned] = field(default_factory=list)  # Twilio's debugger, errors included
    said: list[str] = field(default_factory=list)  # the texts of <Say>
    played: list[str] = field(default_factory=list)  # the URLs of <Play>
    digits: list[str] = field(default_factory=list)  # the keys of <Play digits>
    dialled: list[str] = field(default_factory=list)  # the numbers of <Dial>
    queues: list[str] = field(default_factory=list)  # the names of <Enqueue>
    queue_results: list[str] = field(default_factory=list)  # why the call left each of them
    status: str = ""  # CallStatus at the end
    attaches: int = 0  # streams that got as far as `start`
    reattach_gaps_ms: list[int] = field(default_factory=list)  # from a stream's end to the next one's start
    reply_ms: list[int] = field(
        default_factory=list
    )  # from the caller's last word to the answer's first sound
    yielded_ms: list[int] = field(default_factory=list)  # from an interruption to the agent's last sound
    received_bytes: int = 0  # of audio
    played_bytes: int = 0
    cleared_bytes: int = 0
    discarded_bytes: int = 0  # beyond ten minutes
    underruns: int = 0
    partial_frames: int = 0
    echoed_marks: int = 0
    cleared_marks: int = 0
    unanswered_marks: int = 0  # still waiting when their stream ended
    discarded_marks: int = 0
    dropped_messages: int = 0  # the server did not read
    ignored_messages: Counter[int] = field(default_factory=Counter)  # by error number
    clock_late_ms: float = 0.0  # the worst tick of the simulator's own clock: judge the rest by it
    heard_wav: Path | None = None
    trace: Path | None = None

    @property
    def clean(self) -> bool:
        """Return whether the script was played to its end and Twilio had nothing to complain of.

        An agent that has said goodbye hangs up by closing its socket, which Twilio reports as well.
        """
        farewell = Warned(CLOSED_BY_SERVER, NORMAL_CLOSURE)
        return self.script_finished and all(warned == farewell for warned in self.warnings)

    def add(self, stream: MediaStream) -> None:
        """Add the counters of a stream that is over."""
        player = stream.player
        self.received_bytes += player.received_bytes
        self.played_bytes += player.played_bytes
        self.cleared_bytes += player.cleared_bytes
        self.discarded_bytes += player.discarded_bytes
        self.underruns += player.underruns
        self.partial_frames += player.partial_frames
        self.unanswered_marks += player.waiting_marks
        self.discarded_marks += player.discarded_marks
        self.echoed_marks += stream.echoed_marks
        self.cleared_marks += stream.cleared_marks
        self.dropped_messages += stream.dropped_messages
        self.ignored_messages += stream.reader.ignored
