"""One response of the simulated model: what it will say, when each event is due, and how it is cut.

Rules, from recorded sessions:
- Events come in one fixed order; the transcript runs ahead of the audio, and the `.done` events
  follow the last delta at once.
- Audio comes several times faster than it sounds, in deltas of about 250 ms. The first and the
  last are shorter and no size is a multiple of 20 ms.
- A response that is cut closes its open items as `incomplete`, then itself as `cancelled`.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_conversation import Item
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import Fault
from trunkline_simulators.openai_usage import ASSISTANT_TOKENS_S, text_tokens

ServerEvent: TypeAlias = dict[str, Any]  # without its event_id

DELTA_MS = 250
FIRST_DELTA_MS = 130
_DELTA_SPREAD_MS = 20
_WORDS_AHEAD = 3  # transcript deltas before the first audio delta


@dataclass(frozen=True, slots=True)
class Speech:
    """Something to be spoken: its words, and its sound in the response's output format."""

    text: str
    audio: bytes
    phase: str | None = None  # "commentary" or "final_answer" on 2.x models that use phases


@dataclass(frozen=True, slots=True)
class Writing:
    """Something to be written instead of spoken."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the client is to call; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class McpApproval:
    """A question whether a tool of an MCP server may be called."""

    server_label: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class McpCall:
    """A tool of an MCP server that OpenAI calls by itself."""

    server_label: str
    name: str
    arguments: str
    approval_request_id: str | None
    failed: bool


Reply: TypeAlias = Speech | Writing | Call | McpApproval | McpCall


@dataclass(frozen=True, slots=True)
class Step:
    """The next thing that happens to one output item, or to the whole response (`finish`)."""

    due_s: float  # after the response began to speak
    do: Literal["open", "words", "sound", "close", "finish"]
    output: int = 0
    words: str = ""
    sound: bytes = b""


@dataclass(slots=True)
class Output:
    """One item of a response while it is made."""

    item: Item
    reply: Reply
    said: str = ""
    state: Literal["waiting", "open", "closed"] = "waiting"


@dataclass(slots=True)
class Response:
    """One response; `perform` turns its steps into events and `cut` ends it early."""

    id: str
    shown: dict[str, Any]  # the fields that never change: conversation_id, modalities, metadata, …
    audio_format: AudioFormatName
    in_conversation: bool
    speak_at: float  # not before this; set when the response is created
    hears: str | None = None  # item that must be recognised before the reply is known
    plan: deque[Step] = field(default_factory=deque)
    outputs: list[Output] = field(default_factory=list)
    deltas_until_cut: int | None = None  # audio deltas still in flight after an interruption
    input_items: list[Item] | None = None  # its own context; None for the conversation
    tokens_max: int | None = None
    faults: list[Fault] = field(default_factory=list)
    planned: bool = False

    def wire(
        self, status: str, details: dict[str, Any] | None, usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the response as it stands in `response.created` and `response.done`."""
        done = [output.item.wire() for output in self.outputs if output.state == "closed"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": done,
            **self.shown,
            "usage": usage,
        }

    def load(self, replies: list[Reply], dice: Dice, pace: float, *, split_samples: bool) -> None:
        """Decide what is said; `pace` is how much faster than real time it is sent."""
        for reply in replies:
            self.outputs.append(Output(_new_item(reply, dice, self.audio_format), reply))
        self.plan = plan(self.outputs, dice, pace, self.audio_format, split_samples=split_samples)
        self.planned = True

    def next_due(self) -> float | None:
        """Return when the next step is due; None while the reply is not known or nothing is left."""
        if not self.planned:
            return self.speak_at if self.hears is None else None
        return self.speak_at + self.plan[0].due_s if self.plan else None

    def perform(self, step: Step) -> list[ServerEvent]:
        """Return the events of one step; `finish` has none here, its usage is the session's business."""
        if step.do == "finish":
            return []
        output = self.outputs[step.output]
        where = {"response_id": self.id, "item_id": output.item.id, "output_index": step.output}
        match step.do:
            case "open":
                return self._open(output, where)
            case "close":
                return self._close(output, where, "completed")
            case "sound":
                output.item.audio += step.sound
                delta = base64.b64encode(step.sound).decode()
                return [{"type": "response.output_audio.delta", **where, "content_index": 0, "delta": delta}]
            case "words":
                output.said += step.words
                return [_words_delta(output, where, step.words)]

    def cut(self) -> list[ServerEvent]:
        """Return the events that close every open item as incomplete; the plan is forgotten."""
        self.plan.clear()
        events: list[ServerEvent] = []
        for index, output in enumerate(self.outputs):
            if output.state == "open":
                where = {"response_id": self.id, "item_id": output.item.id, "output_index": index}
                events += self._close(output, where, "incomplete")
        return events

    def spent_tokens(self) -> tuple[int, int]:
        """Return how many tokens of text and of audio were written so far."""
        words = sum(text_tokens(output.said) for output in self.outputs)
        audio_ms = sum(output.item.audio_ms for output in self.outputs)
        return words, round(audio_ms * ASSISTANT_TOKENS_S / 1000)

    def sent_audio_ms(self) -> float:
        """Return how long the audio is that was sent so far."""
        return sum(output.item.audio_ms for output in self.outputs)

    def _open(self, output: Output, where: dict[str, Any]) -> list[ServerEvent]:
        output.state = "open"
        item = output.item.wire()
        added = {key: where[key] for key in ("response_id", "output_index")} | {"item": item}
        events: list[ServerEvent] = [{"type": "response.output_item.added", **added}]
        if self.in_conversation:
            # The session fills in which item came before.
            events.append({"type": "conversation.item.added", "previous_item_id": None, "item": item})
        if isinstance(output.reply, Speech | Writing):
            part = _part(output, "")
            events.append({"type": "response.content_part.added", **where, "content_index": 0, "part": part})
        return events

    def _close(self, output: Output, where: dict[str, Any], status: str) -> list[ServerEvent]:
        output.state = "closed"
        fields = output.item.fields
        if "status" in fields:
            fields["status"] = status
        content = {**where, "content_index": 0}
        events: list[ServerEvent]
        match output.reply:
            case Speech():
                truncated = output.item.uncounted_ms == 0  # which forgot the transcript
                heard = {} if truncated else {"transcript": output.said}
                fields["content"] = [{"type": "output_audio", **heard}]
                events = [
                    {"type": "response.output_audio.done", **content},
                    {"type": "response.output_audio_transcript.done", **content, "transcript": output.said},
                ]
            case Writing():
                fields["content"] = [{"type": "output_text", "text": output.said}]
                events = [{"type": "response.output_text.done", **content, "text": output.said}]
            case Call(name=name):
                fields["arguments"] = output.said
                call = {"call_id": fields["call_id"], "name": name, "arguments": output.said}
                events = [{"type": "response.function_call_arguments.done", **where, **call}]
            case McpApproval():
                events = []
            case McpCall():
                events = _mcp_result(output, where)
        if isinstance(output.reply, Speech | Writing):
            events.append(
                {"type": "response.content_part.done", **content, "part": _part(output, output.said)}
            )
        item = output.item.wire()
        if self.in_conversation:
            events.append({"type": "conversation.item.done", "previous_item_id": None, "item": item})
        done = {key: where[key] for key in ("response_id", "output_index")} | {"item": item}
        return [*events, {"type": "response.output_item.done", **done}]


