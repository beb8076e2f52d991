"""What happened in one simulated session, as files: the caller's audio and a line for each event.

`<session id>.wav` is the audio received, PCM16 mono at the rate of its format (with the rate in its
name if the format changed later); `<session id>.jsonl` has one object a line with `at_ns`, the
machine's monotonic clock, so that it can be joined with the trace of the other side of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from trunkline_simulators.openai_schema import InputText, ItemCreate, ItemTruncate, MessageItem, OutputText

FLUSH_S = 0.5  # what may be lost if the simulator is killed


def asked_for(event: object) -> dict[str, Any]:
    """Return what a client's event is about: where an answer is cut, or the text of a message."""
    match event:
        case ItemTruncate(item_id=item_id, audio_end_ms=audio_end_ms):
            return {"item_id": item_id, "audio_end_ms": audio_end_ms}
        case ItemCreate(item=MessageItem(role=role, content=content)):
            said = (each.text for each in content if isinstance(each, InputText | OutputText))
            return {"role": role, "text": " ".join(said)}
        case _:
            return {}


class Trace:
    """Collects in memory, and writes from a thread every half second; without a folder, nothing."""

    def __init__(self, session_id: str, directory: Path | None) -> None:
        self._session_id = session_id
        self._directory = directory
        self._lines: list[dict[str, Any]] = []
        self._sounds: list[tuple[int, NDArray[np.int16]]] = []
        self._waves: dict[int, wave.Wave_write] = {}  # by rate

    def note(self, event: str, fields: dict[str, Any]) -> None:
        """Add a line."""
        if self._directory is not None:
            self._lines.append({"at_ns": time.monotonic_ns(), "event": event, **fields})

    def keep_audio(self, sound: NDArray[np.int16], rate_hz: int) -> None:
        """Add the caller's audio."""
        if self._directory is not None:
            self._sounds.append((rate_hz, sound))

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs, and whatever is left at its end."""
        if self._directory is None:
            yield
            return
        flushing = asyncio.create_task(self._flush_for_ever())
        try:
            yield
        finally:
            flushing.cancel()
            # A write that has begun goes on in its thread; the last one must come after it.
            with contextlib.suppress(asyncio.CancelledError):
                await flushing
            await asyncio.to_thread(self._close)

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            writing = asyncio.create_task(asyncio.to_thread(self._write))
            try:
                await asyncio.shield(writing)
            finally:
                await writing

    def _write(self) -> None:
        assert self._directory is not None
        lines, self._lines = self._lines, []
        sounds, self._sounds = self._sounds, []
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / f"{self._session_id}.jsonl").open("ab") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
        for rate_hz, sound in sounds:
            self._wave(rate_hz).writeframes(sound.astype("<i2").tobytes())

    def _close(self) -> None:
        self._write()
        for each in self._waves.values():
            each.close()

    def _wave(self, rate_hz: int) -> wave.Wave_write:
        assert self._directory is not None
        if rate_hz not in self._waves:
            name = f"{self._session_id}-{rate_hz}.wav" if self._waves else f"{self._session_id}.wav"
            opened = wave.open(str(self._directory / name), "wb")  # noqa: SIM115 - closed with the session
            opened.setnchannels(1)
            opened.setsampwidth(2)
            opened.setframerate(rate_hz)
            self._waves[rate_hz] = opened
        return self._waves[rate_hz]
