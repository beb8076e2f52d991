"""What tokens and minutes cost, and which price a model's name finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common.call_events import TranscriptionUsage, Usage
from trunkline_worker.price_file import read_prices
from trunkline_worker.prices import ModelPrices, PriceList, TokenPrices
from trunkline_worker.spend import Spend

SHIPPED = read_prices(None)
TOKENS = st.integers(0, 100_000)


def usage(**counted: int | str) -> Usage:
    nothing = {
        "response_id": "resp_1", "model": "gpt-realtime-2.1", "input_tokens": 0, "input_text_tokens": 0,
        "input_audio_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "output_text_tokens": 0,
        "output_audio_tokens": 0,
    }  # fmt: skip
    return Usage(**{**nothing, **counted})  # type: ignore[arg-type]  # the one string is the model's name


def test_each_kind_of_token_has_its_own_price() -> None:
    counted = usage(
        input_tokens=1_000, input_text_tokens=400, input_audio_tokens=600,
        cached_tokens=500, cached_text_tokens=300, cached_audio_tokens=200,
        output_tokens=150, output_text_tokens=50, output_audio_tokens=100,
    )  # fmt: skip

    cost_usd = SHIPPED.response_usd(counted)

    assert cost_usd == pytest.approx(
        (100 * 4 + 300 * 0.40 + 400 * 32 + 200 * 0.40 + 50 * 24 + 100 * 64) / 1_000_000
    )


def test_a_minute_of_speech_costs_what_the_vendor_says() -> None:
    # 10 tokens a second in, 20 out (OpenAI: Realtime, managing costs).
    heard = usage(input_tokens=600, input_audio_tokens=600)
    spoken = usage(output_tokens=1_200, output_audio_tokens=1_200)

    assert SHIPPED.response_usd(heard) == pytest.approx(0.0192)
    assert SHIPPED.response_usd(spoken) == pytest.approx(0.0768)


def test_a_cache_that_is_not_told_by_modality_holds_the_text_first() -> None:
    told = {"input_tokens": 1_000, "input_text_tokens": 300, "input_audio_tokens": 700, "cached_tokens": 500}

    assert SHIPPED.response_usd(usage(**told)) == SHIPPED.response_usd(
        usage(**told, cached_text_tokens=300, cached_audio_tokens=200)
    )


def test_tokens_of_no_known_modality_are_not_free() -> None:
    assert SHIPPED.response_usd(usage(input_tokens=1_000)) == pytest.approx(0.032)
    assert SHIPPED.response_usd(usage(output_tokens=1_000)) == pytest.approx(0.024)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gpt-realtime", 1.0),
        ("gpt-realtime-2025-08-28", 1.0),
        ("gpt-realtime-2026-01-02", 2.0),
        ("gpt-realtime-mini", None),
        ("gpt-realtime-2", None),
        ("gpt", None),
        ("", None),
    ],
)
def test_a_name_holds_for_its_dated_versions_and_for_nothing_else(model: str, found: float | None) -> None:
    prices = price_list({"gpt-realtime": 1.0, "gpt-realtime-2026-01-02": 2.0})

    assert prices.response_usd(usage(model=model, output_tokens=1_000_000)) == found


@pytest.mark.parametrize(
    ("model", "counted", "cost_usd"),
    [
        ("gpt-realtime-whisper", {"seconds": 30.0}, 0.0085),
        ("gpt-4o-mini-transcribe-2025-12-15", {"input_tokens": 1_000, "output_tokens": 100}, 0.00175),
        ("gpt-4o-mini-transcribe", {"seconds": 3.0}, None),
        ("gpt-realtime-whisper", {"input_tokens": 26}, None),
        ("nobody-knows", {"seconds": 3.0}, None),
    ],
)
def test_a_transcription_is_paid_by_time_or_by_tokens(
    model: str, counted: dict[str, float], cost_usd: float | None
) -> None:
    told = TranscriptionUsage(item_id="item_1", model=model, **counted)  # type: ignore[arg-type]  # ints and floats

    assert SHIPPED.transcription_usd(told) == cost_usd


@given(text=TOKENS, audio=TOKENS, cached=TOKENS, text_out=TOKENS, audio_out=TOKENS)
def test_a_cost_is_never_negative_and_a_cache_never_makes_it_dearer(
    text: int, audio: int, cached: int, text_out: int, audio_out: int
) -> None:
    told = usage(
        input_tokens=text + audio, input_text_tokens=text, input_audio_tokens=audio,
        output_tokens=text_out + audio_out, output_text_tokens=text_out, output_audio_tokens=audio_out,
    )  # fmt: skip
    cached_told = usage(**{**_counts(told), "cached_tokens": min(cached, text + audio)})

    uncached_usd, cached_usd = SHIPPED.response_usd(told), SHIPPED.response_usd(cached_told)

    assert uncached_usd is not None
    assert cached_usd is not None
    assert 0 <= cached_usd <= uncached_usd


def test_a_call_adds_up_what_it_costs() -> None:
    spend = Spend(SHIPPED, "gpt-realtime-2.1", "gpt-realtime-whisper")

    response = spend.on_response(usage(model="", output_tokens=1_200, output_audio_tokens=1_200))
    written = spend.on_transcription(TranscriptionUsage(item_id="item_1", model="", seconds=60))

    assert (response.model, response.cost_usd, response.price_date) == (
        "gpt-realtime-2.1",
        0.0768,
        "2026-11-22",
    )
    assert (written.model, written.cost_usd) == ("gpt-realtime-whisper", 0.017)
    assert (spend.responses_usd, spend.transcriptions_usd) == (0.0768, 0.017)
    assert spend.total_usd == pytest.approx(0.0938)


def test_what_has_no_price_is_counted_and_not_taken_for_free() -> None:
    spend = Spend(SHIPPED, "my-deployment", "gpt-realtime-whisper")

    response = spend.on_response(usage(model="", output_tokens=1_200))

    assert (response.cost_usd, response.price_date) == (None, "")
    assert (spend.total_usd, spend.unpriced) == (0, 1)


def price_list(output_prices: dict[str, float]) -> PriceList:
    return SHIPPED.model_copy(
        update={
            "models": {
                name: ModelPrices(
                    text=TokenPrices(input=0, cached=0, output=price),
                    audio=TokenPrices(input=0, cached=0, output=0),
                )
                for name, price in output_prices.items()
            }
        }
    )


def _counts(told: Usage) -> dict[str, int | str]:
    return {
        name: getattr(told, name)
        for name in ("input_tokens", "input_text_tokens", "input_audio_tokens",
                     "output_tokens", "output_text_tokens", "output_audio_tokens")
    }  # fmt: skip