def plan(
    outputs: list[Output], dice: Dice, pace: float, audio_format: AudioFormatName, *, split_samples: bool
) -> deque[Step]:
    """Return every step of a response in order.

    An item is opened while the one before it still has to be closed, as 2.x models do.
    """
    steps: list[Step] = []
    now_s = 0.0
    for index, output in enumerate(outputs):
        body = _body(index, output.reply, dice, pace, audio_format, now_s, split_samples)
        opened = [Step(now_s, "open", index), *body]
        if index:
            close_previous = Step(now_s, "close", index - 1)
            # Its first deltas overtake the end of the item before.
            opened.insert(min(3, len(opened)), close_previous)
        steps += opened
        now_s = steps[-1].due_s
    steps += [Step(now_s, "close", len(outputs) - 1)] if outputs else []
    return deque([*steps, Step(now_s, "finish")])


def delta_sizes(
    total_bytes: int, dice: Dice, audio_format: AudioFormatName, *, split_samples: bool
) -> list[int]:
    """Return how `total_bytes` of audio are cut into deltas.

    None is a multiple of 20 ms, except perhaps the last. Samples stay whole unless `split_samples`.
    """
    details = FORMATS[audio_format]
    ms_bytes = details.rate_hz * details.sample_bytes // 1000
    sizes: list[int] = []
    left = total_bytes
    while left > 0:
        middle = DELTA_MS if sizes else FIRST_DELTA_MS
        size = dice.between((middle - _DELTA_SPREAD_MS) * ms_bytes, (middle + _DELTA_SPREAD_MS) * ms_bytes)
        size -= 0 if split_samples else size % details.sample_bytes
        if size % (20 * ms_bytes) == 0:
            size += details.sample_bytes
        if split_samples and size % 2 == 0:
            size += 1
        sizes.append(min(size, left))
        left -= sizes[-1]
    return sizes


