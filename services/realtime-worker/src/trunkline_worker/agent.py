"""The agent that answers: what it says first, its voice, and the session it needs, every field explicit."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from trunkline_worker.events import AudioPath

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

NoiseReduction = Literal["near_field", "far_field"]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent's settings; the defaults are those of the built-in agent, which answers every number."""

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
    vad_threshold: float = 0.5
    vad_prefix_padding_ms: int = 300
    vad_silence_ms: int = 500
    max_output_tokens: int = 4096

    def session(self) -> dict[str, Any]:
        """Return the body of `session.update` (OpenAI: Realtime, GA shape).

        Every field is set: defaults differ from model to model. Nulls are left out rather than sent.
        """
        audio_format = (
            {"type": "audio/pcm", "rate": 24000} if self.audio_path == "pcm24k" else {"type": "audio/pcmu"}
        )
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": self.instructions,
            "audio": {
                "input": {
                    "format": audio_format,
                    "noise_reduction": {"type": self.noise_reduction},
                    "transcription": {"model": self.transcription_model, "language": self.language},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": self.vad_threshold,
                        "prefix_padding_ms": self.vad_prefix_padding_ms,
                        "silence_duration_ms": self.vad_silence_ms,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": audio_format, "voice": self.voice, "speed": 1.0},
            },
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": self.max_output_tokens,
            "truncation": "auto",
        }
        if _REASONING_MODEL.match(self.model):
            # Older models reject the whole update because of this field.
            session["reasoning"] = {"effort": "low"}
        return session
