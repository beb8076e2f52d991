"""Transcripts of the caller, made beside the conversation by another model, early, late or never.

The model that answers and the one that writes down are separate, so these events may come during
speech, before the response, inside it, after the next turn, or not at all (OpenAI: Realtime
transcription guide). A client joins them by item id.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any, Literal, TypeAlias, get_args

from trunkline_simulators.openai_response import ServerEvent
from trunkline_simulators.openai_usage import CALLER_TOKENS_S, text_tokens

Mode: TypeAlias = Literal["auto", "during", "before", "after", "late", "failed", "never"]
MODES: tuple[Mode, ...] = get_args(Mode)

AFTER_S = 0.6  # in the middle of the answer
LATE_S = 6.0  # after the next turn has begun
_PREFIX = "conversation.item.input_audio_transcription"


class Transcriber:
    """Schedules the transcription events of one session; `mode` says when they come."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._due: list[tuple[float, int, ServerEvent]] = []  # a heap
        self._order = itertools.count()
        self._words_sent: dict[str, int] = {}  # by item, while it is not completed

    def mode(self, model: str | None) -> Mode:
        """Return when transcripts come with this transcription model; `never` without one."""
        if model is None:
            return "never"
        if self._mode == "auto":
            return "during" if model == "gpt-realtime-whisper" else "after"
        return self._mode

    def overheard(self, item_id: str, text: str, said: float, model: str | None) -> list[ServerEvent]:
        """Return the deltas of what has been said so far of an utterance that goes on."""
        if self.mode(model) != "during" or not text:
            return []
        words = text.split(" ")
        return self._deltas(item_id, words[: math.floor(len(words) * said)])

    def committed(
        self, item_id: str, text: str, audio_ms: float, model: str | None, now: float
    ) -> list[ServerEvent]:
        """Return the events that come at once for a finished turn; others become due later."""
        mode = self.mode(model)
        if mode == "never" or model is None:
            return []
        if mode == "failed":
            self._schedule(now + AFTER_S, _failed(item_id))
            return []
        words = text.split(" ") if text else []
        if model == "whisper-1":
            words = [text] if text else []  # one delta with everything
        events = self._deltas(item_id, words)
        self._words_sent.pop(item_id, None)
        events.append(
            {
                "type": f"{_PREFIX}.completed",
                "item_id": item_id,
                "content_index": 0,
                "transcript": text,
                "usage": _usage(model, text, audio_ms),
            }
        )
        if mode in {"during", "before"}:
            return events
        for event in events:
            self._schedule(now + (LATE_S if mode == "late" else AFTER_S), event)
        return []

    def next_due(self) -> float | None:
        """Return when the next event is due."""
        return self._due[0][0] if self._due else None

    def due(self, now: float) -> list[ServerEvent]:
        """Return what is due, in the order in which it became known."""
        events = []
        while self._due and self._due[0][0] <= now:
            events.append(heapq.heappop(self._due)[2])
        return events

    def _deltas(self, item_id: str, words: list[str]) -> list[ServerEvent]:
        sent = self._words_sent.get(item_id, 0)
        self._words_sent[item_id] = max(sent, len(words))
        return [
            {
                "type": f"{_PREFIX}.delta",
                "item_id": item_id,
                "content_index": 0,
                "delta": word if index == 0 else f" {word}",
                "obfuscation": "x" * 8,
            }
            for index, word in enumerate(words[sent:], start=sent)
        ]

    def _schedule(self, at: float, event: ServerEvent) -> None:
        heapq.heappush(self._due, (at, next(self._order), event))


def _usage(model: str, text: str, audio_ms: float) -> dict[str, Any]:
    if model in {"whisper-1", "gpt-realtime-whisper"}:
        return {"type": "duration", "seconds": round(audio_ms / 1000)}
    heard, written = round(audio_ms * CALLER_TOKENS_S / 1000), text_tokens(text)
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
    }


def _failed(item_id: str) -> ServerEvent:
    return {
        "type": f"{_PREFIX}.failed",
        "item_id": item_id,
        "content_index": 0,
        "error": {
            "type": "server_error",
            "code": "transcription_failed",
            "message": f"Input transcription failed for item '{item_id}'.",
            "param": None,
        },
    }
