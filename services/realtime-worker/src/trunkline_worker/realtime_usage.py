"""Pure: the parts of Realtime events that count: tokens, seconds of speech, and what the account has left.

Every key is optional, and what a server does not tell counts as 0. A usage of another shape is left out: it must not
cost the call the event that carries it.
"""

from typing import Final, Literal

import msgspec

from trunkline_common.call_events import TranscriptionUsage, Usage

LimitName = Literal["tokens", "requests", "other"]
_LIMIT_NAMES: Final[dict[str, LimitName]] = {"tokens": "tokens", "requests": "requests"}
"""The names that OpenAI's reference has (Realtime: rate_limits.updated)."""


_TOKENS_MAX: Final = 2**31 - 1
"""What an integer column holds; no context is a thousandth of it."""


_SECONDS_MAX: Final = 3_600.0
"""As long as a session: a nonsense figure would spend the day's budget."""


class _CachedDetails(msgspec.Struct):
    text_tokens: int | None = None
    audio_tokens: int | None = None


class _TokenDetails(msgspec.Struct):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: _CachedDetails | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """`usage` of a response, or of a transcription: tokens, or `seconds` of speech."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _TokenDetails | None = None
    output_token_details: _TokenDetails | None = None
    seconds: float | None = None


class WireRateLimit(msgspec.Struct):
    """One entry of `rate_limits.updated`."""

    name: str
    limit: float | None = None
    remaining: float | None = None


def of_response(response_id: str, raw: msgspec.Raw) -> Usage | None:
    """Return the tokens of a response, None where there are none; its model and cost are not known here."""
    usage = _read(raw)
    if usage is None:
        return None
    inside = usage.input_token_details or _TokenDetails()
    cached = inside.cached_tokens_details or _CachedDetails()
    outside = usage.output_token_details or _TokenDetails()
    return Usage(
        response_id=response_id,
        input_tokens=_count(usage.input_tokens),
        input_text_tokens=_count(inside.text_tokens),
        input_audio_tokens=_count(inside.audio_tokens),
        cached_tokens=_count(inside.cached_tokens),
        cached_text_tokens=_count(cached.text_tokens),
        cached_audio_tokens=_count(cached.audio_tokens),
        output_tokens=_count(usage.output_tokens),
        output_text_tokens=_count(outside.text_tokens),
        output_audio_tokens=_count(outside.audio_tokens),
        reasoning_tokens=_count(outside.reasoning_tokens),
    )


def of_transcription(item_id: str, raw: msgspec.Raw) -> TranscriptionUsage | None:
    """Return what a transcription counted, None where that is neither seconds nor tokens."""
    usage = _read(raw)
    if usage is None or (usage.seconds is None and usage.input_tokens is None):
        return None
    return TranscriptionUsage(
        item_id=item_id,
        model="",
        seconds=None if usage.seconds is None else min(max(usage.seconds, 0.0), _SECONDS_MAX),
        input_tokens=None if usage.input_tokens is None else _count(usage.input_tokens),
        output_tokens=None if usage.output_tokens is None else _count(usage.output_tokens),
    )


def _read(raw: msgspec.Raw) -> _Usage | None:
    try:
        return _decoder.decode(raw) if raw else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def _count(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _TOKENS_MAX)


def limit_name(name: str) -> LimitName:
    """Return the limit's name from a closed list."""
    return _LIMIT_NAMES.get(name, "other")


_decoder: Final[msgspec.json.Decoder[_Usage | None]] = msgspec.json.Decoder(_Usage | None)
