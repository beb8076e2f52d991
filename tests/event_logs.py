"""Event logs of made-up calls, as a worker would write them."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
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
    encode,
    open_envelope,
    seal,
)
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.entry import Entry, read

STARTED_AT_MS: Final = 1_795_353_000_123
"""2026-11-22 13:10:00.123 UTC."""
FIRST_OWNER: Final = Fence(1, 1)
CALLER_KEY: Final = CallerKey(b"a key for the tests, 32 bytes long")


def log_of(
    events: Iterable[CallEvent], *, call_id: str = "CA1", fence: Fence = FIRST_OWNER, first_n: int = 0
) -> list[Envelope]:
    """Return the events in their envelopes, one second after the other."""
    return [
        seal(
            event,
            call_id=call_id,
            call_started_at_ms=STARTED_AT_MS,
            fence=fence,
            n=n,
            at_ms=STARTED_AT_MS + 1000 * (n + 1),
        )
        for n, event in enumerate(events, first_n)
    ]


def entries(batch: Iterable[Envelope], log: Sequence[Envelope] | None = None) -> list[Entry]:
    """Return the events as they arrive; `log` is the order in which they were written, by default that of the batch."""
    arriving = list(batch)
    sequences = {
        envelope.message_id: place for place, envelope in reversed(list(enumerate(log or arriving, 1)))
    }
    return [read(encode(envelope), sequences[envelope.message_id], CALLER_KEY) for envelope in arriving]


def started(worker: str = "w1") -> CallStarted:
    return CallStarted(caller="+15550001111", called="+15550002222", agent="desk", worker=worker)


def attached(gateway: str = "g1") -> CallAttached:
    return CallAttached(gateway=gateway, stream_sid=f"MZ-{gateway}")


def went_on(worker: str = "w2", cause: str = "worker-lost", previous_fence: str = "1.1") -> CallTakenOver:
    lost_ms = None if cause == "handover" else 350.5
    return CallTakenOver(worker=worker, cause=cause, previous_fence=previous_fence, items=3, lost_ms=lost_ms)


def model_connected(session: int = 1) -> ModelConnected:
    return ModelConnected(
        session=session, model="gpt-realtime", session_id=f"sess_{session}", connect_ms=312.5
    )


def caller_turn(
    item_id: str = "item_1", position: int = 1, text: str | None = "Hi.", revision: int = 1
) -> CallerTurn:
    return CallerTurn(
        item_id=item_id,
        position=position,
        start_ms=1_000 * position,
        end_ms=1_000 * position + 900,
        text=text,
        transcription="missing" if text is None else "completed",
        revision=revision,
    )


def agent_turn(item_id: str = "item_2", position: int = 2, text: str = "We open at nine.") -> AgentTurn:
    return AgentTurn(
        item_id=item_id,
        position=position,
        start_ms=1_000 * position,
        end_ms=1_000 * position + 800,
        generated_text=text,
        heard_text=text[:7],
        generated_ms=2_000,
        heard_ms=800,
        interrupted=True,
    )


def latency(item_id: str = "item_2", position: int = 2) -> TurnLatency:
    return TurnLatency(
        item_id=item_id,
        position=position,
        response_ms=431.5,
        twilio_to_gateway_ms=20.5,
        gateway_to_worker_ms=0.5,
        worker_to_model_ms=None,
        model_ms=390.25,
        model_to_worker_ms=None,
        worker_to_gateway_ms=0.5,
        gateway_to_twilio_ms=20.5,
        worker_ms=1.25,
    )


def usage(response_id: str = "resp_1") -> Usage:
    return Usage(
        response_id=response_id,
        input_tokens=120,
        input_text_tokens=20,
        input_audio_tokens=100,
        cached_tokens=64,
        output_tokens=80,
        output_text_tokens=20,
        output_audio_tokens=60,
        cached_text_tokens=14,
        cached_audio_tokens=50,
        model="gpt-realtime",
        cost_usd=0.00547,
        price_date="2026-11-22",
    )


def transcription_usage(item_id: str = "item_1") -> TranscriptionUsage:
    return TranscriptionUsage(
        item_id=item_id, model="gpt-realtime-whisper", seconds=3, cost_usd=0.00085, price_date="2026-11-22"
    )


def tool_called(tool_call_id: str = "call_1", arguments: str = '{"day": "Saturday"}') -> ToolCalled:
    return ToolCalled(
        tool_call_id=tool_call_id, item_id="item_9", name="free_slots", arguments=arguments, at_ms=4_000
    )


def tool_returned(tool_call_id: str = "call_1", outcome: ToolOutcome = ToolOutcome.OK) -> ToolReturned:
    return ToolReturned(
        tool_call_id=tool_call_id,
        name="free_slots",
        outcome=outcome,
        output='["10:00"]',
        duration_ms=120.5,
        http_status=200,
    )


def model_lost(session: int = 1) -> ModelLost:
    return ModelLost(session=session, reason="close-1006")


def transfer(status: str = "dialing") -> TransferChanged:
    return TransferChanged(target="reception", status=status, at_ms=9_000)


def limit() -> LimitReached:
    return LimitReached(limit="minutes", at_ms=9_500)


def ended(
    events_expected: int, outcome: Outcome = Outcome.SUCCESS, reason: str = "caller-hung-up"
) -> CallEnded:
    return CallEnded(
        outcome=outcome, reason=reason, duration_ms=21_000, interruptions=1, events_expected=events_expected
    )


def call(call_id: str, turns: int = 4, fence: Fence = FIRST_OWNER) -> list[Envelope]:
    """Return the log of one whole call under one owner; each caller's turn is told a second time, with its text."""
    events: list[CallEvent] = [started(f"w{fence.assign}"), model_connected(), attached(f"g{fence.attach}")]
    for position in range(1, 2 * turns, 2):
        heard, spoken = f"item_{position}", f"item_{position + 1}"
        events += [
            caller_turn(heard, position, text=None),
            latency(spoken, position + 1),
            agent_turn(spoken, position + 1, text=f"Answer {position}."),
            usage(f"resp_{position}"),
            caller_turn(heard, position, text=f"Question {position}?", revision=2),
            transcription_usage(heard),
            tool_called(f"call_{position}"),
            tool_returned(f"call_{position}"),
        ]
    events += [model_lost(), model_connected(2), transfer(), transfer("busy"), limit()]
    events.append(ended(len(events) + 1))
    return log_of(events, call_id=call_id, fence=fence)