def _body(
    index: int,
    reply: Reply,
    dice: Dice,
    pace: float,
    audio_format: AudioFormatName,
    start_s: float,
    split: bool,
) -> list[Step]:
    match reply:
        case Writing(text):
            return [Step(start_s, "words", index, words=word) for word in _words(text)]
        case McpApproval():
            return []
        case Call(arguments=arguments) | McpCall(arguments=arguments):
            return [
                Step(start_s, "words", index, words=part)
                for part in re.findall(r".{1,12}", arguments, re.DOTALL)
            ]
        case Speech(text, audio):
            sizes = delta_sizes(len(audio), dice, audio_format, split_samples=split)
            details = FORMATS[audio_format]
            return _spoken(index, text, audio, sizes, details.rate_hz * details.sample_bytes * pace, start_s)


def _spoken(
    index: int, text: str, audio: bytes, sizes: list[int], bytes_s: float, start_s: float
) -> list[Step]:
    words = deque(_words(text))
    count = len(words)
    steps: list[Step] = []
    sent_bytes = 0
    for number, size in enumerate(sizes, start=1):
        due_s = start_s + sent_bytes / bytes_s
        behind = count - min(count, _WORDS_AHEAD + -(-count * number // len(sizes)))
        while len(words) > behind:
            steps.append(Step(due_s, "words", index, words=words.popleft()))
        steps.append(Step(due_s, "sound", index, sound=audio[sent_bytes : sent_bytes + size]))
        sent_bytes += size
    return steps


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _new_item(reply: Reply, dice: Dice, audio_format: AudioFormatName) -> Item:
    fields: dict[str, Any] = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
    match reply:
        case Call():
            fields = {"type": "function_call", "status": "in_progress", "name": reply.name}
            fields |= {"call_id": dice.id("call", 16), "arguments": ""}
        case McpApproval():
            fields = {"type": "mcp_approval_request", "server_label": reply.server_label}
            fields |= {"name": reply.name, "arguments": reply.arguments}
        case McpCall():
            fields = {"type": "mcp_call", "server_label": reply.server_label, "name": reply.name}
            fields |= {"arguments": "", "approval_request_id": reply.approval_request_id}
            fields |= {"output": None, "error": None}
        case Speech() if reply.phase is not None:
            fields["phase"] = reply.phase
        case _:
            pass
    return Item(dice.id("item"), fields, audio_format=audio_format)


def _mcp_result(output: Output, where: dict[str, Any]) -> list[ServerEvent]:
    assert isinstance(output.reply, McpCall)
    fields = output.item.fields
    fields["arguments"] = output.said
    if output.reply.failed:
        fields["error"] = {"type": "tool_execution_error", "message": "The tool failed."}
    else:
        fields["output"] = '{"ok": true}'
    place = {key: where[key] for key in ("item_id", "output_index")}
    how = "failed" if output.reply.failed else "completed"
    return [
        {"type": "response.mcp_call_arguments.done", **where, "arguments": output.said},
        {"type": "response.mcp_call.in_progress", **place},
        {"type": f"response.mcp_call.{how}", **place},
    ]


def _part(output: Output, text: str) -> dict[str, Any]:
    # The part of a spoken item is called `audio`, although the item's content is `output_audio`.
    if isinstance(output.reply, Speech):
        return {"type": "audio", "transcript": text}
    return {"type": "text", "text": text}


def _words_delta(output: Output, where: dict[str, Any], words: str) -> ServerEvent:
    match output.reply:
        case Speech():
            kind = "response.output_audio_transcript.delta"
            return {"type": kind, **where, "content_index": 0, "delta": words, "obfuscation": "x" * 8}
        case Writing():
            return {"type": "response.output_text.delta", **where, "content_index": 0, "delta": words}
        case McpCall() | McpApproval():
            return {"type": "response.mcp_call_arguments.delta", **where, "delta": words}
        case Call():
            call_id = output.item.fields["call_id"]
            return {
                "type": "response.function_call_arguments.delta",
                **where,
                "call_id": call_id,
                "delta": words,
            }
