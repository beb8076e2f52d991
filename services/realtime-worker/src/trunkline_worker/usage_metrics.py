"""Shell: what was used and spent, into the metrics; labels are agents' names, which a configuration bounds."""

from typing import Final

from trunkline_common import log
from trunkline_common.call_events import (
    CallEnded,
    CallEvent,
    ToolReturned,
    TranscriptionUsage,
    TurnLatency,
    Usage,
)
from trunkline_worker import events, metrics

MODELS_TOLD_MAX: Final = 100
"""Models without a price that were told of in the log; a configuration has a handful."""

_PARTS: Final = (
    "twilio_to_gateway",
    "gateway_to_worker",
    "worker_to_model",
    "model",
    "model_to_worker",
    "worker_to_gateway",
    "gateway_to_twilio",
)

_TOKEN_KINDS: Final = (
    "input_text",
    "input_audio",
    "cached_text",
    "cached_audio",
    "output_text",
    "output_audio",
    "reasoning",
)

_log = log.get(__name__)
_told: set[str] = set()


def begin(agent: str) -> None:
    """Let the counters of an agent begin at 0 with its first call: a rate over the first increment is right then."""
    metrics.CALL_SECONDS.labels(agent)
    for kind in ("response", "transcription"):
        metrics.COST_USD.labels(agent, kind)
    for kind in _TOKEN_KINDS:
        metrics.TOKENS.labels(agent, kind)


def count(event: CallEvent, agent: str) -> None:
    """Count what an event of a call of `agent` says was used; other events are none of this."""
    match event:
        case Usage():
            _count_response(event, agent)
        case TranscriptionUsage():
            _count_transcription(event, agent)
        case TurnLatency():
            _observe_parts(event)
        case ToolReturned(outcome=outcome, duration_ms=duration_ms):
            metrics.TOOL_CALLS.labels(outcome).inc()
            if duration_ms:
                metrics.TOOL_SECONDS.labels(outcome).observe(duration_ms / 1000)
        case CallEnded(duration_ms=duration_ms):
            metrics.CALL_SECONDS.labels(agent).inc(duration_ms / 1000)


def tell_rate_limits(told: events.RateLimits, model: str) -> None:
    """Export what the account has left."""
    for each in told.limits:
        metrics.RATE_LIMIT.labels(model, each.name).set(each.limit)
        metrics.RATE_LIMIT_REMAINING.labels(model, each.name).set(each.remaining)


def _count_response(usage: Usage, agent: str) -> None:
    numbers = (
        max(usage.input_text_tokens - usage.cached_text_tokens, 0),
        max(usage.input_audio_tokens - usage.cached_audio_tokens, 0),
        usage.cached_text_tokens,
        usage.cached_audio_tokens,
        usage.output_text_tokens,
        usage.output_audio_tokens,
        usage.reasoning_tokens,
    )
    for kind, tokens in zip(_TOKEN_KINDS, numbers, strict=True):
        metrics.TOKENS.labels(agent, kind).inc(tokens)
    _count_cost(usage.cost_usd, usage.model, agent, "response")


def _count_transcription(usage: TranscriptionUsage, agent: str) -> None:
    if usage.seconds is not None:
        metrics.TRANSCRIPTION_SECONDS.labels(agent).inc(usage.seconds)
    for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if tokens is not None:
            metrics.TRANSCRIPTION_TOKENS.labels(agent, kind).inc(tokens)
    _count_cost(usage.cost_usd, usage.model, agent, "transcription")


def _count_cost(cost_usd: float | None, model: str, agent: str, kind: str) -> None:
    if cost_usd is not None:
        metrics.COST_USD.labels(agent, kind).inc(cost_usd)
        return
    metrics.UNPRICED.labels(kind).inc()
    if model not in _told and len(_told) < MODELS_TOLD_MAX:
        _told.add(model)
        _log.warning("model-without-price", model=model, what=kind, do="add it to the file that PRICES names")


def _observe_parts(latency: TurnLatency) -> None:
    for part in _PARTS:
        part_ms = getattr(latency, f"{part}_ms")
        if part_ms is not None:
            metrics.TURN_PART_SECONDS.labels(part).observe(part_ms / 1000)
    own_ms = latency.worker_ms + (latency.gateway_to_worker_ms or 0) + (latency.worker_to_gateway_ms or 0)
    metrics.TURN_PART_SECONDS.labels("own").observe(own_ms / 1000)
