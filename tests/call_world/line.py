"""The modelled line: a caller who talks, and streams of Twilio's that come, stall and break.

Nothing here waits for a clock. When audio reaches Twilio, and so when it is heard and when its marks come
back, follows from the moment at which the core sent it, because frames of one stream stay in order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trunkline_common.control import StopReason
from trunkline_worker import commands, events
from trunkline_worker.filler import SOFT

if TYPE_CHECKING:
    from call_world.world import World

LOUD = 0x55
SILENCE = 0xFF
COUGH_S = 0.12
FILLER_AHEAD_MS = 100
ROUNDING_MS = 2
LATE_MS_MAX = 10
"""By this much the world is late at most when it wakes the call."""


@dataclass(slots=True)
class _Segment:
    """A piece of one item in Twilio's buffer."""

    start_at: float
    ms: float

    @property
    def end_at(self) -> float:
        return self.start_at + self.ms / 1000

    def cut_at(self, at: float) -> None:
        self.ms = min(self.ms, max((at - self.start_at) * 1000, 0))


@dataclass(slots=True)
class _Mark:
    name: str
    due_at: float
    echoed: bool = False


@dataclass(slots=True)
class Stream:
    """One websocket of Twilio's: what the caller hears through it, and what it sends up."""

    opened_at: float
    alive: bool = True
    up_free_at: float = 0.0
    down_free_at: float = 0.0
    play_end_at: float = 0.0
    unnamed: list[_Segment] = field(default_factory=list)
    segments: list[_Segment] = field(default_factory=list)
    filler: list[_Segment] = field(default_factory=list)
    marks: list[_Mark] = field(default_factory=list)


