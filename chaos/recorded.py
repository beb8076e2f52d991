"""Reads a run's folder: history, what was stored, both simulators' traces, and the sound that callers heard."""

import json
import multiprocessing
import wave
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from chaos import callers, carried, hearing, history, stored
from chaos.evidence import Call, Run, Said, Strike
from chaos.faults import FAULTS
from chaos.hearing import Piece
from chaos.history import Line
from chaos.stored import Stored
from trunkline_simulators import openai_ledger

_PER_FRAME: Final = (b'"frame-sent"', b'"media-received"', b'"mark-')
"""Most lines of a trace, and nothing that is asked here."""

Trace = list[dict[str, Any]]


def read(folder: Path) -> Run:
    """Return all that is known of a run; takes a third of a second of one core for each call."""
    lines = history.read(folder)
    printed = callers.read(folder)
    over = [line for line in printed if line["event"] == "call-over"]
    began = {line["call_sid"] for line in printed if line["event"] == "call-began"}
    kept = stored.read(folder)
    strikes = _strikes(lines, _detections(folder, lines))
    return Run(
        strikes=strikes,
        calls=_calls(folder, over, kept, strikes),
        events=kept.events,
        rows=kept.rows,
        ended_alone=list(_ended_alone(lines)),
        undrained=[
            f"{line['member']} ended its drain with code {line['code']}"
            for line in lines
            if line["event"] == "retired" and line["code"] != 0
        ],
        stale_frames_refused=_stale_frames(lines),
        harness_late_ms=[line["ms"] for line in lines if line["event"] == "harness-late"],
        lost_callers=sorted(began - {line["call_sid"] for line in over}),
    )


def settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a run."""
    found: dict[str, Any] = next(line["settings"] for line in history.read(folder) if line["event"] == "run")
    return found


def _strikes(lines: Sequence[Line], detections: Mapping[str, Sequence[int]]) -> list[Strike]:
    later = {
        (line["event"], line["number"]): line["at_ns"]
        for line in lines
        if line["event"] in ("healing", "healed")
    }
    return [
        Strike(
            number=line["number"],
            fault=line["fault"],
            victim=line["victim"],
            calls=line["calls"],
            at_ns=line["at_ns"],
            healing_ns=later["healing", line["number"]],
            healed_ns=later["healed", line["number"]],
            turns_away=FAULTS[line["fault"]].turns_away,
            gives_up=FAULTS[line["fault"]].gives_up,
            takes_streams=FAULTS[line["fault"]].takes_streams,
            detected_ns=min((at for at in detections[line["id"]] if at >= line["at_ns"]), default=None),
        )
        for line in lines
        if line["event"] == "injecting" and ("healed", line["number"]) in later
    ]


def _detections(folder: Path, lines: Sequence[Line]) -> Mapping[str, Sequence[int]]:
    """Return when gateways said that a worker was lost, by the worker's id."""
    clock = next(line for line in lines if line["event"] == "run")
    found: dict[str, list[int]] = defaultdict(list)
    for path in (folder / "logs").glob("gateway-*.log"):
        for text in path.read_bytes().splitlines():
            # The word is also the reason why a stream ended.
            line = json.loads(text) if b'"worker-lost"' in text else {}
            if line.get("event") == "worker-lost":
                wall_ns = round(datetime.fromisoformat(line["timestamp"]).timestamp() * 1e9)
                at_ns = clock["at_ns"] + wall_ns - clock["wall_ns"]
                found[line["worker"]].append(at_ns)
    return found


def _ended_alone(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line["event"] == "process-ended" and not line["by_us"]:
            yield f"{line['member']} ended by itself with code {line['code']}"


def _stale_frames(lines: Sequence[Line]) -> int:
    """Return the sum over all gateways' lives: a counter begins anew with its process."""
    newest: dict[str, int] = {}
    for line in lines:
        if line["event"] == "counted":
            newest[line["id"]] = line["stale_frames"]
    return sum(newest.values())


def _calls(
    folder: Path, over: Sequence[dict[str, Any]], kept: Stored, strikes: Sequence[Strike]
) -> list[Call]:
    known: dict[str, list[str | None]] = defaultdict(list)
    for each in openai_ledger.read(folder / "recordings"):
        known[each.session_id].append(each.utterance)
    sessions: dict[str, list[str]] = defaultdict(list)
    for sid, session_id in kept.sessions:
        sessions[sid].append(session_id)
    texts: dict[str, list[str]] = defaultdict(list)
    for sid, words in kept.caller_texts:
        texts[sid].append(words)
    outcomes = dict(kept.outcomes)
    sids = [line["call_sid"] for line in over]
    # Forked children of a process that had threads may hang.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        heard = list(pool.map(_heard, [folder / "recordings" / f"{sid}.wav" for sid in sids]))
    return [
        _call(
            line,
            _trace(folder / "recordings" / f"{line['call_sid']}.jsonl"),
            pieces,
            [strike for strike in strikes if line["call_sid"] in strike.calls],
            knows=[known[session_id] for session_id in sessions[line["call_sid"]]],
            outcome=outcomes.get(line["call_sid"]),
            row_texts=texts[line["call_sid"]],
        )
        for line, pieces in zip(over, heard, strict=True)
    ]


def _heard(path: Path) -> list[Piece]:
    with wave.open(str(path)) as wav:
        both = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2").reshape(-1, 2)
    return hearing.pieces(both[:, 1])


def _call(
    line: dict[str, Any], trace: Trace, heard: list[Piece], strikes: Sequence[Strike], **more: Any
) -> Call:
    answered_ns = _answered_ns(trace)

    def ms(at_ns: int) -> int:
        return (at_ns - answered_ns) // 1_000_000

    started, ended = (
        [ms(each["at_ns"]) for each in trace if each["event"] == event]
        for event in ("stream-started", "stream-ended")
    )
    streamless = carried.streamless(started, ended)
    return Call(
        sid=line["call_sid"],
        answered_ns=answered_ns,
        connected_ms=started[0] if started else None,
        over_ms=ms(next(each["at_ns"] for each in trace if each["event"] == "ended")),
        end_reason=line["end_reason"],
        script_finished=line["script_finished"],
        sentences=line["said"],
        said=list(_said(trace, ms)),
        heard=heard,
        streamless=streamless,
        unheard=list(carried.unheard(streamless, strikes, answered_ns)),
        clock_late_ms=line["clock_late_ms"],
        **more,
    )


def _answered_ns(trace: Trace) -> int:
    """Return when the call's clock began: the tick that was least late tells."""
    ticks: list[int] = [
        each["at_ns"] - each["t_ms"] * 1_000_000 for each in trace if each["event"] == "agent-audible"
    ]
    answers = [each["at_ns"] for each in trace if each["event"] == "http"]
    return min(ticks or answers or [trace[0]["at_ns"]])


def _said(trace: Trace, ms: Callable[[int], int]) -> Iterator[Said]:
    from_ms = 0
    for each in trace:
        if each["event"] == "caller-speaking":
            from_ms = ms(each["at_ns"])
        elif each["event"] == "caller-silent":
            yield Said(each["utterance"], from_ms, each["t_ms"])


def _trace(path: Path) -> Trace:
    lines = path.read_bytes().splitlines()
    return [json.loads(line) for line in lines if not any(event in line for event in _PER_FRAME)]
