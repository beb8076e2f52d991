"""The telephone line of one call: a clock that every 20 ms lets the caller hear and speak."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import assert_never

from trunkline_simulators import twilio_caller as events
from trunkline_simulators.twilio_caller import Caller
from trunkline_simulators.twilio_conversations import RATE_HZ
from trunkline_simulators.twilio_player import FRAME_MS, SILENT_FRAME, Player
from trunkline_simulators.twilio_program import EndReason
from trunkline_simulators.twilio_stream import MediaStream
from trunkline_simulators.twilio_trace import Trace


class Line:
    """Joins the caller with what plays at the moment; `over` is set once somebody has hung up."""

    def __init__(self, caller: Caller, trace: Trace, time_limit_ms: int) -> None:
        self.stream: MediaStream | None = None  # the one that the caller hears
        self.duplicate: MediaStream | None = None  # hears the caller, and is not heard
        self.sound: Player | None = None  # of <Play>
        self.answered = asyncio.Event()
        self.over = asyncio.Event()
        self.end_reason: EndReason | None = None
        self.reply_ms: list[int] = []
        self.yielded_ms: list[int] = []
        self.late_ms_max = 0.0
        self._caller = caller
        self._trace = trace
        self._time_limit_ms = time_limit_ms
        self._answered_at_s = 0.0
        self._planned: list[tuple[int, Callable[[], None]]] = []

    def plan(self, at_ms: int | None, action: Callable[[], None]) -> None:
        """Do something once at a time of the call; at `None`, never."""
        if at_ms is not None:
            self._planned.append((at_ms, action))
            self._planned.sort(key=lambda planned: planned[0])

    def call_ms(self) -> float:
        """Return the time since the call was answered, 0 before."""
        if not self.answered.is_set():
            return 0.0
        return (asyncio.get_running_loop().time() - self._answered_at_s) * 1000

    def answer(self) -> None:
        """Start the clock, if it does not run yet."""
        if not self.answered.is_set():
            self._answered_at_s = asyncio.get_running_loop().time()
            self.answered.set()

    def hang_up(self, reason: EndReason) -> None:
        """End the call; only the first reason counts."""
        if self.end_reason is None:
            self.end_reason = reason
            self.over.set()
            for stream in (self.stream, self.duplicate):
                if stream is not None:
                    stream.hang_up()

    async def let_hear(self, sound: bytes) -> None:
        """Play µ-law to the caller, to its end."""
        self.sound = Player()
        self.sound.add_audio(sound)
        try:
            await asyncio.sleep(len(sound) / RATE_HZ)
        finally:
            self.sound = None

    async def keep_time(self) -> None:
        """Tick on absolute times from the answer until the call is over; a late tick delays no other."""
        await self.answered.wait()
        for t_ms in itertools.count(0, FRAME_MS):
            await asyncio.sleep((t_ms - self.call_ms()) / 1000)
            if self.over.is_set():
                return
            self.late_ms_max = max(self.late_ms_max, self.call_ms() - t_ms)
            self._tick(t_ms)

    def _tick(self, t_ms: int) -> None:
        heard = self._play()
        spoken, happened = self._caller.tick(heard, t_ms)
        for stream in (self.stream, self.duplicate):
            if stream is not None:
                stream.speak(spoken, self._caller.speaking, t_ms)
        self._trace.add_sound(spoken, heard)
        for event in happened:
            self._note(event)
        while self._planned and self._planned[0][0] <= t_ms:
            _, action = self._planned.pop(0)
            action()
        if t_ms >= self._time_limit_ms:
            self.hang_up("time-limit")

    def _play(self) -> bytes:
        if self.duplicate is not None:
            self.duplicate.play()
        if self.stream is not None:
            return self.stream.play()
        if self.sound is not None:
            return self.sound.tick()[0]
        return SILENT_FRAME

    def _note(self, event: events.CallerEvent) -> None:
        match event:
            case events.CallerSpeaking(utterance, text, interrupting):
                self._trace.add("caller-speaking", utterance=utterance, text=text, interrupting=interrupting)
            case events.CallerSilent(utterance, text, t_ms):
                self._trace.add("caller-silent", utterance=utterance, text=text, t_ms=t_ms)
            case events.AgentAudible(t_ms, reply_ms):
                self._trace.add("agent-audible", t_ms=t_ms, reply_ms=reply_ms)
                if reply_ms is not None:
                    self.reply_ms.append(reply_ms)
            case events.AgentQuiet(t_ms, yielded_ms):
                self._trace.add("agent-quiet", t_ms=t_ms, yielded_ms=yielded_ms)
                if yielded_ms is not None:
                    self.yielded_ms.append(yielded_ms)
            case events.KeyPressed(digit):
                self._trace.add("key-pressed", digit=digit)
                if self.stream is not None:
                    self.stream.press(event)
            case events.CallerHungUp(reason):
                self.hang_up(reason)
            case _:
                assert_never(event)
