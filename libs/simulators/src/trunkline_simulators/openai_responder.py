"""The responses of one session: at most one at a time in the default conversation, others beside it.

Rules:
- `response.create` while the conversation has an active response is an error; an out-of-band
  response (`conversation: "none"`) may run beside it and leaves no item behind.
- `rate_limits.updated` follows `response.done` at once.
- Who interrupts a response with speech gets the deltas that are in flight, then the ends of the
  cut items, then `response.done` with status `cancelled`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from trunkline_simulators.openai_configuration import Configuration, check_modalities, voice_is_locked
from trunkline_simulators.openai_conversation import Conversation, Item
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import Fault
from trunkline_simulators.openai_rejection import Rejection
from trunkline_simulators.openai_replies import (
    Behaviour,
    Choice,
    choose_reply,
    rest_of,
    spoken,
    with_phases,
    written_too,
)
from trunkline_simulators.openai_response import Reply, Response, ServerEvent, Speech, Step, Writing
from trunkline_simulators.openai_schema import ItemReference, ResponseParameters
from trunkline_simulators.openai_tools import ScriptedCall, next_call
from trunkline_simulators.openai_usage import Piece, no_usage, retained, text_tokens, usage
from trunkline_simulators.recordings import Utterance, utterance

RESPONSES_MAX = 16  # beside each other; a client that wants more is in a loop
TOKENS_PER_MINUTE = 15_000_000  # the limit that recorded sessions show

_FAILURES = {
    "rate_limit_exceeded": (
        "tokens",
        "Rate limit reached for {model} in organization org-simulated on tokens per min (TPM):"
        " Limit 40000, Used 40000, Requested 3188. Please try again in 1.2s.",
    ),
    "server_error": (
        "server_error",
        "The server had an error while processing your request. Sorry about that!",
    ),
    "insufficient_quota": (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}


class Responder:
    """Creates, sends, cuts and ends responses; returns events without their ids."""

    def __init__(
        self, configuration: Configuration, conversation: Conversation, behaviour: Behaviour, dice: Dice
    ) -> None:
        self.assistant_spoke = False  # locks the voice
        self.audio_ends_at = 0.0  # when the last response will have been played, if played at once
        self.last_sound: dict[str, Any] = {}  # which piece of which item was sent last, for the trace
        self.heard: dict[str, Utterance | None] = {}  # by item; absent while somebody still listens
        self._configuration = configuration
        self._conversation = conversation
        self._behaviour = behaviour
        self._dice = dice
        self._chosen: list[dict[str, Any]] = []
        self._responses: list[Response] = []
        self._previous_context: list[Piece] = []

    @property
    def active(self) -> Response | None:
        """The response of the default conversation that is in progress."""
        return next((response for response in self._responses if response.in_conversation), None)

    def create(
        self, wanted: ResponseParameters | None, now: float, *, hears: str | None
    ) -> list[ServerEvent]:
        """Begin a response that waits until the item `hears` is recognised; `Rejection` when it may not."""
        wanted = wanted or ResponseParameters()
        out_of_band = wanted.conversation == "none"
        if not out_of_band and self.active is not None:
            raise Rejection(
                f"Conversation already has an active response in progress: {self.active.id}."
                " Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        if len(self._responses) >= RESPONSES_MAX:  # own words
            raise Rejection(f"A session has at most {RESPONSES_MAX} responses in progress.")
        response = self._new_response(wanted, out_of_band, now)
        response.hears = hears if response.input_items is None else None
        self._responses.append(response)
        return [{"type": "response.created", "response": response.wire("in_progress", None, None)}]

    def shape(self, response_id: str, fault: Fault) -> None:
        """Let a fault change a response that was just created."""
        self._find(response_id).faults.append(fault)

    def recognised(self, item_id: str, utterance: Utterance | None, now: float) -> None:
        """Take in what an item said; a response that waited for it begins to speak."""
        self.heard[item_id] = utterance
        for response in self._responses:
            if response.hears == item_id:
                response.hears = None
                response.speak_at = max(response.speak_at, now)

    def interrupt(self) -> list[ServerEvent]:
        """Cancel the active response because the caller speaks; deltas in flight still come."""
        response = self.active
        if response is None or response.deltas_until_cut is not None:
            return []
        speaks = any(output.state == "open" for output in response.outputs)
        left = sum(step.do == "sound" for step in response.plan) if speaks else 0
        if in_flight := min(left, self._behaviour.in_flight_deltas):
            response.deltas_until_cut = in_flight
            return []
        return self._cancel(response, "turn_detected")

    def cancel(self, response_id: str | None) -> list[ServerEvent]:
        """Cancel a response for the client; `Rejection` when there is none."""
        for response in self._responses:
            if response.id == response_id or (response_id is None and response.in_conversation):
                return self._cancel(response, "client_cancelled")
        raise Rejection("Cancellation failed: no active response found", code="response_cancel_not_active")

    def take_chosen(self) -> list[dict[str, Any]]:
        """Return what the responses since the last time say, for the trace."""
        chosen, self._chosen = self._chosen, []
        return chosen

    def next_due(self) -> float | None:
        """Return when something is to be sent."""
        due = [at for response in self._responses if (at := response.next_due()) is not None]
        return min(due, default=None)

    def step(self, now: float) -> list[ServerEvent]:
        """Do the one thing that is due first, and return its events; none when nothing is due."""
        for response in self._responses:
            at = response.next_due()
            if at is not None and at <= now:
                return self._advance(response)
        return []

    def _advance(self, response: Response) -> list[ServerEvent]:
        if not response.planned:
            failure = next((fault.value for fault in response.faults if fault.kind == "failed"), None)
            if failure is not None:
                return self._fail(response, failure)
            self._load(response)
        step = response.plan.popleft()
        if step.do == "finish":
            return self._finish(response, "completed", None)
        output = response.outputs[step.output]
        from_ms = output.item.audio_ms
        events = response.perform(step)
        if step.do == "open" and response.in_conversation:
            previous = self._conversation.append(output.item)
            for event in events:
                if event["type"] == "conversation.item.added":
                    event["previous_item_id"] = previous
        if step.do == "sound":
            self.last_sound = {"response_id": response.id, "item_id": output.item.id}
            self.last_sound |= {"from_ms": round(from_ms, 3), "to_ms": round(output.item.audio_ms, 3)}
            events += self._after_sound(response)
        return events

    def _after_sound(self, response: Response) -> list[ServerEvent]:
        self.assistant_spoke = True
        if response.tokens_max is not None and sum(response.spent_tokens()) >= response.tokens_max:
            details = {"type": "incomplete", "reason": "max_output_tokens"}
            return [*response.cut(), *self._finish(response, "incomplete", details)]
        if response.deltas_until_cut is not None:
            response.deltas_until_cut -= 1
            if response.deltas_until_cut <= 0:
                return self._cancel(response, "turn_detected")
        return []

    def _load(self, response: Response) -> None:
        faults = {fault.kind: fault for fault in response.faults}
        pace = float(faults["slow"].value) if "slow" in faults else self._behaviour.pace
        replies = self._replies(response, set(faults))
        response.load(replies, self._dice, pace, split_samples=self._behaviour.split_samples)
        if "half" in faults:
            kept: list[Step] = list(response.plan)[: max(1, len(response.plan) // 2)]
            response.plan.clear()
            response.plan.extend(kept)

    def _replies(self, response: Response, faults: set[str]) -> list[Reply]:
        context = self._conversation.items if response.input_items is None else response.input_items
        choice = choose_reply(context, self.heard)
        self._note_choice(response, choice)
        writes = response.shown["output_modalities"] == ["text"] or "text-only" in faults
        script = self._behaviour.calls.get(choice.answers or "")
        settings = self._configuration.echo
        call = None if script is None else next_call(script, settings, context, response.faults)
        if script is not None and call is not None:
            return [*self._commentary(script, response, writes), call]
        if writes:
            return [Writing(choice.utterance.text)]
        speech = spoken(choice.utterance, response.audio_format)
        if choice.earlier is not None and self._behaviour.again == "continue":
            speech = rest_of(speech, choice.earlier, response.audio_format) or speech
        if "phases" in faults:
            return with_phases(speech, response.audio_format)
        return written_too(speech) if "text-twice" in faults else [speech]

    def _commentary(self, script: ScriptedCall, response: Response, writes: bool) -> list[Reply]:
        if script.commentary is None:
            return []
        said = utterance(script.commentary)
        speech = spoken(said, response.audio_format)
        return [Writing(said.text) if writes else Speech(speech.text, speech.audio, "commentary")]

    def _note_choice(self, response: Response, choice: Choice) -> None:
        self._chosen.append(
            {
                "response_id": response.id,
                "utterance": choice.utterance.id,
                "answers": choice.answers,
                "again": choice.earlier is not None,
            }
        )

    def _cancel(self, response: Response, reason: str) -> list[ServerEvent]:
        details = {"type": "cancelled", "reason": reason}
        return [*response.cut(), *self._finish(response, "cancelled", details)]

    def _fail(self, response: Response, code: str) -> list[ServerEvent]:
        kind, message = _FAILURES[code]
        error = {
            "type": kind,
            "code": code,
            "message": message.format(model=self._configuration.echo["model"]),
        }
        return self._finish(response, "failed", {"type": "failed", "error": error})

    def _finish(self, response: Response, status: str, details: dict[str, Any] | None) -> list[ServerEvent]:
        self._responses.remove(response)
        if status == "failed":
            spent = no_usage()
        else:
            context = self._context(response)
            spent = usage(context, self._previous_context, *response.spent_tokens())
            if response.in_conversation:
                self._previous_context = context
        self.audio_ends_at = response.speak_at + response.sent_audio_ms() / 1000
        remaining = TOKENS_PER_MINUTE - spent["total_tokens"]
        limits = {
            "name": "tokens",
            "limit": TOKENS_PER_MINUTE,
            "remaining": remaining,
            "reset_seconds": round((TOKENS_PER_MINUTE - remaining) / TOKENS_PER_MINUTE * 60, 3),
        }
        return [
            {"type": "response.done", "response": response.wire(status, details, spent)},
            {"type": "rate_limits.updated", "rate_limits": [limits]},
        ]

    def _context(self, response: Response) -> list[Piece]:
        settings = self._configuration.echo
        tools = msgspec.json.encode(settings["tools"]).decode()
        fixed = Piece(
            f"{settings['instructions']} {tools}",
            text_tokens(settings["instructions"]) + (text_tokens(tools) if settings["tools"] else 0),
            0,
        )
        written = {output.item.id for output in response.outputs}
        items = self._conversation.items if response.input_items is None else response.input_items
        pieces = [item.piece() for item in items if item.id not in written]
        truncation = settings["truncation"]
        if not isinstance(truncation, dict):
            return retained(fixed, pieces, self._configuration.context_tokens_max, 1.0, None)
        limit = truncation.get("token_limits", {}).get("post_instructions")
        return retained(
            fixed, pieces, self._configuration.context_tokens_max, truncation["retention_ratio"], limit
        )

    def _new_response(self, wanted: ResponseParameters, out_of_band: bool, now: float) -> Response:
        settings = self._configuration.echo
        given = msgspec.to_builtins(wanted)
        modalities = given.get("output_modalities", settings["output_modalities"])
        check_modalities(modalities, "response.output_modalities")
        defaults = {name: settings["audio"]["output"][name] for name in ("format", "voice")}
        output = defaults | given.get("audio", {}).get("output", {})
        if self.assistant_spoke and output["voice"] != defaults["voice"]:
            raise voice_is_locked()
        tokens_max = given.get("max_output_tokens", settings["max_output_tokens"])
        return Response(
            id=self._dice.id("resp"),
            shown={
                "conversation_id": None if out_of_band else self._conversation.id,
                "output_modalities": modalities,
                "max_output_tokens": tokens_max,
                "audio": {"output": output},
                "metadata": given.get("metadata"),
            },
            audio_format=output["format"]["type"],
            in_conversation=not out_of_band,
            speak_at=now + self._behaviour.latency_ms / 1000,
            input_items=None if wanted.input is UNSET else self._input_items(wanted),
            tokens_max=None if tokens_max == "inf" else tokens_max,
        )

    def _input_items(self, wanted: ResponseParameters) -> list[Item]:
        assert wanted.input is not UNSET
        items = []
        for index, given in enumerate(wanted.input):
            if isinstance(given, ItemReference):
                items.append(self._conversation.find(given.id, "item_reference_invalid_item_id"))
            else:
                where = f"response.input[{index}]"
                items.append(self._conversation.item_of(given, self._configuration.input_format, where))
        return items

    def _find(self, response_id: str) -> Response:
        return next(response for response in self._responses if response.id == response_id)
