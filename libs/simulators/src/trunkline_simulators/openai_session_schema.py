"""The settings of a session of the OpenAI Realtime API, as strict types.

Unknown fields are errors everywhere, as at OpenAI, and an absent field (`UNSET`) is not `null`:
absent leaves a setting as it is, `null` clears it (OpenAI: Realtime API reference, session.update).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

Voice = Literal["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]
Modality = Literal["text", "audio"]
MaxOutputTokens: TypeAlias = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]


class Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An object in which an unknown field is an error."""


# -- audio ---------------------------------------------------------------------------------------


class AudioPcm(Strict, tag_field="type", tag="audio/pcm"):
    """PCM16 little-endian mono; the rate must be named and is always 24 kHz."""

    rate: Annotated[int, Meta(ge=24_000, le=24_000)]


class AudioPcmu(Strict, tag_field="type", tag="audio/pcmu"):
    """G.711 μ-law at 8 kHz, without a rate field."""


class AudioPcma(Strict, tag_field="type", tag="audio/pcma"):
    """G.711 A-law at 8 kHz, without a rate field."""


AudioFormat: TypeAlias = AudioPcm | AudioPcmu | AudioPcma


class NoiseReduction(Strict):
    """Filtering before the VAD and the model; accepted and not simulated."""

    type: Literal["near_field", "far_field"]


TranscriptionModel = Literal[
    "whisper-1",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-realtime-whisper",
]


class Transcription(Strict):
    """The separate model that writes down what the caller said."""

    model: TranscriptionModel | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET
    keywords: list[str] | UnsetType = UNSET
    languages: list[str] | UnsetType = UNSET


class ServerVad(Strict, tag_field="type", tag="server_vad"):
    """Turns by loudness and silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    prefix_padding_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    silence_duration_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class SemanticVad(Strict, tag_field="type", tag="semantic_vad"):
    """Turns by meaning; the fields of `ServerVad` about loudness and silence are errors here."""

    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class VoiceId(Strict):
    """A custom voice."""

    id: str


class AudioInput(Strict):
    """The caller's side of the session."""

    format: AudioFormat | UnsetType = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET


class AudioOutput(Strict):
    """The model's side of the session."""

    format: AudioFormat | UnsetType = UNSET
    voice: Voice | VoiceId | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType = UNSET


class Audio(Strict):
    """Both directions of the session's audio."""

    input: AudioInput | UnsetType = UNSET
    output: AudioOutput | UnsetType = UNSET


# -- tools ---------------------------------------------------------------------------------------


class FunctionTool(Strict, tag_field="type", tag="function"):
    """A function that the model may ask the client to call."""

    name: str
    description: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class McpTool(Strict, tag_field="type", tag="mcp"):
    """A tool server that OpenAI would call by itself; accepted and never called here."""

    server_label: str
    server_url: str | UnsetType = UNSET
    server_description: str | UnsetType = UNSET
    authorization: str | UnsetType = UNSET
    connector_id: str | UnsetType = UNSET
    tunnel_id: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    allowed_tools: list[str] | dict[str, Any] | UnsetType | None = UNSET
    allowed_callers: list[Literal["direct", "programmatic"]] | UnsetType = UNSET
    require_approval: Literal["always", "never"] | dict[str, Any] | UnsetType | None = UNSET
    defer_loading: bool | UnsetType = UNSET


class ChosenFunction(Strict, tag_field="type", tag="function"):
    """`tool_choice` that forces one function."""

    name: str


class ChosenMcp(Strict, tag_field="type", tag="mcp"):
    """`tool_choice` that forces a tool server, or one tool of it."""

    server_label: str
    name: str | UnsetType | None = UNSET


Tools: TypeAlias = list[FunctionTool | McpTool]
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | ChosenFunction | ChosenMcp


# -- the session ---------------------------------------------------------------------------------


class Reasoning(Strict):
    """How long a 2.x model thinks before it answers."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class Prompt(Strict):
    """A reusable prompt stored at OpenAI."""

    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class Tracing(Strict):
    """Names under which a session appears on OpenAI's traces page."""

    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class TokenLimits(Strict):
    """Limits of the context under `RetentionRatio`."""

    post_instructions: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class RetentionRatio(Strict, tag_field="type", tag="retention_ratio"):
    """How much of the context survives a truncation."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType = UNSET


class RealtimeSession(Strict, tag_field="type", tag="realtime"):
    """The settings of a session that a client may change; `type` is required on every update."""

    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    max_output_tokens: MaxOutputTokens | UnsetType = UNSET
    output_modalities: list[Modality] | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tracing: Literal["auto"] | Tracing | UnsetType | None = UNSET
    include: list[Literal["item.input_audio_transcription.logprobs"]] | UnsetType | None = UNSET
    prompt: Prompt | UnsetType | None = UNSET
    truncation: Literal["auto", "disabled"] | RetentionRatio | UnsetType = UNSET
    reasoning: Reasoning | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET


class TranscriptionSession(msgspec.Struct, tag_field="type", tag="transcription"):
    """The other kind of session; sending it to a realtime session is an error whatever it holds."""
