"""The modelled Realtime API: one session's VAD on the audio really received, its responses, and its troubles.

What it says travels in order; what it is told takes effect at once, so that everything that is still on its way
to the worker is the race. Facts about the wire: OpenAI, Realtime API reference, and what was seen of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trunkline_common.call_events import Usage
from trunkline_worker import commands, events

if TYPE_CHECKING:
    from call_world.surroundings import Surroundings

BLOCK_MS = 20
PREFIX_MS = 300
SILENCE_MS = 500

Step = tuple[float, list[events.ModelEvent]]
"""Wait so many seconds, then say this."""


@dataclass(slots=True)
class Item:
    """An item of the model's conversation."""

    role: str
    sent_bytes: int = 0
    truncated: bool = False
    is_text: bool = False
    """It was created by the worker, not spoken here."""


@dataclass(slots=True)
class Response:
    """One answer under way."""

    response_id: str
    steps: Iterator[Step] | None = None
    items: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


class ModelSession:
    """One socket to the model."""

    def __init__(self, world: Surroundings, number: int) -> None:
        self.number = number
        self.items: dict[str, Item] = {}
        self.alive = True
        self.closed = False
        """By the worker: nothing more may be sent to it."""
        self.configured = False
        self.listening = False
        self.media_ms = 0
        """Ms of audio that were appended."""
        self._world = world
        self._latency_s = world.random.choice([0.005, 0.02, 0.15])
        self._jitter_s = world.random.choice([0.0, 0.02])
        self._says_at = 0.0
        self._response: Response | None = None
        self._speech_item: str | None = None
        self._quiet_ms = 0
        self._unheard = bytearray()
        self._answers = world.agent.min_speech_ms == 0
        """It answers and stops by itself."""
        self._idles = 0
        self._made = 0

    # --- Opening

    def open(self) -> None:
        """Connect, or fail to in one of the ways that were seen."""
        world, draw = self._world, self._world.random
        fate = 1.0 if world.is_kind else draw.random()
        delay_s = draw.choice([0.02, 0.1, 0.5, 0.3 if world.is_kind else 2.0])
        if fate < 0.05:
            return
        if fate < 0.10:
            world.after(delay_s, lambda: self._lose("connect-http-503", fatal=False))
        elif fate < 0.11:
            world.after(delay_s, lambda: self._lose("invalid_api_key", fatal=True))
        else:
            world.after(delay_s, lambda: self._say(events.SessionCreated(self.number, f"sess_{self.number}")))
            if not world.is_kind and draw.random() < 0.1:
                world.after(draw.uniform(0.1, 12), self._drop)

    def _drop(self) -> None:
        if self._world.random.random() < 0.3:
            self._say(events.ModelError(self.number, "insufficient_quota", fatal=True))
        self._lose("close-1006", fatal=False)

    def _lose(self, reason: str, *, fatal: bool) -> None:
        if self.alive:
            self._world.saw("session lost")
            self._say(events.SessionLost(self.number, reason, fatal))
            self.alive = False

    def _configure(self, command: commands.ConfigureSession) -> None:
        draw = self._world.random
        fate = 1.0 if self._world.is_kind else draw.random()
        if fate < 0.01:
            self._say(
                events.ModelError(self.number, "unknown_parameter", fatal=False, event_id=command.event_id)
            )
            return
        if fate < 0.03:
            self._say(events.ModelError(self.number, "server_error", fatal=False))
        self.configured = True
        self.listening = command.session["audio"]["input"]["turn_detection"] is not None
        self._say(events.SessionConfigured(self.number, dict(command.session)))

    # --- What it is told

    def take(self, event: commands.ClientEvent) -> None:
        """Apply one client event."""
        assert not self.closed, "the session was closed"
        if not self.alive:
            return
        match event:
            case commands.AppendAudio(audio):
                self._hear(audio)
            case commands.ConfigureSession():
                self._configure(event)
            case commands.CreateResponse(event_id):
                self._idles += 1
                if self._response is not None:
                    code = "conversation_already_has_active_response"
                    self._say(events.ModelError(self.number, code, fatal=False, event_id=event_id))
                else:
                    self._respond()
            case commands.CancelResponse(event_id, response_id):
                if self._response is not None and self._response.response_id == response_id:
                    self._cancel("client_cancelled")
                else:
                    code = "response_cancel_not_active"
                    self._say(events.ModelError(self.number, code, fatal=False, event_id=event_id))
            case commands.TruncateItem(_, item_id):
                assert not self.items[item_id].is_text, "only the model's own audio can be truncated"
                self.items[item_id].truncated = True
            case commands.DeleteItem(_, item_id):
                del self.items[item_id]
            case commands.SetTurnDetection(_, turn_detection):
                self.listening = turn_detection is not None
                self._say(events.SessionConfigured(self.number, {}))
            case commands.CreateMessage(_, item_id, role, _, after):
                assert after in {None, "root", *self.items}, "it follows an item that is not there"
                self._create(item_id, role)
            case commands.CreateCallerAudio(_, item_id, audio):
                assert audio
                self._create(item_id, "user")
            case commands.CreateFunctionCall(_, item_id):
                self._create(item_id, "")
                assert self._world.doings is not None
                self._world.doings.created(self, event)
            case commands.CreateFunctionOutput(_, item_id):
                self._create(item_id, "")
                assert self._world.doings is not None
                self._world.doings.answered(self, event)

    def _create(self, item_id: str, role: str) -> None:
        assert len(item_id) <= 32
        assert item_id not in self.items, "an item was created twice"
        self._add(item_id, role)
        self.items[item_id].is_text = True

    def _hear(self, audio: bytes) -> None:
        self._unheard += audio
        size = BLOCK_MS * self._bytes_per_ms
        whole = len(self._unheard) - len(self._unheard) % size
        blocks = bytes(self._unheard[:whole])
        del self._unheard[:whole]
        for at in range(0, whole, size):
            if not self.listening:
                pass
            elif _is_loud(blocks[at : at + size], self._world.agent.audio_path):
                self._quiet_ms = 0
                if self._speech_item is None:
                    self._speech_starts()
            elif self._speech_item is not None:
                self._quiet_ms += BLOCK_MS
                if self._quiet_ms >= SILENCE_MS:
                    self._speech_stops()
            self.media_ms += BLOCK_MS

    def _speech_starts(self) -> None:
        self._speech_item = self._new_id("U")
        start_ms = max(self.media_ms - PREFIX_MS, 0)
        self._say(events.SpeechStarted(self.number, self._speech_item, start_ms))
        self._idles += 1
        if self._response is not None and self._answers:
            self._cancel("turn_detected")

    def _speech_stops(self) -> None:
        item_id, draw = self._speech_item, self._world.random
        assert item_id is not None
        self._speech_item = None
        self._say(events.SpeechStopped(self.number, item_id, self.media_ms))
        self._add(item_id, "user")
        fate = draw.random()
        if fate < 0.85:
            words = None if fate < 0.1 else "what the caller said"
            said = events.CallerText(self.number, item_id, words)
            self._world.after(draw.choice([0.05, 0.3, 1.5, 6.0, 15.0]), lambda: self._say(said))
        if self._response is None and self._answers and (self._world.is_kind or draw.random() < 0.95):
            self._respond()

    # --- What it answers

    def _respond(self) -> None:
        draw = self._world.random
        response = Response(self._new_id("R"))
        self._response = response
        answers = self._world.is_kind or draw.random() < 0.95
        response.steps = self._answer(response) if answers else self._fail(response)
        if draw.random() < 0.1:
            trip = events.SessionRoundTrip(self.number, draw.uniform(1, 80))
            self._say(trip)
        self._step(response)

    def _step(self, response: Response) -> None:
        if self._response is not response or not self.alive or self._world.ended:
            return
        assert response.steps is not None
        step = next(response.steps, None)
        if step is None:
            self._response = None
            self._wait_for_silence(response)
            return
        wait_s, said = step

        def say_and_go_on() -> None:
            if self._response is response:
                for event in said:
                    self._say(event)
                self._step(response)

        self._world.after(wait_s, say_and_go_on)

    def _wait_for_silence(self, response: Response) -> None:
        """Count the idle timeout from when the answer must have been heard."""
        idle_ms = self._world.agent.session()["audio"]["input"]["turn_detection"].get("idle_timeout_ms")
        if idle_ms is None:
            return
        self._idles += 1
        waiting = self._idles
        audio_ms = sum(self.items[item].sent_bytes for item in response.items if item in self.items)
        self._world.after((idle_ms + audio_ms / self._bytes_per_ms) / 1000, lambda: self._idle_over(waiting))

    def _idle_over(self, waiting: int) -> None:
        if waiting != self._idles or self._speech_item or self._response or not self.listening:
            return
        self._world.saw("idle timeout")
        item_id = self._new_id("S")
        self._say(events.SilenceCommitted(self.number, item_id))
        self._add(item_id, "user")
        if self._answers or self._world.random.random() < 0.5:
            self._respond()

    def _fail(self, response: Response) -> Iterator[Step]:
        if self._world.random.random() < 0.5:
            yield 0.1, [events.ResponseCreated(self.number, response.response_id)]
        yield 0.1, [self._done(response, "failed", "rate_limit_exceeded")]

    def _answer(self, response: Response) -> Iterator[Step]:
        draw = self._world.random
        number, pace = self.number, draw.choice([3.0, 5.0, 5.0, 0.8])
        if draw.random() < 0.97:
            yield draw.choice([0.03, 0.3, 0.9]), [events.ResponseCreated(number, response.response_id)]
        lengths_ms = [draw.choice([60, 300, 1_500, 4_000, 9_000]) for _ in range(draw.choice([1, 1, 1, 2]))]
        doings = self._world.doings
        if doings is not None and not doings.speaks():
            lengths_ms = []
        ends: list[events.ModelEvent] = []
        for length_ms in lengths_ms:
            item_id = self._new_id("A")
            response.items.append(item_id)
            response.unfinished.append(item_id)
            self._add(item_id, "assistant")
            yield 0.01, [*ends, events.SpokenText(number, item_id, "some words ", final=False)]
            for audio in self._pieces(length_ms):
                self.items[item_id].sent_bytes += len(audio)
                delta = events.AudioDelta(number, response.response_id, item_id, audio)
                yield len(audio) / self._bytes_per_ms / 1000 / pace, [delta]
                if draw.random() < 0.3:
                    yield 0.0, [events.SpokenText(number, item_id, "and more ", final=False)]
            ends = self._end_of(response, item_id)
            if draw.random() < 0.7:
                yield 0.001, ends
                ends = []
        calls = doings.calls_of(self, response.response_id, spoke=bool(lengths_ms)) if doings else []
        for call in calls:
            self._add(call.item_id, "")
            yield 0.005, [*ends, call]
            ends = []
        status = "completed" if draw.random() < 0.95 else "incomplete"
        done = dataclasses.replace(self._done(response, status, ""), tool_calls=tuple(calls))
        yield 0.005, [*ends, done]

    def _end_of(self, response: Response, item_id: str) -> list[events.ModelEvent]:
        response.unfinished.remove(item_id)
        done: list[events.ModelEvent] = [
            events.AudioDone(self.number, response.response_id, item_id),
            events.SpokenText(self.number, item_id, "some words and more in the end", final=True),
        ]
        return done if self._world.random.random() < 0.9 else done[1:]

    def _cancel(self, reason: str) -> None:
        response, draw = self._response, self._world.random
        assert response is not None
        self._response = None
        for item_id in list(response.unfinished):
            for _ in range(draw.choice([0, 0, 1, 3])):
                audio = self._world.voice * (250 * self._bytes_per_ms)
                self.items[item_id].sent_bytes += len(audio)
                self._say(events.AudioDelta(self.number, response.response_id, item_id, audio))
            for event in self._end_of(response, item_id):
                self._say(event)
        self._say(self._done(response, "cancelled", reason))

    def _done(self, response: Response, status: str, reason: str) -> events.ResponseDone:
        usage = Usage(
            response_id=response.response_id,
            input_tokens=9,
            input_text_tokens=3,
            input_audio_tokens=6,
            cached_tokens=0,
            output_tokens=9,
            output_text_tokens=3,
            output_audio_tokens=6,
        )
        return events.ResponseDone(self.number, response.response_id, status, reason, usage)

    def _pieces(self, length_ms: int) -> Iterator[bytes]:
        """Cut an item's audio the way the API does: ~250 ms, aligned to nothing, the first one short."""
        left = length_ms * self._bytes_per_ms
        size = 90 * self._bytes_per_ms + 1
        while left > 0:
            yield self._world.voice * min(size, left)
            left -= size
            size = 250 * self._bytes_per_ms + self._world.random.choice([0, 1, 7])

    @property
    def _bytes_per_ms(self) -> int:
        return 48 if self._world.agent.audio_path == "pcm24k" else 8

    # --- The wire

    def _add(self, item_id: str, role: str) -> None:
        self.items[item_id] = Item(role)
        self._say(events.ItemAdded(self.number, item_id, role))

    def _say(self, event: events.ModelEvent) -> None:
        world = self._world
        if not self.alive or world.ended:
            return
        at = world.now + self._latency_s + world.random.uniform(0, self._jitter_s)
        self._says_at = max(self._says_at, at)
        world.at(self._says_at, lambda: self._tell(event))

    def _new_id(self, letter: str) -> str:
        self._made += 1
        return f"{letter}{self.number + self._world.ids_from}_{self._made}"

    def _tell(self, event: events.ModelEvent) -> None:
        self._world.hear(self, event)


def _is_loud(block: bytes, audio_path: events.AudioPath) -> bool:
    if audio_path == "pcmu":
        return block.count(0xFF) * 2 < len(block)
    return bool(np.abs(np.frombuffer(block, dtype="<i2").astype(np.int32)).mean() > 400)
