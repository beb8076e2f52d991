"""The settings of one simulated session: a model's defaults, and what an update may change.

An update is applied whole or not at all, and only the fields it names change; the echo in
`session.updated` is always complete (OpenAI: Realtime API reference, session.update). Refusals
whose exact wording nobody has recorded are marked "own words" below.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trunkline_simulators.openai_rejection import Rejection
from trunkline_simulators.openai_session_schema import (
    AudioInput,
    AudioOutput,
    RealtimeSession,
    SemanticVad,
    ServerVad,
    Transcription,
    TranscriptionSession,
)

SESSION_S_MAX = 3_600  # "Your session hit the maximum duration of 60 minutes."
SHUT_DOWN_MODELS = ("gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview", "gpt-realtime-mini-2025-10-06")

AudioFormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

# How long semantic VAD waits at most, which is how long it always waits here (OpenAI: VAD guide).
EAGERNESS_SILENCE_MS = {"low": 8_000, "medium": 4_000, "auto": 4_000, "high": 2_000}


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How a session finds the caller's turns, and what it does when one starts and ends."""

    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    idle_timeout_ms: int | None
    create_response: bool
    interrupt_response: bool


def is_known_model(model: str) -> bool:
    """Return whether a realtime session can be opened with this model name."""
    return model.startswith("gpt-realtime") and not model.startswith(SHUT_DOWN_MODELS)


class Configuration:
    """The settings in force, held in the shape in which they are echoed."""

    def __init__(self, model: str, session_id: str, created_at_unix_s: int) -> None:
        newer = _is_reasoning(model)
        self.echo: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI.",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "expires_at": created_at_unix_s + SESSION_S_MAX,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": _server_vad_defaults(silence_duration_ms=500 if newer else 200),
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "voice": "marin" if newer else "alloy",
                    "speed": 1.0,
                },
            },
            "include": None,
        }

    def apply(
        self, update: RealtimeSession | TranscriptionSession, *, assistant_spoke: bool, response_active: bool
    ) -> None:
        """Change what the update names; `Rejection`, and no change at all, when any of it is refused."""
        if isinstance(update, TranscriptionSession):
            raise Rejection(
                "Passing a transcription session update event to a realtime session is not allowed.",
                param="session.type",
            )
        self._check(update, assistant_spoke, response_active)
        changed = copy.deepcopy(self.echo)
        for name, value in _present(update).items():
            if name != "audio":
                changed[name] = value
        if update.audio is not UNSET:
            _merge_input(changed["audio"]["input"], update.audio.input)
            _merge_output(changed["audio"]["output"], update.audio.output)
        self.echo = changed

    @property
    def input_format(self) -> AudioFormatName:
        """How the caller's audio is encoded."""
        name: AudioFormatName = self.echo["audio"]["input"]["format"]["type"]
        return name

    @property
    def turn_detection(self) -> TurnDetection | None:
        """How turns are found; None when the client commits by hand."""
        settings = self.echo["audio"]["input"]["turn_detection"]
        if settings is None:
            return None
        semantic = settings["type"] == "semantic_vad"
        return TurnDetection(
            threshold=0.5 if semantic else settings["threshold"],
            prefix_padding_ms=300 if semantic else settings["prefix_padding_ms"],
            silence_duration_ms=(
                EAGERNESS_SILENCE_MS[settings["eagerness"]] if semantic else settings["silence_duration_ms"]
            ),
            idle_timeout_ms=None if semantic else settings["idle_timeout_ms"],
            create_response=settings["create_response"],
            interrupt_response=settings["interrupt_response"],
        )

    @property
    def context_tokens_max(self) -> int:
        """How much a response of this model can read."""
        return 128_000 if _is_reasoning(self.echo["model"]) else 28_224

    @property
    def transcription_model(self) -> str | None:
        """The model that transcribes the caller; None when nobody does."""
        settings = self.echo["audio"]["input"]["transcription"]
        return None if settings is None else settings["model"]

    def _check(self, update: RealtimeSession, assistant_spoke: bool, response_active: bool) -> None:
        model = self.echo["model"]
        if update.model is not UNSET and update.model != model:  # own words
            raise Rejection("Cannot update a conversation's model.", param="session.model")
        if update.output_modalities is not UNSET:
            check_modalities(list(update.output_modalities), "session.output_modalities")
        for name in ("reasoning", "parallel_tool_calls"):
            if getattr(update, name) is not UNSET and not _is_reasoning(model):  # own words
                raise Rejection(
                    f"Unsupported parameter: '{name}' is not supported with the '{model}' model.",
                    code="unsupported_parameter",
                    param=f"session.{name}",
                )
        tracing = self.echo["tracing"]
        if tracing is not None and "tracing" in (new := _present(update)) and new["tracing"] != tracing:
            raise Rejection("Cannot update tracing once it is enabled.", param="session.tracing")  # own words
        if update.audio is not UNSET and update.audio.input is not UNSET:
            _check_transcription(update.audio.input.transcription)
        if update.audio is not UNSET and update.audio.output is not UNSET:
            self._check_output(update.audio.output, assistant_spoke, response_active)

    def _check_output(self, update: AudioOutput, assistant_spoke: bool, response_active: bool) -> None:
        current = self.echo["audio"]["output"]
        wanted = _present(update)
        if assistant_spoke and wanted.get("voice", current["voice"]) != current["voice"]:
            raise voice_is_locked()
        if response_active and wanted.get("speed", current["speed"]) != current["speed"]:  # own words
            raise Rejection(
                "Cannot update speed while a response is in progress.", param="session.audio.output.speed"
            )


