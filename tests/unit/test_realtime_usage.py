"""What responses and transcriptions counted, as servers tell it and as they should not."""

import json

import pytest

from trunkline_worker import events
from trunkline_worker.realtime_api import decode

SESSION = 7


def test_every_key_of_the_usage_is_optional() -> None:
    data = {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": {}}}

    event = decode(json.dumps(data), SESSION)

    assert isinstance(event, events.ResponseDone)
    assert event.usage is not None
    assert event.usage.output_audio_tokens == 0


@pytest.mark.parametrize(
    "usage", [7, [], {"input_tokens": "many"}, {"seconds": {}}, {"input_token_details": 1}]
)
def test_a_usage_of_another_shape_does_not_cost_the_event_that_carries_it(usage: object) -> None:
    done = {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": usage}}
    written = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": "Hi.",
        "usage": usage,
    }

    assert decode(json.dumps(done), SESSION) == events.ResponseDone(SESSION, "resp_1", "completed", "", None)
    assert decode(json.dumps(written), SESSION) == events.CallerText(SESSION, "item_1", "Hi.")


def test_a_limit_that_nobody_knows_yet_has_a_name_from_the_closed_list() -> None:
    told = {"type": "rate_limits.updated", "rate_limits": [{"name": "holograms", "limit": 9, "remaining": 7}]}

    assert decode(json.dumps(told), SESSION) == events.RateLimits(SESSION, (events.RateLimit("other", 9, 7),))


def test_tokens_are_never_negative_nor_more_than_a_column_holds() -> None:
    usage = {"input_tokens": -5, "output_tokens": 2**40}
    done = {"type": "response.done", "response": {"id": "resp_1", "usage": usage}}

    event = decode(json.dumps(done), SESSION)

    assert isinstance(event, events.ResponseDone)
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens) == (0, 2**31 - 1)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"type": "duration", "seconds": 3}, (3.0, None, None)),
        ({"type": "tokens", "total_tokens": 35, "input_tokens": 26, "output_tokens": 9}, (None, 26, 9)),
    ],
)
def test_a_transcription_counts_seconds_or_tokens(usage: object, counted: tuple[object, ...]) -> None:
    written = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": "Hi.",
        "usage": usage,
    }

    event = decode(json.dumps(written), SESSION)

    assert isinstance(event, events.CallerText)
    assert event.usage is not None
    assert (event.usage.seconds, event.usage.input_tokens, event.usage.output_tokens) == counted


def test_a_nonsense_length_of_speech_does_not_spend_the_day() -> None:
    written = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": "Hello?",
        "usage": {"type": "duration", "seconds": 1e300},
    }

    event = decode(json.dumps(written), SESSION)

    assert isinstance(event, events.CallerText)
    assert event.usage is not None
    assert event.usage.seconds == 3_600
