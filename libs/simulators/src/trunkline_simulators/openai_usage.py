"""Counting tokens as OpenAI bills them: what a response read, how much of it was cached, what it wrote.

Caller audio is 10 tokens a second, assistant audio 20, text about 1.3 a word. Cached is what the
response's context has in common with the beginning of the previous one's, in blocks of 64
(OpenAI: Realtime guide, managing costs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CALLER_TOKENS_S = 10
ASSISTANT_TOKENS_S = 20
CACHE_BLOCK_TOKENS = 64
_TOKENS_A_WORD = 1.3


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a context; two contexts share a beginning as long as their pieces are equal."""

    key: str
    text_tokens: int
    audio_tokens: int

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.text_tokens + self.audio_tokens


def text_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return math.ceil(len(text.split()) * _TOKENS_A_WORD)


def retained(
    fixed: Piece, items: Sequence[Piece], limit_tokens: int, keep_ratio: float, post_instructions: int | None
) -> list[Piece]:
    """Return the context that fits the model: instructions, and items without the oldest ones.

    When something must go, as much goes as leaves `keep_ratio` of the limit, so that the next
    responses can be cached (OpenAI: Realtime API reference, truncation).
    """
    room = limit_tokens - fixed.tokens
    if post_instructions is not None:
        room = min(room, post_instructions)
    total = sum(piece.tokens for piece in items)
    first = 0
    if total > room:
        while first < len(items) and total > room * keep_ratio:
            total -= items[first].tokens
            first += 1
    return [fixed, *items[first:]]


def usage(
    context: Sequence[Piece], previous: Sequence[Piece], output_text_tokens: int, output_audio_tokens: int
) -> dict[str, Any]:
    """Return the `usage` of a response that read `context` after another had read `previous`."""
    text, audio = _sums(context)
    same = 0
    while same < min(len(context), len(previous)) and context[same] == previous[same]:
        same += 1
    same_text, same_audio = _sums(context[:same])
    cached = (same_text + same_audio) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
    cached_text = min(cached, same_text)
    return {
        "total_tokens": text + audio + output_text_tokens + output_audio_tokens,
        "input_tokens": text + audio,
        "output_tokens": output_text_tokens + output_audio_tokens,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {
                "text_tokens": cached_text,
                "audio_tokens": cached - cached_text,
                "image_tokens": 0,
            },
        },
        "output_token_details": {"text_tokens": output_text_tokens, "audio_tokens": output_audio_tokens},
    }


def no_usage() -> dict[str, Any]:
    """Return the zeros of a failed response."""
    return usage([], [], 0, 0)


def _sums(pieces: Sequence[Piece]) -> tuple[int, int]:
    return sum(piece.text_tokens for piece in pieces), sum(piece.audio_tokens for piece in pieces)
