"""The items of one conversation, in order, and what may be done to them.

Rules:
- An item follows the one it names, the last one by default, or nothing (`"root"`); an unknown
  name or an id that exists already is an error, and the item is not added.
- Only assistant audio can be truncated, and not beyond what was sent; the transcript goes too.
- What the server counts as sent is about 85 ms shorter than the bytes it sent.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from trunkline_simulators.openai_audio import FORMATS, decode_base64
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_rejection import Rejection, supported
from trunkline_simulators.openai_schema import (
    FunctionCallItem,
    FunctionCallOutputItem,
    InputAudio,
    ItemCreate,
    McpApprovalResponseItem,
    MessageItem,
)
from trunkline_simulators.openai_schema import (
    Item as CreatedItem,
)
from trunkline_simulators.openai_usage import ASSISTANT_TOKENS_S, CALLER_TOKENS_S, Piece, text_tokens

ITEMS_MAX = 5_000  # an hour of one item a second leaves room; more is a client in a loop
UNCOUNTED_MS = 85  # by which the server's length of an item is below the bytes it sent

_ROLE_CONTENT = {
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text",),
    "system": ("input_text",),
}


@dataclass(slots=True)
class Item:
    """One message, call or answer; `fields` is what clients see of it, without audio."""

    id: str
    fields: dict[str, Any]
    audio: bytearray = field(default_factory=bytearray)
    audio_format: AudioFormatName = "audio/pcm"
    uncounted_ms: int = UNCOUNTED_MS  # none once a truncation has set the exact length

    @property
    def role(self) -> str | None:
        """Who a message is from; None for calls and their answers."""
        return self.fields.get("role")

    @property
    def is_assistant_audio(self) -> bool:
        """Whether this can be truncated."""
        return self.role == "assistant" and len(self.audio) > 0

    @property
    def audio_ms(self) -> float:
        """How long its audio is."""
        return FORMATS[self.audio_format].duration_ms(len(self.audio))

    def wire(self) -> dict[str, Any]:
        """Return the item as it stands in server events; a copy, since the item goes on changing."""
        copied: dict[str, Any] = msgspec.to_builtins(self.fields)
        return {"id": self.id} | copied

    def wire_with_audio(self) -> dict[str, Any]:
        """Return the item as `conversation.item.retrieved` has it."""
        shown = self.wire()
        for part in shown.get("content", []):
            if part["type"] in {"input_audio", "output_audio"}:
                part["audio"] = base64.b64encode(self.audio).decode()
        return shown

    def text(self) -> str:
        """Return its words: written, called, answered, or transcribed speech of the assistant."""
        parts = self.fields.get("content", [])
        # A caller's transcript is for people; the model never reads it.
        words = [
            part.get("text") or part.get("transcript") or ""
            for part in parts
            if part["type"] != "input_audio"
        ]
        words += [str(self.fields.get(name, "")) for name in ("name", "arguments", "output")]
        return " ".join(filter(None, words))

    def piece(self) -> Piece:
        """Return what this item weighs in a context."""
        rate = ASSISTANT_TOKENS_S if self.role == "assistant" else CALLER_TOKENS_S
        return Piece(self.id, text_tokens(self.text()), round(self.audio_ms * rate / 1000))


class Conversation:
    """The default conversation of a session."""

    def __init__(self, dice: Dice) -> None:
        self.id = dice.id("conv")
        self.items: list[Item] = []
        self._dice = dice

    def new_id(self) -> str:
        """Return an id for another item."""
        return self._dice.id("item")

    def last_id(self) -> str | None:
        """Return the id of the last item, if there is one."""
        return self.items[-1].id if self.items else None

    def last_user_item(self) -> Item | None:
        """Return what the caller said or wrote last."""
        return next((item for item in reversed(self.items) if item.role == "user"), None)

    def append(self, item: Item) -> str | None:
        """Add an item at the end and return the id of the one before it."""
        previous = self.last_id()
        self.items.append(item)
        return previous

    def create(self, event: ItemCreate, input_format: AudioFormatName) -> tuple[Item, str | None]:
        """Add a client's item; return it with the id of the one before it, or raise `Rejection`."""
        if len(self.items) >= ITEMS_MAX:  # own words
            raise Rejection(f"Error adding item: a conversation holds at most {ITEMS_MAX} items.")
        item = self.item_of(event.item, input_format, "item")
        if any(each.id == item.id for each in self.items):
            raise Rejection(
                f"Error adding item: an item with id '{item.id}' already exists.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        if isinstance(event.item, FunctionCallOutputItem):
            self._check_call(event.item.call_id)
        if isinstance(event.item, McpApprovalResponseItem):
            self._check_approval(event.item.approval_request_id)
        position = self._position_after(event.previous_item_id)
        self.items.insert(position, item)
        return item, self.items[position - 1].id if position else None

    def item_of(self, created: CreatedItem, input_format: AudioFormatName, param: str) -> Item:
        """Return a client's item without adding it; `Rejection` when a role cannot hold its content."""
        fields = msgspec.to_builtins(created)
        fields.pop("object", None)
        fields["status"] = "completed"
        item = Item(fields.pop("id", None) or self._dice.id("item"), fields, audio_format=input_format)
        if isinstance(created, FunctionCallItem) and created.call_id is UNSET:
            fields["call_id"] = self._dice.id("call", 16)
        if isinstance(created, MessageItem):
            for index, part in enumerate(created.content):
                where = f"{param}.content[{index}]"
                kind = fields["content"][index]["type"]
                if kind not in _ROLE_CONTENT[created.role]:
                    raise Rejection(
                        f"Invalid value: '{kind}'. {supported(_ROLE_CONTENT[created.role])}",
                        param=f"{where}.type",
                    )
                if isinstance(part, InputAudio):
                    item.audio += decode_base64(part.audio, f"{where}.audio")
                    fields["content"][index].pop("audio")
                    fields["content"][index].setdefault("transcript", None)
        return item

    def find(self, item_id: str, code: str) -> Item:
        """Return an item by its id; `Rejection` with this code when there is none."""
        for item in self.items:
            if item.id == item_id:
                return item
        raise Rejection(f"Item with item_id not found: {item_id}", code=code, param="item_id")

    def retrieve(self, item_id: str) -> Item:
        """Return an item, or raise `Rejection`."""
        return self.find(item_id, "item_retrieve_invalid_item_id")

    def delete(self, item_id: str) -> None:
        """Remove an item, or raise `Rejection`."""
        self.items.remove(self.find(item_id, "item_delete_invalid_item_id"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut an assistant's audio and forget its words, or raise `Rejection`."""
        item = self.find(item_id, "item_truncate_invalid_item_id")
        if not item.is_assistant_audio:
            raise Rejection(
                "Only model output audio messages can be truncated", code="unsupported_content_type"
            )
        if content_index != 0:  # own words
            raise Rejection(f"Invalid value: '{content_index}'. {supported((0,))}", param="content_index")
        length_ms = max(0, int(item.audio_ms) - item.uncounted_ms)
        if audio_end_ms > length_ms:
            raise Rejection(
                f"Audio content of {length_ms}ms is already shorter than {audio_end_ms}ms",
                param="audio_end_ms",
            )
        audio_format = FORMATS[item.audio_format]
        kept_samples = audio_end_ms * audio_format.rate_hz // 1000
        del item.audio[kept_samples * audio_format.sample_bytes :]
        item.uncounted_ms = 0
        for part in item.fields["content"]:
            part.pop("transcript", None)

    def _position_after(self, previous_item_id: str | None) -> int:
        if previous_item_id is None:
            return len(self.items)
        if previous_item_id == "root":
            return 0
        for position, item in enumerate(self.items, start=1):
            if item.id == previous_item_id:
                return position
        raise Rejection(  # own words
            f"Error adding item: the previous item with id '{previous_item_id}' does not exist.",
            param="previous_item_id",
        )

    def _check_call(self, call_id: str) -> None:
        calls = (item.fields.get("call_id") for item in self.items if item.fields["type"] == "function_call")
        if call_id not in calls:
            raise Rejection(
                f"Tool call ID '{call_id}' not found in conversation.",
                code="invalid_tool_call_id",
                param="item.call_id",
            )

    def _check_approval(self, request_id: str) -> None:
        requests = (item.id for item in self.items if item.fields["type"] == "mcp_approval_request")
        if request_id not in requests:  # own words
            raise Rejection(
                f"Approval request ID '{request_id}' not found in conversation.",
                param="item.approval_request_id",
            )
