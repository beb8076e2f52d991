"""The six made-up calls that the answers in docs/analysts.md are about, as their workers would have logged them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from event_logs import attached, log_of, model_connected

from trunkline_common.call_events import (
    AgentTurn,
    CallEnded,
    CallerTurn,
    CallEvent,
    CallStarted,
    CallTakenOver,
    Envelope,
    LimitReached,
    ModelConnected,
    ModelLost,
    ToolCalled,
    ToolOutcome,
    ToolReturned,
    TranscriptionUsage,
    TransferChanged,
    TurnLatency,
    Usage,
)
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome

CALLER: Final = "+15550001111"
"""Nobody who reads the views should ever see it."""


def logs() -> Iterator[Envelope]:
    """Return the logs of all six calls."""
    yield from _log("CA01", datetime(2026, 11, 20, 9, 0, tzinfo=UTC), _asks_for_opening_hours())
    yield from _log("CA02", datetime(2026, 11, 20, 9, 30, tzinfo=UTC), _interrupts_the_price())
    yield from _log("CA03", datetime(2026, 11, 21, 14, 0, tzinfo=UTC), _leaves_before_the_answer())
    yield from _owned_by_three("CA05", datetime(2026, 12, 1, 10, 0, tzinfo=UTC))
    forgotten = _log("CA06", datetime(2026, 1, 5, 16, 0, tzinfo=UTC), _asks_for_opening_hours())
    # Its worker died with its last word.
    yield from list(forgotten)[:-1]
    mumbled = list(_log("CA04", datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), _mumbles()))
    # One event of this call is still on its way.
    yield from mumbled[:-2] + mumbled[-1:]


def _owned_by_three(call_id: str, began: datetime) -> Iterator[Envelope]:
    """Its first worker died, and wrote one thing more than it should have; the second handed it to a third."""
    lost: list[CallEvent] = [*_opening("front-desk"), _caller(1, "Are you open on Monday?")]
    dead: list[CallEvent] = [_agent(2, "From nine.")]
    second: list[CallEvent] = [
        CallTakenOver(worker="w2", cause="worker-lost", previous_fence="1.1", items=2, lost_ms=420),
        _agent(2, "Yes, from nine until five."),
    ]
    third: list[CallEvent] = [
        CallTakenOver(worker="w3", cause="handover", previous_fence="1.2", items=3),
        _ended(Outcome.SUCCESS, "caller-hung-up", duration_ms=20_000),
    ]
    third[-1] = msgspec.structs.replace(third[-1], events_expected=len(third))
    owned = [
        (Fence(1, 1), lost, 0),
        (Fence(1, 2), second, 0),
        (Fence(1, 1), dead, len(lost)),
        (Fence(1, 3), third, 0),
    ]
    for fence, events, first_n in owned:
        yield from _dated(log_of(events, call_id=call_id, fence=fence, first_n=first_n), began)


def _log(call_id: str, began: datetime, events: Iterable[CallEvent]) -> Iterator[Envelope]:
    """Number the events, one every half second; `events_expected` is set to what there is."""
    told = list(events)
    told[-1] = msgspec.structs.replace(told[-1], events_expected=len(told))
    yield from _dated(log_of(told, call_id=call_id), began)


def _dated(log: Iterable[Envelope], began: datetime) -> Iterator[Envelope]:
    began_ms = int(began.timestamp() * 1000)
    for envelope in log:
        yield msgspec.structs.replace(
            envelope, call_started_at_ms=began_ms, at_ms=began_ms + 500 * (envelope.n + 1)
        )


def _asks_for_opening_hours() -> Iterator[CallEvent]:
    yield from _opening("front-desk")
    yield _caller(1, "When are you open on Saturday?")
    yield _written(1, 3)
    yield from _tool("call_1", "opening_hours", '{"day": "Saturday"}', '{"from": "9:00", "to": "13:00"}', 90)
    yield from _answer(2, "From nine until one.", response_ms=400, input_tokens=1000, cached_tokens=0)
    yield _ended(Outcome.SUCCESS, "caller-hung-up", duration_ms=30_000)


def _interrupts_the_price() -> Iterator[CallEvent]:
    yield from _opening("front-desk")
    yield _caller(1, "What does a check up cost?")
    yield _written(1, 2)
    yield from _answer(
        2, "Sixty dollars. That includes two x rays.", response_ms=500, input_tokens=1000, cached_tokens=500,
        heard="Sixty dollars.",
    )  # fmt: skip
    yield _caller(3, "Thanks, please book me in.")
    yield _written(3, 3)
    yield from _tool("call_1", "book", '{"time": "10:00"}', "no answer in 3 s", 3000, ToolOutcome.TIMEOUT)
    yield from _tool("call_2", "book", '{"time": "10:00"}', '{"booked": true}', 640)
    yield from _answer(4, "You are booked.", response_ms=900, input_tokens=2000, cached_tokens=1500)
    yield _ended(Outcome.SUCCESS, "caller-hung-up", duration_ms=60_000, interruptions=1)


def _leaves_before_the_answer() -> Iterator[CallEvent]:
    yield _started("after-hours")
    yield _ended(Outcome.CALLER, "never-attached", duration_ms=0)


def _mumbles() -> Iterator[CallEvent]:
    yield from _opening("after-hours")
    yield _caller(1, None)
    yield from _answer(2, "Sorry, I did not catch that.", response_ms=700, input_tokens=1000, cached_tokens=0)
    yield TransferChanged(target="reception", status="dialing", at_ms=40_000)
    yield TransferChanged(target="reception", status="no-answer", at_ms=60_000)
    yield LimitReached(limit="silence", at_ms=80_000)
    yield ModelLost(session=1, reason="close-1006")
    yield ModelConnected(
        session=2, model="gpt-realtime", session_id="sess_2", connect_ms=480, cause="restored", items=3
    )
    yield ModelLost(session=2, reason="insufficient_quota", fatal=True)
    yield _caller(3, "Never mind, what is the price?")
    yield _ended(Outcome.UPSTREAM, "model-lost", duration_ms=90_000)


def _opening(agent: str) -> Iterator[CallEvent]:
    yield _started(agent)
    yield attached()
    yield model_connected()


def _started(agent: str) -> CallStarted:
    return CallStarted(caller=CALLER, called="+15550002222", agent=agent, worker="w1")


def _caller(position: int, text: str | None) -> CallerTurn:
    return CallerTurn(
        item_id=f"item_{position}",
        position=position,
        start_ms=10_000 * position,
        end_ms=10_000 * position + 2_000,
        text=text,
        transcription="completed" if text else "failed",
    )


def _agent(position: int, text: str) -> AgentTurn:
    return AgentTurn(
        item_id=f"item_{position}", position=position, start_ms=10_000 * position, end_ms=10_000 * position + 2_000,
        generated_text=text, heard_text=text, generated_ms=2_000, heard_ms=2_000, interrupted=False,
    )  # fmt: skip


def _written(position: int, seconds: float) -> TranscriptionUsage:
    return TranscriptionUsage(
        item_id=f"item_{position}", model="gpt-realtime-whisper", seconds=seconds,
        cost_usd=round(seconds * 0.017 / 60, 9), price_date="2026-11-01",
    )  # fmt: skip


def _tool(
    tool_call_id: str,
    name: str,
    arguments: str,
    output: str,
    duration_ms: float,
    outcome: ToolOutcome = ToolOutcome.OK,
) -> Iterator[CallEvent]:
    yield ToolCalled(
        tool_call_id=tool_call_id,
        item_id=f"item_{tool_call_id}",
        name=name,
        arguments=arguments,
        at_ms=15_000,
    )
    yield ToolReturned(
        tool_call_id=tool_call_id, name=name, outcome=outcome, output=output, duration_ms=duration_ms,
        http_status=200 if outcome is ToolOutcome.OK else None,
    )  # fmt: skip


def _answer(
    position: int,
    text: str,
    *,
    response_ms: float,
    input_tokens: int,
    cached_tokens: int,
    heard: str | None = None,
) -> Iterator[CallEvent]:
    """Tell all about one answer of the agent; each character of its text takes 100 ms to say."""
    heard_text = text if heard is None else heard
    item_id, start_ms = f"item_{position}", 10_000 * position
    yield TurnLatency(
        item_id=item_id, position=position, response_ms=response_ms, twilio_to_gateway_ms=20,
        gateway_to_worker_ms=0.5, worker_to_model_ms=15, model_ms=response_ms - 72, model_to_worker_ms=15,
        worker_to_gateway_ms=0.5, gateway_to_twilio_ms=20, worker_ms=1,
    )  # fmt: skip
    yield AgentTurn(
        item_id=item_id, position=position, start_ms=start_ms, end_ms=start_ms + 100 * len(heard_text),
        generated_text=text, heard_text=heard_text, generated_ms=100 * len(text),
        heard_ms=100 * len(heard_text), interrupted=heard is not None,
    )  # fmt: skip
    cached_text_tokens = min(cached_tokens, 200)
    cached_audio_tokens = cached_tokens - cached_text_tokens
    usd = (
        (200 - cached_text_tokens) * 4
        + (input_tokens - 200 - cached_audio_tokens) * 32
        + cached_tokens * 0.40
        + 100 * 16
        + 200 * 64
    ) / 1_000_000
    yield Usage(
        response_id=f"resp_{position}", input_tokens=input_tokens, input_text_tokens=200,
        input_audio_tokens=input_tokens - 200, cached_tokens=cached_tokens,
        output_tokens=300, output_text_tokens=100, output_audio_tokens=200,
        cached_text_tokens=cached_text_tokens, cached_audio_tokens=cached_audio_tokens,
        model="gpt-realtime", cost_usd=round(usd, 9), price_date="2026-11-01",
    )  # fmt: skip


def _ended(outcome: Outcome, reason: str, *, duration_ms: int, interruptions: int = 0) -> CallEnded:
    return CallEnded(
        outcome=outcome,
        reason=reason,
        duration_ms=duration_ms,
        interruptions=interruptions,
        events_expected=0,
    )
