"""Pure: what a response and a transcription cost, by a price list with a date.

* A model without a price costs None, which is not 0: whoever adds up counts it apart.
* A name in the list holds for the model's dated versions too, `gpt-realtime` for `gpt-realtime-2025-08-28`, and the
  longest name that fits counts, so that one version may have a price of its own. What follows must be a date:
  `gpt-realtime-2.1-mini` is no version of `gpt-realtime-2.1` but another model at a third of its price.
* Where the model counted less than it billed, the dearer reading is taken: a budget must not be late.
"""

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trunkline_common.call_events import TranscriptionUsage, Usage

_DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}")
_TOKENS: Final = 1_000_000
"""Prices are quoted for so many."""
_USD_DECIMALS: Final = 9
"""A token of the cheapest kind costs 60 billionths of a dollar."""

Usd = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TokenPrices(_Strict):
    """USD per 1M tokens of one modality."""

    input: Usd
    cached: Usd
    """For the part of the input that the model had in its cache."""
    output: Usd


class ModelPrices(_Strict):
    """What a speech-to-speech model costs."""

    text: TokenPrices
    audio: TokenPrices


class TranscriptionPrices(_Strict):
    """What writing down the caller costs: USD per minute of speech, or per 1M tokens in and out."""

    minute: Usd | None = None
    input: Usd | None = None
    output: Usd | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        by_token = (self.input is not None, self.output is not None)
        if by_token != ((True, True) if self.minute is None else (False, False)):
            raise ValueError("must have `minute`, or `input` and `output`")
        return self


class PriceList(_Strict):
    """Every price that is known, and since when."""

    date: datetime.date
    source: str = Field(min_length=1)
    """Where the figures come from, in words."""
    models: dict[str, ModelPrices]
    transcription: dict[str, TranscriptionPrices]

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return those of the models, for talking or for transcription, that have no price here."""
        return sorted(
            name
            for name in set(names)
            if not _find(self.models, name) and not _find(self.transcription, name)
        )

    def response_usd(self, usage: Usage) -> float | None:
        """Return what a response cost, cancelled or not; None without a price for `usage.model`."""
        prices = _find(self.models, usage.model)
        if prices is None:
            return None
        cached_text, cached_audio = _cached(usage)
        # What the model did not tell apart: input as audio, output as text, which is what reasoning is.
        audio = usage.input_tokens - usage.input_text_tokens
        text_out = usage.output_tokens - usage.output_audio_tokens
        cost = (
            _beyond(usage.input_text_tokens, cached_text) * prices.text.input
            + cached_text * prices.text.cached
            + _beyond(max(audio, usage.input_audio_tokens), cached_audio) * prices.audio.input
            + cached_audio * prices.audio.cached
            + max(text_out, usage.output_text_tokens) * prices.text.output
            + usage.output_audio_tokens * prices.audio.output
        )
        return round(cost / _TOKENS, _USD_DECIMALS)

    def transcription_usd(self, usage: TranscriptionUsage) -> float | None:
        """Return what a transcription cost; None without a price for `usage.model` in the unit that it counted."""
        prices = _find(self.transcription, usage.model)
        if prices is None:
            return None
        if prices.minute is not None:
            return None if usage.seconds is None else round(usage.seconds / 60 * prices.minute, _USD_DECIMALS)
        if usage.input_tokens is None or prices.input is None or prices.output is None:
            return None
        cost = usage.input_tokens * prices.input + (usage.output_tokens or 0) * prices.output
        return round(cost / _TOKENS, _USD_DECIMALS)


NO_PRICES: Final = PriceList(date=datetime.date.min, source="nowhere", models={}, transcription={})
"""Under which nothing has a price."""

Prices = TypeVar("Prices")


def _find(prices: Mapping[str, Prices], model: str) -> Prices | None:
    fitting = [name for name in prices if model == name or _DATED.fullmatch(model.removeprefix(name))]
    return prices[max(fitting, key=len)] if fitting else None


def _cached(usage: Usage) -> tuple[int, int]:
    """Return the cached tokens of text and of audio.

    Some servers tell only their sum. A cache holds the beginning of the context, and that is the instructions.
    """
    if usage.cached_text_tokens or usage.cached_audio_tokens:
        return usage.cached_text_tokens, usage.cached_audio_tokens
    text = min(usage.cached_tokens, usage.input_text_tokens)
    return text, usage.cached_tokens - text


def _beyond(tokens: int, cached_tokens: int) -> int:
    return max(tokens - cached_tokens, 0)
