"""Pure: how much time our processes added to each piece of audio, from the traces of both simulators.

The simulators stamp what they send and receive with the machine's one monotonic clock, so the difference is what
lies between them: gateway, NATS and worker, with every queue and wake-up. The resampler's 2.25 ms are not in it:
they delay the sound, and are told apart.
"""

import itertools
import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

RESAMPLER_MS: Final = 2.3
"""Audio that the streaming resampler still holds when a frame or delta has passed through, rounded up."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Some measured times."""

    values_ms: tuple[float, ...]

    @property
    def p50_ms(self) -> float | None:
        """The median."""
        return self._percentile(50)

    @property
    def p99_ms(self) -> float | None:
        """Reached or exceeded by one in a hundred."""
        return self._percentile(99)

    def _percentile(self, percent: int) -> float | None:
        if not self.values_ms:
            return None
        if len(self.values_ms) == 1:
            return self.values_ms[0]
        return quantiles(self.values_ms, n=100, method="inclusive")[percent - 1]


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Return the events of one simulator's trace, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def inbound(twilio: list[dict[str, Any]], model: list[dict[str, Any]], media_start_ms: int | None) -> Spread:
    """Return how long each of the caller's frames took from Twilio to the model.

    `media_start_ms` is the media time of the session's first sample; None when no audio waited for the session,
    so that it began with the first frame. Frames that waited for the session are not counted.
    """
    sent = [(event["t_ms"], event["at_ns"]) for event in twilio if event["event"] == "frame-sent"]
    appends = [(event["to_ms"], event["at_ns"]) for event in model if event["event"] == "append-received"]
    if not sent or not appends:
        return Spread(())
    start_ms = sent[0][0] if media_start_ms is None else media_start_ms
    positions = [to_ms for to_ms, _ in appends]
    opened_ns = appends[0][1]
    took = []
    for (t_ms, at_ns), (next_t_ms, _) in itertools.pairwise(sent):
        index = bisect_left(positions, next_t_ms - start_ms - RESAMPLER_MS)
        if at_ns > opened_ns and t_ms >= start_ms and index < len(appends):
            took.append((appends[index][1] - at_ns) / 1e6)
    return Spread(tuple(took))


def outbound(twilio: list[dict[str, Any]], model: list[dict[str, Any]]) -> Spread:
    """Return how long the agent's audio took from the model to Twilio, at every mark."""
    deltas: dict[str, list[tuple[float, int]]] = {}
    for event in model:
        if event["event"] == "delta-sent":
            deltas.setdefault(event["item_id"], []).append((event["to_ms"], event["at_ns"]))
    took = []
    for item_id, position_ms, at_ns in _marks(twilio):
        of_item = deltas.get(item_id, [])
        index = bisect_left([to_ms for to_ms, _ in of_item], position_ms)
        # Behind the last delta comes only padding, sent when the model says that the item is done.
        if index < len(of_item):
            took.append((at_ns - of_item[index][1]) / 1e6)
    return Spread(tuple(took))


def barge_in(twilio: list[dict[str, Any]], model: list[dict[str, Any]]) -> Spread:
    """Return how long each interruption took from the model's `speech_started` to Twilio's `clear`."""
    starts = [
        event["at_ns"]
        for event in model
        if event["event"] == "server-event" and event.get("type") == "input_audio_buffer.speech_started"
    ]
    took = []
    for clear_ns in (event["at_ns"] for event in twilio if event["event"] == "clear-received"):
        before = [at_ns for at_ns in starts if at_ns <= clear_ns]
        if before:
            took.append((clear_ns - before[-1]) / 1e6)
    return Spread(tuple(took))


def machine(twilio: list[dict[str, Any]]) -> Spread:
    """Return how late the simulated phone itself sent its frames, which it does on an absolute 20 ms clock.

    The rest is measured on the same machine, so this tells how busy that was.
    """
    sent = [(event["t_ms"], event["at_ns"] / 1e6) for event in twilio if event["event"] == "frame-sent"]
    if not sent:
        return Spread(())
    offsets = [at_ms - t_ms for t_ms, at_ms in sent]
    on_time = min(offsets)
    return Spread(tuple(offset - on_time for offset in offsets))


def _marks(twilio: list[dict[str, Any]]) -> Iterable[tuple[str, int, int]]:
    for event in twilio:
        if event["event"] != "mark-received":
            continue
        _, _, rest = event["name"].partition(":")
        item_id, _, position = rest.rpartition(":")
        if item_id and position.isdecimal():
            yield item_id, int(position), event["at_ns"]
