"""A call's events as spans: what lies where, and what never gets in."""

from typing import Any

import msgspec
import pytest

from trunkline_common import call_events
from trunkline_common.call_events import (
    AgentTurn,
    CallEnded,
    CallEvent,
    CallStarted,
    Envelope,
    ModelConnected,
    ToolOutcome,
    ToolReturned,
    TurnLatency,
)
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome
from trunkline_worker.spans import Span, span_of, trace_of

STARTED_MS, AT_MS = 1_700_000_000_000, 1_700_000_010_000
TURN = TurnLatency(
    item_id="item_1",
    position=2,
    response_ms=860,
    twilio_to_gateway_ms=40,
    gateway_to_worker_ms=1,
    worker_to_model_ms=30,
    model_ms=300,
    model_to_worker_ms=30,
    worker_to_gateway_ms=1,
    gateway_to_twilio_ms=None,
    worker_ms=2,
)


def sealed(event: CallEvent, call_id: str = "CA1", fence: Fence = Fence(1, 1)) -> Envelope:  # noqa: B008
    return call_events.seal(
        event, call_id=call_id, call_started_at_ms=STARTED_MS, fence=fence, n=1, at_ms=AT_MS
    )


def told(event: CallEvent) -> Span | None:
    return span_of(sealed(event), event)


def ms(span: Span) -> tuple[float, float]:
    """Start and length, from the moment of the event."""
    return (span.start_ns - AT_MS * 1_000_000) / 1e6, (span.end_ns - span.start_ns) / 1e6


def test_an_answers_parts_lie_end_to_end_around_the_moment_its_audio_left_the_worker() -> None:
    turn = told(TURN)

    assert turn is not None
    assert turn.attributes == {"trunkline.position": 2, "trunkline.response_ms": 860}
    assert {child.name: ms(child) for child in turn.children} == {
        "twilio to gateway": (-403, 40),
        "gateway to worker": (-363, 1),
        "worker to model": (-362, 30),
        "model": (-332, 300),
        "model to worker": (-32, 30),
        "worker": (-2, 2),
        "worker to gateway": (0, 1),
    }
    assert ms(turn) == (-860, 861)


@pytest.mark.parametrize(
    ("event", "name", "place"),
    [
        (
            CallStarted(caller="+12025550143", called="+12025550199", agent="desk", worker="w"),
            "answer",
            (0, 0),
        ),
        (ModelConnected(session=1, model="m", session_id="s", connect_ms=250), "connect model", (-250, 250)),
        (
            ToolReturned(
                tool_call_id="t", name="find", outcome=ToolOutcome.OK, output="a secret", duration_ms=90
            ),
            "tool",
            (-90, 90),
        ),
    ],
)
def test_other_events_that_take_time_are_spans(event: Any, name: str, place: tuple[float, float]) -> None:
    span = told(event)

    assert span is not None
    assert (span.name, ms(span)) == (name, place)
    assert not {"a secret", "+12025550143", "+12025550199"} & set(span.attributes.values())


def test_the_call_is_the_root_and_every_owner_knows_its_ids() -> None:
    ended = CallEnded(
        outcome=Outcome.SUCCESS,
        reason="caller-hung-up",
        duration_ms=10_000,
        interruptions=1,
        events_expected=9,
    )
    call = told(ended)

    assert call is not None
    assert call.is_call
    assert ms(call) == (-10_000, 10_000)
    assert call.attributes["trunkline.outcome"] == "success"
    assert trace_of(sealed(ended)) == trace_of(sealed(TURN, fence=Fence(2, 1)))
    assert trace_of(sealed(ended)) != trace_of(sealed(ended, call_id="CA2"))
    assert all(trace_of(sealed(ended)))


def test_what_was_said_is_no_span() -> None:
    said = {"item_id": "i", "position": 1, "start_ms": 0, "end_ms": 9, "generated_ms": 9, "heard_ms": 9}
    turn = msgspec.convert(
        said | {"type": "turn_agent", "generated_text": "Hello", "heard_text": "Hello", "interrupted": False},
        AgentTurn,
        strict=False,
    )

    assert told(turn) is None
