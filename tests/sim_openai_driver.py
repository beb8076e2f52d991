"""Drives one simulated Realtime session without sockets, tasks or a real clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

from trunkline_simulators import listener, recordings
from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_commands import (
    Close,
    FrameReceived,
    KeepAudio,
    Listen,
    Note,
    Order,
    Send,
    Stall,
    TimePassed,
    TurnHeard,
)
from trunkline_simulators.openai_faults import ArmedFaults, Losses, parse_fault
from trunkline_simulators.openai_rejection import parse_client_event
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_schema import ClientEvent
from trunkline_simulators.openai_session import Session

CREATED_AT_UNIX_S = 1_785_457_327
FRAME_MS = 20

UNKNOWN_TYPE = "response.simulated.unknown"  # what the fault `unknown-event` sends

Event = dict[str, Any]

_SERVER_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_CLASSES = {
    get_args(each.model_fields["type"].annotation)[0]: each
    for each in get_args(get_args(RealtimeServerEvent)[0])
}


def as_the_sdk_reads_it(event: Event) -> Event:
    """Return an event as it crosses the wire, after the SDK's types have accepted it as what it is."""
    sent: Event = json.loads(json.dumps(event))
    if sent["type"] != UNKNOWN_TYPE:
        # By itself the SDK takes an event of unknown type for a `conversation.created`.
        parsed = _SERVER_EVENTS.validate_python(sent)
        assert (type(parsed), parsed.type) == (_CLASSES[sent["type"]], sent["type"])
    return sent


class Driver:
    """A client of one session; time moves only when audio is spoken or `wait` is called."""

    def __init__(
        self,
        *faults: str,
        behaviour: Behaviour | None = None,
        model: str = "gpt-realtime-2.1-mini",
        losses: Losses | None = None,
        parse: Callable[[str | bytes], ClientEvent] = parse_client_event,
    ) -> None:
        armed = ArmedFaults((parse_fault(text) for text in faults), losses)
        self.session = Session(model, behaviour or Behaviour(), armed, "seed", CREATED_AT_UNIX_S)
        self.session.parse = parse
        self.now = 1_000.0
        self.events: list[Event] = []
        self.times: list[float] = []
        self.notes: list[Note] = []
        self.closed: Close | None = None
        self.stalled = False
        self.format = FORMATS["audio/pcm"]
        self._take(self.session.open(self.now))

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """Send one client event and return what came back at once."""
        return self.send_frame(json.dumps({"type": kind} | fields))

    def send_frame(self, frame: str | bytes) -> list[Event]:
        before = len(self.events)
        self._take(self.session.handle(FrameReceived(frame), self.now))
        return self.events[before:]

    def configure(self, **session: Any) -> None:
        """Update the session, and fail unless it is accepted."""
        replies = self.send("session.update", session={"type": "realtime"} | session)
        assert [reply["type"] for reply in replies] == ["session.updated"], replies
        self.format = FORMATS[replies[0]["session"]["audio"]["input"]["format"]["type"]]

    def configure_pcmu(self) -> None:
        """Talk μ-law in both directions, as a telephone does."""
        ulaw = {"format": {"type": "audio/pcmu"}}
        self.configure(audio={"input": ulaw, "output": ulaw})

    def say(self, utterance_id: str, *, then_silence_ms: int = 700) -> None:
        """Speak a recording in real time, then be silent."""
        self.play(recordings.samples(utterance_id, self.format.rate_hz))
        self.be_silent(then_silence_ms)

    def be_silent(self, duration_ms: int) -> None:
        self.play(np.zeros(self.format.rate_hz * duration_ms // 1000, np.int16))

    def play(self, sound: NDArray[np.int16]) -> None:
        """Append sound in frames of 20 ms, each at its time."""
        step = self.format.rate_hz * FRAME_MS // 1000
        for start in range(0, len(sound), step):
            self.append(sound[start : start + step])
            self.wait(FRAME_MS / 1000)

    def append(self, sound: NDArray[np.int16]) -> list[Event]:
        audio = base64.b64encode(self.format.encode(sound)).decode()
        return self.send("input_audio_buffer.append", audio=audio)

    def wait(self, duration_s: float) -> None:
        """Let time pass, waking the session whenever it asks for it."""
        until = self.now + duration_s
        while (at := self.session.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            self._take(self.session.handle(TimePassed(), self.now))
        self.now = until

    def of(self, kind: str) -> list[Event]:
        """Return every event of this type."""
        return [event for event in self.events if event["type"] == kind]

    def one(self, kind: str) -> Event:
        (event,) = self.of(kind)
        return event

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def collapsed(self) -> list[str]:
        """Return the types of all events, repeated ones only once."""
        kinds = self.kinds()
        return [kind for index, kind in enumerate(kinds) if index == 0 or kind != kinds[index - 1]]

    def forget(self) -> None:
        """Drop the events so far."""
        self.events.clear()
        self.times.clear()

    def audio_of(self, response_id: str) -> bytes:
        """Return the audio of a response, decoded."""
        deltas = (
            event for event in self.of("response.output_audio.delta") if event["response_id"] == response_id
        )
        return b"".join(base64.b64decode(event["delta"]) for event in deltas)

    def errors(self) -> list[Mapping[str, Any]]:
        return [event["error"] for event in self.of("error")]

    def _take(self, orders: list[Order]) -> None:
        listens: list[Listen] = []
        for order in orders:
            match order:
                case Send(event):
                    self.events.append(as_the_sdk_reads_it(event))
                    self.times.append(self.now)
                case Listen():
                    listens.append(order)
                case Note():
                    self.notes.append(order)
                case Close():
                    self.closed = order
                case Stall():
                    self.stalled = True
                case KeepAudio():
                    pass
        for listen in listens:
            heard = listener.listen(listen.sound, listen.rate_hz, finished=listen.finished)
            turn = TurnHeard(listen.item_id, heard, listen.finished)
            self._take(self.session.handle(turn, self.now))
