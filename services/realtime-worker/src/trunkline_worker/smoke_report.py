"""Pure: what a smoke talk found, and how it is shown to people and to programs."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from trunkline_worker import events, realtime_refusals
from trunkline_worker.events import AudioPath

EXIT_OK: Final = 0
EXIT_FOUND: Final = 1
EXIT_LATE: Final = 3

_BYTES_PER_S: Final = {"pcm24k": 48_000, "pcmu": 8_000}

_FIELDS_OF_PROFILES: Final = (
    ("noise_reduction", "set `noise_reduction: none`, or another one, in the profile"),
    ("transcription", "choose another `transcription.model` in the profile"),
    ("turn_detection", "choose other `turn_detection` in the profile"),
    ("voice", "choose another `voice` in the profile"),
    ("speed", "leave `speed` at 1.0 in the profile"),
    ("reasoning", "this model takes no reasoning: remove `reasoning_effort`, or choose another model"),
    ("output_tokens", "choose other `max_output_tokens` in the profile"),
    ("format", "try the other AUDIO_PATH"),
    ("tool", "check the profile's tools"),
)
"""A word in the path of a field, in either dialect, and where a person changes it."""


class Level(StrEnum):
    """How grave a finding is."""

    NOTE = "note"
    DIFFERS = "differs"
    FAULT = "fault"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, or is good to know."""

    level: Level
    what: str
    detail: str


@dataclass(slots=True)
class Report:
    """What one talk found; times in ms, None where it did not come so far."""

    url: str
    model: str
    agent: str
    audio_path: AudioPath
    dialect: str
    connect_ms: float | None = None
    """From the first packet to `session.created`."""
    configured_ms: float | None = None
    """From `session.update` to `session.updated`."""
    ping_ms: float | None = None
    answer_ms: float | None = None
    """From the end of speech to the first audio of the answer; includes the silence that ends a turn."""
    transcript_ms: float | None = None
    """From the end of speech to its words; 0 when they came first."""
    cut_at_ms: int | None = None
    cut_of_ms: int | None = None
    audio_in_s: float = 0.0
    audio_out_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """Of the responses and transcriptions that have a price; None when the price list knows neither model."""
    price_date: str = ""
    caller_said: list[str] = field(default_factory=list)
    agent_said: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all well · 1 something was refused, differs or is missing · 3 something did not come in time."""
        levels = {finding.level for finding in self.findings}
        if Level.LATE in levels:
            return EXIT_LATE
        return EXIT_FOUND if levels & {Level.FAULT, Level.DIFFERS} else EXIT_OK

    def find(self, level: Level, what: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, what, detail))

    def received(self, audio_path: AudioPath, audio: bytes) -> None:
        """Count audio of the model."""
        self.audio_out_s += len(audio) / _BYTES_PER_S[audio_path]

    def response_done(self, event: events.ResponseDone) -> None:
        """Add up the tokens, and find a response that failed."""
        if event.usage is not None:
            self.input_tokens += event.usage.input_tokens
            self.cached_tokens += event.usage.cached_tokens
            self.output_tokens += event.usage.output_tokens
        if event.status in {"failed", "incomplete"}:
            detail = realtime_refusals.advice(event.reason) or "the model ended it by itself"
            self.find(Level.FAULT, f"response {event.status}: {event.reason}", detail)

    def refused(self, error: events.ModelError) -> None:
        """Find what the model refused."""
        level = Level.NOTE if error.code in realtime_refusals.BENIGN_CODES else Level.FAULT
        where = f" {error.param}" if error.param else ""
        about = f", about {error.event_id}" if error.event_id else ""
        detail = realtime_refusals.advice(error.code) or what_to_change(error.param)
        self.find(level, f"refused: {error.code}{where}{about}", detail)

    def as_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {"exit_code": self.exit_code, **asdict(self)}

    def lines(self) -> list[str]:
        """Return everything, for people."""
        rows = [
            ("connected", _ms(self.connect_ms)),
            ("configuration accepted", _ms(self.configured_ms)),
            ("websocket ping", _ms(self.ping_ms)),
            ("end of speech → first audio", _ms(self.answer_ms)),
            ("end of speech → transcript", _ms(self.transcript_ms)),
            ("interrupted", self._cut()),
            ("audio in / out", f"{self.audio_in_s:.1f} s / {self.audio_out_s:.1f} s"),
            ("tokens in / out", f"{self.input_tokens} ({self.cached_tokens} cached) / {self.output_tokens}"),
            ("cost", self._cost()),
        ]
        if self.connect_ms is None:
            rows = []
        width = max((len(name) for name, _ in rows), default=0)
        talk = [f"  caller “{text}”" for text in self.caller_said]
        talk += [f"  agent  “{text}”" for text in self.agent_said]
        findings = [f"  {each.level.value:<8}{each.what}: {each.detail}" for each in self.findings]
        return [
            f"{self.model} at {self.url}: agent {self.agent}, {self.audio_path}, {self.dialect}",
            *(["", *(f"  {name.ljust(width)}  {value}" for name, value in rows)] if rows else []),
            *(["", *talk] if talk else []),
            "",
            *(
                findings
                or ["  The model took every setting as it was asked, spoke and could be interrupted."]
            ),
        ]

    def _cost(self) -> str:
        if self.cost_usd is None:
            return "– (the price list does not have this model)"
        return f"{self.cost_usd:.4f} USD, by the price list of {self.price_date}"

    def _cut(self) -> str:
        if self.cut_at_ms is None or self.cut_of_ms is None:
            return "–"
        return f"{self.cut_at_ms} of {self.cut_of_ms} ms heard"


def what_to_change(path: str) -> str:
    """Return what a person should do about a field, named by its path in either dialect."""
    found = [advice for word, advice in _FIELDS_OF_PROFILES if word in path]
    return found[0] if found else "the server is not compatible, or newer than this version"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
