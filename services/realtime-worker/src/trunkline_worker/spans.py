"""Pure: a call as a trace, made of its events: the call, its turns, and where the time of each answer went.

All spans of a call share a trace, and hang on the call's own span, by ids that follow from the call: any worker that
owns it makes the same ones. Nothing that was said, no number and no text of a tool gets in: what does is listed here.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from trunkline_common.call_events import (
    CallEnded,
    CallEvent,
    CallStarted,
    CallTakenOver,
    Envelope,
    ModelConnected,
    ToolReturned,
    TurnLatency,
)

NS_PER_MS: Final = 1_000_000

Attribute = str | int | float


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in Unix ns; children lie within the call's trace, `is_call` is the trace's root."""

    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Attribute] = field(default_factory=dict)
    children: tuple["Span", ...] = ()
    is_call: bool = False


def trace_of(envelope: Envelope) -> tuple[int, int]:
    """Return the ids of the call's trace and of its own span (W3C: Trace Context), none of them 0."""
    digest = hashlib.sha256(f"{envelope.call_id}.{envelope.call_started_at_ms}".encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


def span_of(envelope: Envelope, event: CallEvent) -> Span | None:
    """Return what an event tells of time; None for most events."""
    at_ns = envelope.at_ms * NS_PER_MS
    match event:
        case CallStarted(agent=agent, worker=worker):
            return Span("answer", at_ns, at_ns, _named(agent=agent, worker=worker))
        case CallTakenOver(worker=worker, cause=cause):
            return Span("take over", at_ns, at_ns, _named(worker=worker, cause=cause))
        case ModelConnected(connect_ms=connect_ms, cause=cause, model=model, session=session):
            told = _named(cause=cause, model=model, session=session)
            return Span("connect model", at_ns - _ns(connect_ms), at_ns, told)
        case ToolReturned(name=name, outcome=outcome, duration_ms=duration_ms):
            return Span("tool", at_ns - _ns(duration_ms), at_ns, _named(tool=name, outcome=outcome.value))
        case TurnLatency():
            return _turn(at_ns, event)
        case CallEnded(outcome=outcome, reason=reason, interruptions=interruptions):
            told = _named(
                call_id=envelope.call_id, outcome=outcome.value, reason=reason, interruptions=interruptions
            )
            # Two machines' clocks: the call began by the gateway's.
            start_ns = min(envelope.call_started_at_ms * NS_PER_MS, at_ns)
            return Span("call", start_ns, at_ns, told, is_call=True)
    return None


def _turn(at_ns: int, turn: TurnLatency) -> Span:
    """Return an answer's span: what is measured lies end to end, and the first audio leaves the worker at `at_ns`.

    Parts that were not measured are left out. What `response_ms` has beyond the parts is the model's waiting for the
    end of speech.
    """
    before = [
        ("twilio to gateway", turn.twilio_to_gateway_ms),
        ("gateway to worker", turn.gateway_to_worker_ms),
        ("worker to model", turn.worker_to_model_ms),
        ("model", turn.model_ms),
        ("model to worker", turn.model_to_worker_ms),
        ("worker", turn.worker_ms),
    ]
    after = [
        ("worker to gateway", turn.worker_to_gateway_ms),
        ("gateway to twilio", turn.gateway_to_twilio_ms),
    ]
    begins_ns = edge_ns = at_ns - sum(_ns(ms) for _, ms in before if ms is not None)
    children = []
    for name, ms in (*before, *after):
        if ms is not None:
            children.append(Span(name, edge_ns, edge_ns + _ns(ms)))
            edge_ns += _ns(ms)
    told = _named(position=turn.position, response_ms=turn.response_ms)
    return Span("turn", min(begins_ns, at_ns - _ns(turn.response_ms)), edge_ns, told, tuple(children))


def _ns(ms: float) -> int:
    return max(round(ms * NS_PER_MS), 0)


def _named(**attributes: Attribute) -> dict[str, Attribute]:
    return {f"trunkline.{name}": value for name, value in attributes.items()}
