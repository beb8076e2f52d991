"""What a client may send to the OpenAI Realtime API: events, items and responses, as strict types.

What is wrong with a refused event is told by `openai_rejection.explain`, from these same types
(OpenAI: Realtime API reference, client events).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from trunkline_simulators.openai_session_schema import (
    AudioFormat,
    MaxOutputTokens,
    Modality,
    Prompt,
    RealtimeSession,
    Reasoning,
    Strict,
    ToolChoice,
    Tools,
    TranscriptionSession,
    Voice,
    VoiceId,
)

Identifier = Annotated[str, Meta(max_length=32)]  # client-made item and call ids
EventId = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


# -- conversation items --------------------------------------------------------------------------


class InputText(Strict, kw_only=True, tag_field="type", tag="input_text"):
    """Text of a user or of the system."""

    text: str


class InputAudio(Strict, kw_only=True, tag_field="type", tag="input_audio"):
    """Audio of a user, base64 in the session's input format."""

    audio: str
    transcript: str | UnsetType | None = UNSET


class InputImage(Strict, kw_only=True, tag_field="type", tag="input_image"):
    """A picture as a data URI."""

    image_url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class OutputText(Strict, kw_only=True, tag_field="type", tag="output_text"):
    """Text of the assistant."""

    text: str


class OutputAudio(Strict, kw_only=True, tag_field="type", tag="output_audio"):
    """Audio of the assistant: in the specification, but it cannot be inserted in practice."""

    audio: str | UnsetType = UNSET
    transcript: str | UnsetType | None = UNSET


Content: TypeAlias = InputText | InputAudio | InputImage | OutputText | OutputAudio


class ItemFields(Strict):
    """What every item may carry; `status` has no effect on the conversation."""

    id: Identifier | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: Literal["completed", "incomplete", "in_progress"] | UnsetType = UNSET


class MessageItem(ItemFields, kw_only=True, tag_field="type", tag="message"):
    """Something said or written; which content a role may have is checked by the conversation."""

    role: Literal["user", "assistant", "system"]
    content: list[Content]


class FunctionCallItem(ItemFields, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model once asked for, replayed."""

    name: str
    arguments: str
    call_id: Identifier | UnsetType = UNSET


class FunctionCallOutputItem(ItemFields, kw_only=True, tag_field="type", tag="function_call_output"):
    """The answer to a call."""

    call_id: Identifier
    output: str


class McpApprovalResponseItem(ItemFields, kw_only=True, tag_field="type", tag="mcp_approval_response"):
    """The client's yes or no to a tool server's call."""

    approval_request_id: str
    approve: bool
    reason: str | UnsetType | None = UNSET


class ItemReference(Strict, kw_only=True, tag_field="type", tag="item_reference"):
    """An item of this session, named in the `input` of a response."""

    id: str


Item: TypeAlias = MessageItem | FunctionCallItem | FunctionCallOutputItem | McpApprovalResponseItem


# -- responses -----------------------------------------------------------------------------------


class ResponseAudioOutput(Strict):
    """The voice and format of one response."""

    format: AudioFormat | UnsetType = UNSET
    voice: Voice | VoiceId | UnsetType = UNSET


class ResponseAudio(Strict):
    """The audio settings of one response."""

    output: ResponseAudioOutput | UnsetType = UNSET


class ResponseParameters(Strict):
    """What a `response.create` may set for one response only."""

    conversation: Literal["auto", "none"] | UnsetType = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    input: list[MessageItem | FunctionCallItem | FunctionCallOutputItem | ItemReference] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    output_modalities: list[Modality] | UnsetType = UNSET
    audio: ResponseAudio | UnsetType = UNSET
    max_output_tokens: MaxOutputTokens | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    prompt: Prompt | UnsetType | None = UNSET
    reasoning: Reasoning | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET


# -- events --------------------------------------------------------------------------------------


class ClientEventFields(Strict):
    """What every client event may carry; the server repeats the id in an error about the event."""

    event_id: EventId | None = None


class SessionUpdate(ClientEventFields, kw_only=True, tag_field="type", tag="session.update"):
    """Change settings; all of them or, if one is wrong, none."""

    session: RealtimeSession | TranscriptionSession


class AudioAppend(ClientEventFields, kw_only=True, tag_field="type", tag="input_audio_buffer.append"):
    """More of the caller's audio, base64 in the input format; it is not acknowledged."""

    audio: str


class AudioCommit(ClientEventFields, kw_only=True, tag_field="type", tag="input_audio_buffer.commit"):
    """End the caller's turn by hand."""


class AudioClear(ClientEventFields, kw_only=True, tag_field="type", tag="input_audio_buffer.clear"):
    """Forget the audio that is not committed."""


class ItemCreate(ClientEventFields, kw_only=True, tag_field="type", tag="conversation.item.create"):
    """Insert an item: at the end, after `previous_item_id`, or at the start (`"root"`)."""

    item: Item
    previous_item_id: str | None = None


class ItemRetrieve(ClientEventFields, kw_only=True, tag_field="type", tag="conversation.item.retrieve"):
    """Ask for an item as the server has it, with its audio."""

    item_id: str


class ItemTruncate(ClientEventFields, kw_only=True, tag_field="type", tag="conversation.item.truncate"):
    """Cut assistant audio that nobody heard."""

    item_id: str
    content_index: int
    audio_end_ms: Annotated[int, Meta(ge=0)]


class ItemDelete(ClientEventFields, kw_only=True, tag_field="type", tag="conversation.item.delete"):
    """Remove an item."""

    item_id: str


class ResponseCreate(ClientEventFields, kw_only=True, tag_field="type", tag="response.create"):
    """Ask the model to answer now."""

    response: ResponseParameters | None = None


class ResponseCancel(ClientEventFields, kw_only=True, tag_field="type", tag="response.cancel"):
    """Stop a response: the named one, or the one of the default conversation."""

    response_id: str | None = None


class OutputAudioClear(ClientEventFields, kw_only=True, tag_field="type", tag="output_audio_buffer.clear"):
    """WebRTC and SIP only."""


class SessionClose(ClientEventFields, kw_only=True, tag_field="type", tag="session.close"):
    """Named by the server's own list of supported values; ends the session."""


class TranscriptionSessionUpdate(msgspec.Struct, tag_field="type", tag="transcription_session.update"):
    """For transcription sessions; an error here whatever it holds."""

    event_id: EventId | None = None


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
    | SessionClose
    | TranscriptionSessionUpdate
)
