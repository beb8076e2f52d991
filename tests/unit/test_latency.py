"""The demo's figures, from traces made by hand: 20 ms frames, each with a known delay."""

from typing import Any

from trunkline_local import latency

MS = 1_000_000
Trace = list[dict[str, Any]]


def frame_sent(t_ms: int, at_ms: float) -> dict[str, Any]:
    return {"event": "frame-sent", "t_ms": t_ms, "at_ns": int(at_ms * MS)}


def append_received(to_ms: float, at_ms: float) -> dict[str, Any]:
    return {"event": "append-received", "to_ms": to_ms, "at_ns": int(at_ms * MS)}


def delta_sent(item_id: str, to_ms: float, at_ms: float) -> dict[str, Any]:
    return {"event": "delta-sent", "item_id": item_id, "to_ms": to_ms, "at_ns": int(at_ms * MS)}


def mark_received(name: str, at_ms: float) -> dict[str, Any]:
    return {"event": "mark-received", "name": name, "at_ns": int(at_ms * MS)}


def talk(delay_ms: float, frames: int = 100, resampler_ms: float = 2.25) -> tuple[Trace, Trace]:
    sent = [frame_sent(20 * number, 1_000 + 20 * number) for number in range(frames)]
    appended = [
        append_received(20 * number + 20 - resampler_ms, 1_000 + 20 * number + delay_ms)
        for number in range(frames)
    ]
    return sent, appended


def test_an_injected_delay_is_found_in_every_frame() -> None:
    sent, appended = talk(delay_ms=7.0)

    spread = latency.inbound(sent, appended, media_start_ms=None)

    assert len(spread.values_ms) >= 97
    assert spread.p50_ms == spread.p99_ms == 7.0


def test_frames_that_waited_for_the_session_are_not_counted() -> None:
    sent, appended = talk(delay_ms=3.0)
    # The first half second came in one piece once the session was open.
    waited, live = appended[:25], appended[25:]
    backlog = [append_received(waited[-1]["to_ms"], waited[-1]["at_ns"] / MS)]

    spread = latency.inbound(sent, backlog + live, media_start_ms=0)

    assert spread.p99_ms == 3.0


def test_a_single_late_frame_shows_in_the_p99_and_not_in_the_median() -> None:
    sent, appended = talk(delay_ms=2.0)
    appended[50]["at_ns"] += 18 * MS

    spread = latency.inbound(sent, appended, media_start_ms=None)

    assert spread.p50_ms == 2.0
    assert max(spread.values_ms) == 20.0


def test_a_mark_is_as_late_as_the_delta_that_completed_it() -> None:
    model = [delta_sent("item_1", 250.0, 100.0), delta_sent("item_1", 500.0, 160.0)]
    twilio = [
        mark_received("probe:1", 50.0),
        mark_received("0:item_1:200", 104.0),
        mark_received("0:item_1:240", 104.5),
        mark_received("0:item_1:400", 166.0),
    ]

    assert latency.outbound(twilio, model).values_ms == (4.0, 4.5, 6.0)


def test_the_padding_behind_the_last_delta_is_not_counted() -> None:
    model = [delta_sent("item_1", 250.0, 100.0)]

    assert latency.outbound([mark_received("0:item_1:260", 900.0)], model).values_ms == ()


def test_a_barge_in_is_measured_from_the_newest_start_of_speech() -> None:
    model = [
        {"event": "server-event", "type": "input_audio_buffer.speech_started", "at_ns": 1_000 * MS},
        {"event": "server-event", "type": "input_audio_buffer.speech_started", "at_ns": 9_000 * MS},
    ]
    twilio = [{"event": "clear-received", "dropped_bytes": 800, "at_ns": 9_002 * MS}]

    assert latency.barge_in(twilio, model).values_ms == (2.0,)


def test_a_phone_that_is_late_itself_is_told_apart() -> None:
    sent, _ = talk(delay_ms=0.0)
    for event in sent[90:]:
        event["at_ns"] += 30 * MS

    assert latency.machine(sent).p50_ms == 0.0
    assert latency.machine(sent).p99_ms == 30.0


def test_without_a_trace_there_is_no_figure() -> None:
    assert latency.inbound([], [], None).p99_ms is None
    assert latency.machine([]).p50_ms is None
