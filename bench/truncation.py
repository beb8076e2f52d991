"""How far our truncations are from what the caller had really heard when the telephone fell silent.

    python -m bench.truncation --interruptions 60 --parallel 4

Callers ask for the long answer again and again and interrupt it at moments drawn from the seed. The simulated
telephone's trace says how much of the cut item it had played when `clear` came, the model's trace which
`audio_end_ms` it was told. A positive error means that the model believes in words that nobody heard. On a machine
that is busy with something else the simulated telephone itself plays late; such interruptions are told apart.
"""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from bench.placed_calls import MeasuredCall, Trace, measure, percentiles, spread, table
from trunkline_simulators.twilio_conversations import Conversation, Step

INTERRUPTIONS_PER_CALL: Final = 6
LATE_MS_MAX: Final = 40
"""Two frames: how late the telephone may have sent any frame of the last second, by its own absolute clock."""
BEFORE_MS: Final = 1_000
HEARD_MS: Final = (300, 8_500)
"""The answer takes ten seconds; an interruption takes a quarter of a second to be noticed."""


@click.command()
@click.option("--interruptions", default=60, show_default=True, help="At least so many.")
@click.option("--parallel", default=4, show_default=True, help="Calls at the same time.")
@click.option("--seed", default=1, show_default=True, help="Draws the moments of the interruptions.")
@click.option("--audio-path", type=click.Choice(["pcm24k", "pcmu"]), default="pcm24k", show_default=True)
@click.option(
    "--record", type=click.Path(path_type=Path, file_okay=False), help="Keep sound and traces there."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write every error there.")
def command(
    interruptions: int, parallel: int, seed: int, audio_path: str, record: Path | None, json_file: Path | None
) -> None:
    """Measure the error of `conversation.item.truncate` against what was heard."""
    calls = -(-interruptions // INTERRUPTIONS_PER_CALL)
    worker = {"AUDIO_PATH": audio_path}
    measured = asyncio.run(
        measure(_conversations(calls, seed), parallel=parallel, worker_settings=worker, record=record)
    ).calls
    found = [error for call in measured for error in _errors_ms(call)]
    errors = [error for error, _ in found]
    on_time = [error for error, late_ms in found if late_ms <= LATE_MS_MAX]
    cleared = sum(_cleared(call) for call in measured)
    click.echo(f"seed {seed}, {len(measured)} calls, {parallel} at a time, {audio_path}")
    table(
        [
            ("interruptions (clear)", cleared),
            ("truncations joined", len(errors)),
            ("error, told − heard", spread(errors)),
            ("error, absolute", spread([abs(error) for error in errors])),
            ("the same, telephone on time", spread([abs(error) for error in on_time])),
            ("truncations refused", sum(_refused(call) for call in measured)),
            ("calls not clean", [call.result.call_sid for call in measured if not call.result.clean]),
            ("telephone's clock late, max", f"{max(call.result.clock_late_ms for call in measured):.0f} ms"),
        ]
    )
    if json_file is not None:
        figures = percentiles([abs(error) for error in on_time]) if on_time else {}
        told = {"seed": seed, "errors_and_lateness_ms": found, "absolute_on_time_ms": figures}
        json_file.write_text(json.dumps(told, indent=1))


def _conversations(calls: int, seed: int) -> Iterator[Conversation]:
    moments = random.Random(seed)  # noqa: S311 - nothing here is a secret
    for number in range(calls):
        interrupting = tuple(
            Step(say="caller-price", after_heard_ms=moments.randint(*HEARD_MS))
            for _ in range(INTERRUPTIONS_PER_CALL - 1)
        )
        booking = Step(say="caller-book", after_heard_ms=moments.randint(*HEARD_MS))
        steps = (Step(say="caller-price"), *interrupting, booking, Step(hang_up=True))
        yield Conversation(f"interrupts {number}", steps)


def _errors_ms(call: MeasuredCall) -> list[tuple[float, float]]:
    """Return the error of each truncation whose item was playing when it was cleared, and how late the telephone was."""
    heard = _heard_ms(call.twilio)
    told = {
        line["item_id"]: line["audio_end_ms"]
        for session in call.sessions
        for line in session.trace
        if line["event"] == "client-event" and line["type"] == "conversation.item.truncate"
    }
    return [
        (told[item_id] - heard_ms, late_ms)
        for item_id, (heard_ms, late_ms) in heard.items()
        if item_id in told
    ]


def _heard_ms(twilio: Trace) -> dict[str, tuple[float, float]]:
    """Return how much of each cleared item was played, by its own marks, and how late the telephone was.

    A mark says which position of which item the audio before it reaches, so that it ties the bytes that the
    telephone received to the milliseconds of the item.
    """
    heard: dict[str, tuple[float, float]] = {}
    sent = [(line["at_ns"] / 1e6, line["t_ms"]) for line in twilio if line["event"] == "frame-sent"]
    on_time_ms = min((at_ms - t_ms for at_ms, t_ms in sent), default=0.0)
    marks: list[tuple[int, str, int]] = []  # bytes received before it, item, its position in ms
    for index, line in enumerate(twilio):
        if line["event"] == "mark-received":
            _, _, rest = line["name"].partition(":")
            item_id, _, position = rest.rpartition(":")
            if item_id and position.isdecimal():
                marks.append((_received_bytes(twilio, index), item_id, int(position)))
        elif line["event"] == "clear-received" and line["dropped_bytes"] and marks:
            played_bytes = _received_bytes(twilio, index) - line["dropped_bytes"]
            at_bytes, item_id, position_ms = next(
                (mark for mark in marks if mark[0] >= played_bytes), marks[-1]
            )
            cleared_ms = line["at_ns"] / 1e6
            late = (at_ms - t_ms - on_time_ms for at_ms, t_ms in sent if 0 <= cleared_ms - at_ms <= BEFORE_MS)
            heard[item_id] = position_ms - (at_bytes - played_bytes) / 8, max(late, default=0.0)
    return heard


def _received_bytes(twilio: Trace, before: int) -> int:
    total: int = next(
        (line["total_bytes"] for line in reversed(twilio[:before]) if line["event"] == "media-received"), 0
    )
    return total


def _cleared(call: MeasuredCall) -> int:
    return sum(line["event"] == "clear-received" and line["dropped_bytes"] > 0 for line in call.twilio)


def _refused(call: MeasuredCall) -> int:
    lines: Iterator[dict[str, Any]] = (line for session in call.sessions for line in session.trace)
    return sum(line["event"] == "rejected" for line in lines)


if __name__ == "__main__":
    command()