class Line:
    """The caller, Twilio and the gateways of one call."""

    def __init__(self, world: World) -> None:
        self._world = world
        draw = world.random
        self.one_way_s = draw.choice([0.0, 0.01, 0.04, 0.1])
        self.jitter_s = draw.choice([0.0, 0.0, 0.005, 0.03])
        self.frame_ms = draw.choice([40, 100, 200, 200, 200, 260])
        self.silence_is_sent = draw.random() < 0.7
        self._bursts = draw.random() < 0.3
        self.stream: Stream | None = None
        self.streams_opened = 0
        self.rtt_reported = False
        self.delays_were_even = not self._bursts
        self._hangs_up_at = world.now + draw.uniform(3, 16)
        self._talks = _talks(world, self._hangs_up_at)
        self._segments: defaultdict[str, list[_Segment]] = defaultdict(list)
        self.speech_starts_ms: list[int] = []
        """Media times, of the first stream only, at which the model may hear speech begin."""

    # --- Streams come and go

    def begin(self) -> None:
        """Ring: the stream comes soon, late, or never."""
        draw = self._world.random
        if draw.random() < 0.03:
            return
        self._world.after(draw.choice([0.0, 0.1, 0.4, 1.5, 8.0]), self.attach)

    def attach(self) -> None:
        """Open a stream, in place of the one before."""
        if self._world.ended:
            return
        world, draw = self._world, self._world.random
        self.close_stream()
        stream = Stream(world.now)
        self.stream = stream
        self.streams_opened += 1
        self._hangs_up_at = max(self._hangs_up_at, world.now + draw.uniform(1, 10))
        world.tell(events.Attached("gw-1", f"MZ{self.streams_opened}"))
        self._send_frames(stream, draw.choice([0, 5, 40]), was_loud=False)
        if draw.random() < 0.8:
            self._later(stream, 0.001, self._report_round_trip)
        if draw.random() < 0.1:
            self._later(stream, draw.uniform(0.5, 6), lambda: self._up(stream, events.KeyPressed("5")))
        if self.streams_opened < 4 and draw.random() < 0.25:
            self._later(stream, draw.uniform(0.2, 10), lambda: self._break(stream))
        world.after(self._hangs_up_at - world.now, lambda: self._hang_up(stream))

    def _report_round_trip(self) -> None:
        assert self.stream is not None
        jitter_s = self._world.random.uniform(0, 2 * self.jitter_s)
        self.rtt_reported = True
        self._up(self.stream, events.LineMeasured(1000 * (2 * self.one_way_s + jitter_s), None))

    def _break(self, stream: Stream) -> None:
        """The socket breaks: with a word of the gateway or without; Twilio attaches again, or does not."""
        draw = self._world.random
        self._world.saw("line broke")
        told = draw.random() < 0.6
        if told:
            reason = draw.choice([StopReason.STREAM_LOST, StopReason.GATEWAY_STOPPED])
            self._up(stream, events.StreamStopped(reason))
        self._end(stream, self._world.now)
        if not told and self._world.watch.random() < 0.5:
            self._world.after(self._world.watch.uniform(0.5, 1.5), lambda: self._found_lost(stream))
        # The second gateway that dies without a word takes the caller with it.
        comes_back = draw.random() < 0.8 if told else self.streams_opened == 1
        if comes_back:
            self._world.after(draw.choice([0.1, 0.5, 2.0, 12.0]), self.attach)

    def _found_lost(self, stream: Stream) -> None:
        """The worker finds that the gateway is gone, unless another stream came first."""
        if self.stream is stream:
            self._world.tell(events.StreamStopped(StopReason.STREAM_LOST))

    def _hang_up(self, stream: Stream) -> None:
        if not stream.alive:
            return
        bad = self._world.random.random() < 0.03
        self._up(stream, events.StreamStopped(StopReason.BAD_STREAM if bad else StopReason.CALLER_HUNG_UP))
        self._end(stream, self._world.now)

    def close_stream(self) -> None:
        """The gateway hears that the call goes elsewhere."""
        if self.stream is not None and self.stream.alive:
            self._end(self.stream, self._world.now)

    def _end(self, stream: Stream, at: float) -> None:
        stream.alive = False
        for segment in stream.segments + stream.unnamed:
            segment.cut_at(at)

    # --- What the caller says

    def _send_frames(self, stream: Stream, t_ms: int, *, was_loud: bool) -> None:
        world, draw = self._world, self._world.random
        if not stream.alive or world.ended:
            return
        loud = any(start <= world.now < end for start, end in self._talks)
        if loud or was_loud or self.silence_is_sent:
            code = bytes([LOUD if loud else SILENCE])
            frame = events.CallerAudio(t_ms, code * (8 * self.frame_ms))
            burst = self._bursts and draw.random() < 0.02
            if burst:
                stream.up_free_at = max(stream.up_free_at, world.now + draw.uniform(0.3, 2.0))
            if loud and self.streams_opened == 1 and (not was_loud or self._bursts):
                self.speech_starts_ms.append(t_ms)
            self._up(stream, frame)
            if draw.random() < 0.005:
                self._up(stream, frame)
        world.after(
            self.frame_ms / 1000,
            lambda: self._send_frames(stream, t_ms + self.frame_ms, was_loud=loud),
        )

    def _up(self, stream: Stream, event: events.Event) -> None:
        """Carry an event to the worker; one stream's events stay in order."""
        world = self._world
        at = world.now + self.one_way_s + world.random.uniform(0, self.jitter_s)
        stream.up_free_at = max(stream.up_free_at, at)

        def arrive() -> None:
            # After the next attach, frames of this stream carry an old fence and are refused.
            if self.stream is stream:
                world.tell(event)

        world.at(stream.up_free_at, arrive)

    def _later(self, stream: Stream, delay_s: float, action: Callable[[], None]) -> None:
        self._world.after(delay_s, lambda: action() if stream.alive and not self._world.ended else None)

    # --- What the caller hears

    @property
    def is_up(self) -> bool:
        """There is a stream, whatever the worker believes."""
        return self.stream is not None and self.stream.alive

    @property
    def jitter_ms(self) -> float:
        """What jitter leaves open about a position."""
        return 4_000 * self.jitter_s + ROUNDING_MS

    @property
    def behind_ms(self) -> float:
        """By this much a position may lag: a late wake-up, and a round trip that nobody has measured."""
        unknown_ms = 0.0 if self.rtt_reported else 2_000 * self.one_way_s
        return self.jitter_ms + LATE_MS_MAX + unknown_ms

    @property
    def unplayed_ms(self) -> float:
        """Of what was sent, what the caller has not heard, as the gateway reckons."""
        if self.stream is None:
            return 0.0
        return max(1000 * (self.stream.play_end_at - self.one_way_s - self._world.now), 0.0)

    def heard_ms(self, item_id: str) -> float:
        """Return how much of an item the caller hears, as far as it is decided by now."""
        return sum(segment.ms for segment in self._segments[item_id])

    def play(self, command: commands.Play) -> None:
        """Audio leaves the worker; it is heard when what is before it was heard."""
        stream = self._listening()
        if stream is None:
            return
        ms = len(command.ulaw) / 8
        at = self._down(stream)
        segment = _Segment(max(at, stream.play_end_at), ms)
        stream.play_end_at = segment.start_at + ms / 1000
        if command.ulaw in SOFT:
            voices = (voice.end_at for voice in stream.segments if voice.ms)
            assert all(end_at <= self._world.now for end_at in voices), "sound over a voice"
            ahead_ms = round(1000 * (stream.play_end_at - at), 3)
            assert ahead_ms <= FILLER_AHEAD_MS + 2_000 * self.jitter_s, f"{ahead_ms} ms of sound wait"
            stream.filler.append(segment)
            return
        # A new owner does not know of the last sound of the one before, a tenth of a second.
        known = self._world.owners is None or not self._world.owners.changes
        assert not known or not any(sound.ms and sound.end_at > at + 1e-6 for sound in stream.filler), (
            "an answer waits behind the filler sound"
        )
        stream.unnamed.append(segment)

    def put_mark(self, command: commands.PutMark) -> None:
        """A mark leaves the worker; it tells which item the audio before it belongs to."""
        stream = self._listening()
        if stream is None:
            return
        item_id = command.name.split(":")[1]
        self._segments[item_id] += stream.unnamed
        stream.segments += stream.unnamed
        stream.unnamed = []
        mark = _Mark(command.name, max(self._down(stream), stream.play_end_at))
        stream.marks.append(mark)
        self._world.after(mark.due_at - self._world.now, lambda: self._echo(stream, mark))

    def clear(self) -> None:
        """A clear leaves the worker: what is not heard when it arrives never will be; its marks come back."""
        stream = self._listening()
        if stream is None:
            return
        at = self._down(stream)
        for segment in stream.segments + stream.filler:
            segment.cut_at(at)
        stream.play_end_at = min(stream.play_end_at, at)
        dropped = [mark for mark in stream.marks if mark.due_at > at]
        self._world.after(at - self._world.now, lambda: self._echo_all(stream, dropped))

    def _echo_all(self, stream: Stream, marks: list[_Mark]) -> None:
        for mark in marks:
            self._echo(stream, mark)

    def _echo(self, stream: Stream, mark: _Mark) -> None:
        if stream.alive and not mark.echoed:
            mark.echoed = True
            stream.marks.remove(mark)
            self._up(stream, events.MarkPlayed(mark.name))
            if self._world.random.random() < 0.003:
                self._up(stream, events.MarkPlayed(mark.name))

    def _listening(self) -> Stream | None:
        return self.stream if self.is_up else None

    def _down(self, stream: Stream) -> float:
        world = self._world
        at = world.now + self.one_way_s + world.random.uniform(0, self.jitter_s)
        stream.down_free_at = max(stream.down_free_at, at)
        return stream.down_free_at


def _talks(world: World, until: float) -> list[tuple[float, float]]:
    """Draw when the caller speaks; what the agent says meanwhile does not matter to them."""
    talks = []
    at = world.now + world.random.uniform(0.3, 5)
    while at < until + 10:
        length_s = world.random.choice([0.3, 0.8, 2.0, 4.0])
        coughs = world.agent.min_speech_ms > 0 and world.options.random() < 0.4
        talks.append((at, at + (COUGH_S if coughs else length_s)))
        at += length_s + world.random.choice([0.7, 1.5, 4.0, 9.0])
    return talks
