"""Made-up calls for the console's pages: one in which everything happened that a page can show, and weeks of others."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
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
from trunkline_common.verdict import Verdict

CALL_ID: Final = "CA7d1f03a6c2b94e58b0a1"
MARKUP: Final = "My name is <script>alert('spoken')</script> & <b>Sons</b>."
CALLER: Final = "+15550001111"

_VERDICTS: Final = (
    [Verdict.CALLER_HUNG_UP] * 14 + [Verdict.AGENT_HUNG_UP] * 5 + [Verdict.TRANSFERRED, Verdict.CALLER_SILENT]
    + [Verdict.CALLER_LEFT_EARLY, Verdict.MODEL_LOST, Verdict.STREAM_LOST, Verdict.WORKER_ERROR]
)  # fmt: skip


def everything(began: datetime, call_id: str = CALL_ID) -> list[Envelope]:
    """Return the log of a call with an interruption, tools, a takeover, a transfer, a limit and spoken markup."""
    first: list[CallEvent] = [
        *_opening("front-desk"),
        _agent(1, 400, "Hello, Riverside Dental, this is Robin. How can I help you?", 3_600),
        *_asked(2, 4_700, 6_300, "Hi. When are you open on Saturday?"),
        *_tool("call_hours", "opening_hours", '{"day": "Saturday"}', '{"from": "9:00", "to": "13:00"}', 6_500, 180),
        *_answered(3, 7_180, "On Saturdays we are open from nine in the morning until one in the afternoon.", 4_300, 612),
        *_asked(4, 12_200, 13_900, "And what does a check up cost?"),
        *_answered(
            5, 14_420,
            "A check up is sixty dollars. That includes an examination, a cleaning, and two small x rays. If you "
            "have not been with us before, please come ten minutes early.",
            9_400, 498, heard=("A check up is sixty dollars. That includes an examination,", 3_900),
        ),
        *_asked(6, 18_000, 20_600, "That is fine. Please book me in for ten o'clock."),
        *_tool("call_book", "book", '{"time": "10:00", "day": "Saturday"}', "no answer in 3 s", 20_900, 3_000, ToolOutcome.TIMEOUT),
        *_tool("call_again", "book", '{"time": "10:00", "day": "Saturday"}', '{"booked": true}', 24_300, 640),
    ]  # fmt: skip
    second: list[CallEvent] = [
        CallTakenOver(worker="worker-b", cause="worker-lost", previous_fence="1.1", items=7, lost_ms=420),
        attached(),
        ModelConnected(session=1, model="gpt-realtime", session_id="sess_3", connect_ms=388, cause="restored", items=7),
        *_answered(8, 25_900, "You are booked for Saturday at ten.", 2_300, 1_180),
        *_asked(9, 28_900, 31_800, MARKUP),
        *_answered(10, 32_400, "Thank you. I put you through to reception for the rest.", 3_200, 547),
        TransferChanged(target="reception", status="dialing", at_ms=36_000),
        TransferChanged(target="reception", status="no-answer", at_ms=44_000),
        *_asked(11, 45_200, 45_900, None),
        LimitReached(limit="silence", at_ms=52_000),
        *_answered(12, 52_400, "I will call you back. Goodbye.", 1_900, 430),
        CallEnded(
            outcome=Verdict.CALLER_SILENT.outcome, reason=Verdict.CALLER_SILENT.reason, duration_ms=55_000,
            interruptions=1, events_expected=0,
        ),
    ]  # fmt: skip
    first.insert(4, ModelLost(session=1, reason="close-1006"))
    first.insert(
        5,
        ModelConnected(
            session=2,
            model="gpt-realtime",
            session_id="sess_2",
            connect_ms=340,
            cause="restored",
            items=2,
        ),
    )
    log = log_of(first, call_id=call_id) + log_of(second, call_id=call_id, fence=Fence(1, 2))
    return _dated(log, began)


def going_on(began: datetime, call_id: str) -> list[Envelope]:
    """Return the log so far of a call that is not over."""
    said = [*_opening("front-desk"), *_asked(1, 900, 2_400, "Do you have time today?")]
    return _dated(log_of(said, call_id=call_id), began)


def weeks(until: datetime, days: int, calls_a_day: int, seed: int = 1) -> Iterator[Envelope]:
    """Return the logs of some calls each day, all that is random drawn from the seed."""
    drawn = random.Random(seed)
    for back in range(days):
        for number in range(drawn.randint(calls_a_day // 2, calls_a_day)):
            began = until - timedelta(days=back, seconds=drawn.randrange(36_000))
            yield from _dated(log_of(_ordinary(drawn), call_id=f"CA{back:03}{number:04}"), began)


def _ordinary(drawn: random.Random) -> Iterator[CallEvent]:
    verdict = drawn.choice(_VERDICTS)
    yield from _opening(drawn.choice(["front-desk", "front-desk", "after-hours"]))
    at_ms, cuts = 1_000, 0
    for position in range(1, 2 * drawn.randint(1, 5), 2):
        yield from _asked(position, at_ms, at_ms + 2_000, "When are you open on Saturday?")
        response_ms = round(drawn.lognormvariate(6.2, 0.35))
        cut = drawn.random() < 0.15
        cuts += cut
        yield from _answered(
            position + 1, at_ms + 2_000 + response_ms, "From nine until one.", 1_800, response_ms,
            heard=("From nine", 800) if cut else None,
        )  # fmt: skip
        at_ms += 6_000 + response_ms
    yield CallEnded(
        outcome=verdict.outcome,
        reason=verdict.reason,
        duration_ms=at_ms,
        interruptions=cuts,
        events_expected=0,
    )


def _opening(agent: str) -> list[CallEvent]:
    started = CallStarted(caller=CALLER, called="+15550002222", agent=agent, worker="worker-a")
    return [started, attached(), model_connected()]


def _asked(position: int, start_ms: int, end_ms: int, text: str | None) -> list[CallEvent]:
    item_id = f"item_{position}"
    turn = CallerTurn(
        item_id=item_id, position=position, start_ms=start_ms, end_ms=end_ms, text=text,
        transcription="completed" if text else "failed",
    )  # fmt: skip
    written = TranscriptionUsage(
        item_id=item_id, model="gpt-realtime-whisper", seconds=2, cost_usd=0.0006, price_date="2026-11-01"
    )
    return [turn, written]


def _agent(
    position: int, start_ms: int, text: str, generated_ms: int, heard: tuple[str, int] | None = None
) -> AgentTurn:
    heard_text, heard_ms = heard or (text, generated_ms)
    return AgentTurn(
        item_id=f"item_{position}", position=position, start_ms=start_ms, end_ms=start_ms + heard_ms,
        generated_text=text, heard_text=heard_text, generated_ms=generated_ms, heard_ms=heard_ms,
        interrupted=heard is not None,
    )  # fmt: skip


def _answered(
    position: int,
    start_ms: int,
    text: str,
    generated_ms: int,
    response_ms: float,
    heard: tuple[str, int] | None = None,
) -> list[CallEvent]:
    latency = TurnLatency(
        item_id=f"item_{position}", position=position, response_ms=response_ms, twilio_to_gateway_ms=21,
        gateway_to_worker_ms=0.6, worker_to_model_ms=14, model_ms=response_ms - 75, model_to_worker_ms=14,
        worker_to_gateway_ms=0.5, gateway_to_twilio_ms=21, worker_ms=1.4,
    )  # fmt: skip
    usage = Usage(
        response_id=f"resp_{position}", input_tokens=900 + 60 * position, input_text_tokens=200,
        input_audio_tokens=700 + 60 * position, cached_tokens=500, output_tokens=240, output_text_tokens=60,
        output_audio_tokens=180, model="gpt-realtime", cost_usd=0.0214 + 0.001 * position, price_date="2026-11-01",
    )  # fmt: skip
    return [latency, _agent(position, start_ms, text, generated_ms, heard), usage]


def _tool(
    tool_call_id: str,
    name: str,
    arguments: str,
    output: str,
    at_ms: int,
    duration_ms: float,
    outcome: ToolOutcome = ToolOutcome.OK,
) -> list[CallEvent]:
    called = ToolCalled(
        tool_call_id=tool_call_id, item_id=tool_call_id, name=name, arguments=arguments, at_ms=at_ms
    )
    returned = ToolReturned(
        tool_call_id=tool_call_id, name=name, outcome=outcome, output=output, duration_ms=duration_ms,
        http_status=200 if outcome is ToolOutcome.OK else None,
    )  # fmt: skip
    return [called, returned]


def _dated(log: list[Envelope], began: datetime) -> list[Envelope]:
    began_ms = int(began.timestamp() * 1000)
    moments = {Fence(1, 1): 0, Fence(1, 2): 25_000}
    return [
        msgspec.structs.replace(
            envelope, call_started_at_ms=began_ms, at_ms=began_ms + moments[envelope.fence] + 400 * envelope.n
        )
        for envelope in log
    ]