def voice_is_locked() -> Rejection:
    """Return the refusal of another voice once the assistant has spoken."""
    return Rejection(
        "Cannot update a conversation's voice if assistant audio is present.", code="cannot_update_voice"
    )


def check_modalities(modalities: list[str], param: str) -> None:
    """Raise `Rejection` unless exactly one kind of output is asked for."""
    if modalities not in (["audio"], ["text"]):
        raise Rejection(
            f"Invalid modalities: {modalities}. Supported combinations are: ['text'] and ['audio'].",
            param=param,
        )


def _is_reasoning(model: str) -> bool:
    return model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-2025")


def _server_vad_defaults(silence_duration_ms: int) -> dict[str, Any]:
    return {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": silence_duration_ms,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }


def _check_transcription(update: Transcription | UnsetType | None) -> None:
    if not isinstance(update, Transcription):
        return
    model = update.model
    refused = {
        "prompt": model == "gpt-realtime-whisper" and update.prompt,
        "delay": model != "gpt-realtime-whisper" and update.delay is not UNSET,
        "keywords": model not in {"gpt-transcribe", "gpt-live-transcribe"} and update.keywords is not UNSET,
        "languages": model not in {"gpt-transcribe", "gpt-live-transcribe"} and update.languages is not UNSET,
    }
    for name, is_refused in refused.items():
        if is_refused:  # own words
            raise Rejection(
                f"Unsupported parameter: '{name}' is not supported with the '{model}' model.",
                code="unsupported_parameter",
                param=f"session.audio.input.transcription.{name}",
            )


def _merge_input(current: dict[str, Any], update: AudioInput | UnsetType) -> None:
    if update is UNSET:
        return
    wanted = _present(update)
    if isinstance(update.transcription, Transcription):
        wanted["transcription"] = {"model": "whisper-1", "language": None, "prompt": None} | wanted[
            "transcription"
        ]
    match update.turn_detection:
        case ServerVad():
            base = current["turn_detection"]
            if base is None or base["type"] != "server_vad":
                base = _server_vad_defaults(silence_duration_ms=500)
            wanted["turn_detection"] = base | wanted["turn_detection"]
        case SemanticVad():
            base = {"type": "semantic_vad", "eagerness": "auto"}
            base |= {"create_response": True, "interrupt_response": True}
            wanted["turn_detection"] = base | wanted["turn_detection"]
        case _:
            pass
    current.update(wanted)


def _merge_output(current: dict[str, Any], update: AudioOutput | UnsetType) -> None:
    if update is not UNSET:
        current.update(_present(update))


def _present(settings: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(settings)
    return fields