def taken_over(call_id: str) -> list[Envelope]:
    """Return the log of a call that was lost, taken over, and attached again; its first owner woke up late.

    Each owner after the first tells one more time what the owner before it told last.
    """
    first = call(call_id, 2, Fence(1, 1))
    lost, woken = first[:-8], first[-8:]
    second = [went_on("w2"), *_told(call(call_id, 1))[1:]]
    third = [went_on("w3", "resumed", "1.2"), attached("g2"), *_told(call(call_id, 2))[3:]]
    second_log = log_of(second, call_id=call_id, fence=Fence(1, 2))
    return [
        *lost,
        *second_log[:4],
        *woken[:3],
        *second_log[4:],
        *log_of(third, call_id=call_id, fence=Fence(2, 1)),
        *woken[3:],
    ]


def _told(log: Iterable[Envelope]) -> list[CallEvent]:
    return [event for envelope in log if (event := open_envelope(envelope)) is not None]


def shuffled(log: Sequence[Envelope], random_source: random.Random) -> list[Envelope]:
    """Return the log in any order, with some events twice."""
    copies = [*log, *random_source.sample(log, len(log) // 3)]
    random_source.shuffle(copies)
    return copies


def cut(log: Sequence[Envelope], random_source: random.Random) -> Iterator[Sequence[Envelope]]:
    """Cut the log into batches of any size."""
    start = 0
    while start < len(log):
        size = random_source.randint(1, 12)
        yield log[start : start + size]
        start += size
