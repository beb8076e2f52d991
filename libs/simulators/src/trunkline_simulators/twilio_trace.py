"""What happened on Twilio's side of one call: events with their times, warnings, and both voices."""

from __future__ import annotations

import json
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trunkline_simulators import g711
from trunkline_simulators.twilio_twiml import Warned

Event = dict[str, Any]

PER_FRAME = frozenset({"frame-sent", "media-received"})

# An hour of call makes about 600 000 events; what comes later is only counted.
EVENTS_MAX = 1_000_000


class Trace:
    """Collects one call's record in memory, for files are written when the call is over.

    `on_event` gets each event at once, except those that come with every frame.
    """

    def __init__(self, call_sid: str, on_event: Callable[[Event], None] | None = None) -> None:
        self.call_sid = call_sid
        self.events: list[Event] = []
        self.warnings: list[Warned] = []
        self.dropped_events = 0
        self._on_event = on_event
        self._said = bytearray()
        self._heard = bytearray()

    def add(self, event: str, **fields: object) -> None:
        """Record an event; `at_ns` is the machine's monotonic clock, the same in every process."""
        record = {"at_ns": time.monotonic_ns(), "event": event, **fields}
        if len(self.events) < EVENTS_MAX:
            self.events.append(record)
        else:
            self.dropped_events += 1
        if self._on_event is not None and event not in PER_FRAME:
            self._on_event({"call_sid": self.call_sid, **record})

    def warn(self, warned: Warned) -> None:
        """Record one line of Twilio's debugger."""
        self.warnings.append(warned)
        self.add("warning", code=warned.code, detail=warned.detail)

    def add_sound(self, said: bytes, heard: bytes) -> None:
        """Record 20 ms of both sides, as μ-law of the same length."""
        self._said += said
        self._heard += heard

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write `<CallSid>.wav` (left: the caller, right: what the caller heard) and `<CallSid>.jsonl`."""
        directory.mkdir(parents=True, exist_ok=True)
        wav_path = directory / f"{self.call_sid}.wav"
        trace_path = directory / f"{self.call_sid}.jsonl"
        both = np.stack([g711.decode(bytes(self._said)), g711.decode(bytes(self._heard))], axis=1)
        with wave.open(str(wav_path), "wb") as wav:
            wav.setnchannels(2)
            wav.setsampwidth(2)
            wav.setframerate(8_000)
            wav.writeframes(both.astype("<i2").tobytes())
        with trace_path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in self.events)
        return wav_path, trace_path
