"""The agent that answers: what it says first, its voice, and the session it needs, every field explicit."""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from trunkline_common.call_events import Redaction
from trunkline_worker import agent_tools
from trunkline_worker.agent_tools import BuiltInTool, HttpTool, McpTool, TransferTarget
from trunkline_worker.events import AudioPath
from trunkline_worker.limits import Limits

DEAD_MODELS: Final = {
    "gpt-4o-realtime-preview": "gpt-realtime-2.1",
    "gpt-4o-realtime-preview-2024-10-01": "gpt-realtime-2.1",
    "gpt-4o-realtime-preview-2024-12-17": "gpt-realtime-2.1",
    "gpt-4o-realtime-preview-2025-06-03": "gpt-realtime-2.1",
    "gpt-4o-mini-realtime-preview": "gpt-realtime-2.1-mini",
    "gpt-4o-mini-realtime-preview-2024-12-17": "gpt-realtime-2.1-mini",
    "gpt-realtime-mini-2025-10-06": "gpt-realtime-2.1-mini",
}
"""Models that OpenAI has shut down, and what replaces each (OpenAI: Deprecations)."""

_REASONING_MODEL: Final = re.compile(r"gpt-realtime-2(?!\d)")
"""The 2.x family; `gpt-realtime-2025-08-28` is the first generation with a date."""

NoiseReduction = Literal["near_field", "far_field", "none"]
Eagerness = Literal["low", "medium", "high", "auto"]
Filler = Literal["none", "soft"]
ReasoningEffort = Literal["minimal", "low", "medium", "high", "xhigh"]

ANY_LANGUAGE: Final = "auto"
"""Let the transcription find out which language is spoken."""


def takes_reasoning(model: str) -> bool:
    """Return whether the model knows `reasoning`; one that does not rejects the whole update because of it."""
    return _REASONING_MODEL.match(model) is not None


def living_model(model: str) -> str:
    """Return the model's name; raise `ValueError`, which names its replacement, when OpenAI has shut it down."""
    if model in DEAD_MODELS:
        raise ValueError(f"{model} was shut down by OpenAI; use {DEAD_MODELS[model]}")
    return model


@dataclass(frozen=True, slots=True)
class ServerVad:
    """The caller's turns by loudness and silence (OpenAI: Voice activity detection)."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    """Silence after an answer until the model speaks again by itself; None: it never does."""

    def turn_detection(self) -> dict[str, Any]:
        """Return the fields of `turn_detection` that are this detector's own."""
        fields: dict[str, Any] = {
            "type": "server_vad",
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_padding_ms,
            "silence_duration_ms": self.silence_duration_ms,
        }
        if self.idle_timeout_ms is not None:
            fields["idle_timeout_ms"] = self.idle_timeout_ms
        return fields

    @property
    def end_of_speech_ms(self) -> int:
        """After so much silence it has told that the caller stopped."""
        return self.silence_duration_ms


@dataclass(frozen=True, slots=True)
class SemanticVad:
    """The caller's turns by what was said: a thought that has not ended is waited for."""

    eagerness: Eagerness = "auto"

    def turn_detection(self) -> dict[str, Any]:
        """Return the fields of `turn_detection` that are this detector's own."""
        return {"type": "semantic_vad", "eagerness": self.eagerness}

    @property
    def end_of_speech_ms(self) -> int:
        """After so much silence it has told that the caller stopped."""
        return {"low": 8_000, "high": 2_000}.get(self.eagerness, 4_000)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent's settings; the defaults are those of the built-in agent."""

    name: str = "built-in"
    instructions: str = (
        "You answer the phone for a small business. You are warm, quick and to the point. Keep each answer "
        "to one or two short sentences, because the caller listens and cannot read. Speak numbers and times "
        "the way people say them. If you did not understand, say so and ask again. Never claim to be human."
    )
    greeting: str = "Greet the caller in one short sentence and ask how you can help."
    voice: str = "marin"
    model: str = "gpt-realtime-2.1"
    audio_path: AudioPath = "pcm24k"
    transcription_model: str = "gpt-realtime-whisper"
    language: str = "en"
    noise_reduction: NoiseReduction = "far_field"
    turn_detection: ServerVad | SemanticVad = ServerVad()
    listen_during_greeting: bool = True
    min_speech_ms: int = 0
    """Shorter speech does not stop the agent; 0: all speech does."""
    filler: Filler = "soft"
    """What the caller hears while an answer that is owed does not come."""
    max_output_tokens: int | Literal["inf"] = 4096
    speed: float = 1.0
    reasoning_effort: ReasoningEffort = "low"
    """Told only to models that take it."""
    tools: tuple[HttpTool | McpTool, ...] = ()
    can_end_call: bool = False
    transfer_targets: tuple[TransferTarget, ...] = ()
    can_send_digits: bool = False
    tools_per_minute: int = 20
    limits: Limits = field(default_factory=Limits)
    redact: tuple[Redaction, ...] = ()
    """What is taken out of the call's texts before they are stored."""
    retention_days: int | None = None
    """How long the call is kept; None: until somebody deletes it."""

    def built_in_tools(self) -> tuple[BuiltInTool, ...]:
        """Return the tools that act on the call itself."""
        return (
            *((agent_tools.end_call(),) if self.can_end_call else ()),
            *((agent_tools.transfer_call(self.transfer_targets),) if self.transfer_targets else ()),
            *((agent_tools.send_digits(),) if self.can_send_digits else ()),
        )

    def listening(self) -> dict[str, Any]:
        """Return `turn_detection` whole.

        Answering, and stopping at an interruption, is left to the model, unless speech may be too short to count:
        then the core does both.
        """
        by_itself = self.min_speech_ms == 0
        return {
            **self.turn_detection.turn_detection(),
            "create_response": by_itself,
            "interrupt_response": by_itself,
        }

    def session(self, *, deaf: bool = False) -> dict[str, Any]:
        """Return the body of `session.update` (OpenAI: Realtime, GA shape); a `deaf` session looks for no turns.

        Every field is set: defaults differ from model to model. Nulls are left out rather than sent; a session
        begins without noise reduction and without a language.
        """
        audio_format = (
            {"type": "audio/pcm", "rate": 24000} if self.audio_path == "pcm24k" else {"type": "audio/pcmu"}
        )
        transcription = {"model": self.transcription_model}
        if self.language != ANY_LANGUAGE:
            transcription["language"] = self.language
        audio_input: dict[str, Any] = {
            "format": audio_format,
            "transcription": transcription,
            "turn_detection": self.listening(),
        }
        if deaf:
            audio_input["turn_detection"] = None
        if self.noise_reduction != "none":
            audio_input["noise_reduction"] = {"type": self.noise_reduction}
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": self.instructions,
            "audio": {
                "input": audio_input,
                "output": {"format": audio_format, "voice": self.voice, "speed": self.speed},
            },
            "tools": [each.definition() for each in (*self.built_in_tools(), *self.tools)],
            "tool_choice": "auto",
            "max_output_tokens": self.max_output_tokens,
            "truncation": "auto",
        }
        if takes_reasoning(self.model):
            session["reasoning"] = {"effort": self.reasoning_effort}
        return session
