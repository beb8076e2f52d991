"""What a client of the older Realtime API (beta) may send, as strict types.

The session is flat, and GA's names in it are unknown parameters, as they were then (OpenAI: Realtime API
reference, beta). Events that were the same are taken from `openai_schema`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from trunkline_simulators.openai_schema import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    ClientEventFields,
    FunctionCallItem,
    FunctionCallOutputItem,
    InputAudio,
    InputText,
    ItemDelete,
    ItemFields,
    ItemReference,
    ItemRetrieve,
    ItemTruncate,
    Metadata,
    OutputAudioClear,
    ResponseCancel,
)
from trunkline_simulators.openai_session_schema import (
    ChosenFunction,
    FunctionTool,
    MaxOutputTokens,
    Modality,
    NoiseReduction,
    SemanticVad,
    Strict,
    Tracing,
    TranscriptionModel,
    Voice,
)

Format: TypeAlias = Literal["pcm16", "g711_ulaw", "g711_alaw"]
Temperature: TypeAlias = Annotated[float, Meta(ge=0.6, le=1.2)]
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | ChosenFunction


class ServerVad(Strict, tag_field="type", tag="server_vad"):
    """Turns by loudness and silence; there was no idle timeout yet."""

    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    prefix_padding_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    silence_duration_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class Transcription(Strict):
    """The separate model that writes down what the caller said."""

    model: TranscriptionModel | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET


class Session(Strict):
    """The settings of a session that a client may change."""

    model: str | UnsetType = UNSET
    modalities: list[Modality] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    voice: Voice | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType = UNSET
    input_audio_format: Format | UnsetType = UNSET
    output_audio_format: Format | UnsetType = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET
    tools: list[FunctionTool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    max_response_output_tokens: MaxOutputTokens | UnsetType = UNSET
    tracing: Literal["auto"] | Tracing | UnsetType | None = UNSET


class Text(Strict, kw_only=True, tag_field="type", tag="text"):
    """Text of the assistant."""

    text: str


class MessageItem(ItemFields, kw_only=True, tag_field="type", tag="message"):
    """Something said or written."""

    role: Literal["user", "assistant", "system"]
    content: list[InputText | InputAudio | Text]


Item: TypeAlias = MessageItem | FunctionCallItem | FunctionCallOutputItem


class ResponseParameters(Strict):
    """What a `response.create` may set for one response only."""

    conversation: Literal["auto", "none"] | UnsetType = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    input: list[MessageItem | FunctionCallItem | FunctionCallOutputItem | ItemReference] | UnsetType = UNSET
    modalities: list[Modality] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    voice: Voice | UnsetType = UNSET
    output_audio_format: Format | UnsetType = UNSET
    tools: list[FunctionTool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    max_response_output_tokens: MaxOutputTokens | UnsetType = UNSET


class SessionUpdate(ClientEventFields, kw_only=True, tag_field="type", tag="session.update"):
    """Change settings; all of them or, if one is wrong, none."""

    session: Session


class ItemCreate(ClientEventFields, kw_only=True, tag_field="type", tag="conversation.item.create"):
    """Insert an item."""

    item: Item
    previous_item_id: str | None = None


class ResponseCreate(ClientEventFields, kw_only=True, tag_field="type", tag="response.create"):
    """Ask the model to answer now."""

    response: ResponseParameters | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
    | OutputAudioClear
)
