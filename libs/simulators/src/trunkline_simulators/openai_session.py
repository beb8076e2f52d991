"""One session of the simulated Realtime API, as a pure state machine.

Rules:
- A refused client event changes nothing, and is answered by one `error` event.
- A turn has one id from `speech_started` on: that of the item it will become.
- The order of a turn: speech_started, speech_stopped, committed, item added, item done, response.
- After `Close` or `Stall` a session does nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from trunkline_simulators.openai_audio import FORMATS, InputBuffer, decode_base64
from trunkline_simulators.openai_commands import (
    Fact,
    FrameReceived,
    KeepAudio,
    Listen,
    Order,
    TimePassed,
    TurnHeard,
)
from trunkline_simulators.openai_configuration import SESSION_S_MAX, Configuration
from trunkline_simulators.openai_conversation import Conversation, Item
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import SHAPING, ArmedFaults, Fault
from trunkline_simulators.openai_outbox import Outbox
from trunkline_simulators.openai_rejection import Rejection, parse_client_event
from trunkline_simulators.openai_replies import Behaviour
from trunkline_simulators.openai_responder import Responder
from trunkline_simulators.openai_response import ServerEvent
from trunkline_simulators.openai_schema import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    ClientEvent,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    SessionClose,
    SessionUpdate,
    TranscriptionSessionUpdate,
)
from trunkline_simulators.openai_transcription import Transcriber
from trunkline_simulators.openai_vad import SpeechStarted, SpeechStopped, Vad, VadEvent

# Audio is judged in slices, so that a turn that ends inside a long append ends there.
SLICE_MS = 100

OVERHEAR_FIRST_MS = 1_000  # of speech, before a word of it can be recognised
OVERHEAR_EVERY_MS = 400

_EXPIRED = "Your session hit the maximum duration of 60 minutes."


class Session:
    """What one connected client talks to; `handle` takes a fact and returns what follows from it."""

    def __init__(
        self,
        model: str,
        behaviour: Behaviour,
        faults: ArmedFaults,
        seed: str,
        created_at_unix_s: int,
        parse: Callable[[str | bytes], ClientEvent] = parse_client_event,
    ) -> None:
        self._parse = parse
        self._dice = Dice(seed)
        self.id = self._dice.id("sess")
        self._configuration = Configuration(model, self.id, created_at_unix_s)
        self._conversation = Conversation(self._dice)
        self._responder = Responder(self._configuration, self._conversation, behaviour, self._dice)
        self._transcriber = Transcriber(behaviour.transcription)
        self._outbox = Outbox(self._dice, faults)
        self._buffer = InputBuffer(self._configuration.input_format)
        self._vad = Vad(self._buffer.format.rate_hz)
        self._turn_id: str | None = None  # of the caller's turn under way
        self._turn_start_ms = 0.0
        self._overhear_at_ms = 0.0
        self._overhearing = False
        # Each with when it was committed; what a client created as an item is not transcribed.
        self._unrecognised: dict[str, tuple[Item, float | None]] = {}
        self._respond_after: str | None = None  # the item whose transcript must come first
        self._idle_at: float | None = None
        self._expires_at: float | None = None

    def open(self, now: float) -> list[Order]:
        """Begin: the first event is `session.created` with every default."""
        self._expires_at = now + SESSION_S_MAX
        self._take_faults(self._outbox.happened("connect"), now)
        self._send({"type": "session.created", "session": self._configuration.echo}, now)
        return self._outbox.take()

    @property
    def ended(self) -> bool:
        """Whether the session has closed or stalled."""
        return self._outbox.ended

    def wake_at(self) -> float | None:
        """Return when `TimePassed` is due."""
        if self.ended:
            return None
        times = (self._responder.next_due(), self._transcriber.next_due(), self._idle_at, self._expires_at)
        return min((at for at in times if at is not None), default=None)

    def handle(self, fact: Fact, now: float) -> list[Order]:
        """Apply one fact and return everything that follows from it, in order."""
        if self.ended:
            return []
        match fact:
            case FrameReceived(frame):
                self._on_frame(frame, now)
            case TurnHeard():
                self._on_heard(fact, now)
            case TimePassed():
                self._on_time(now)
            case _:
                assert_never(fact)
        return self._outbox.take()

    # -- time ----------------------------------------------------------------------------------

    def _on_time(self, now: float) -> None:
        self._send_transcripts(self._transcriber.due(now), now)
        while not self.ended and (events := self._responder.step(now)):
            self._send_all(events, now)
        if self._idle_at is not None and now >= self._idle_at and not self.ended:
            self._on_idle(now)
        if self._expires_at is not None and now >= self._expires_at and not self.ended:
            self._outbox.refuse(Rejection(_EXPIRED, code="session_expired"), None)
            self._outbox.close(1001, _EXPIRED)

    def _on_idle(self, now: float) -> None:
        settings = self._configuration.turn_detection
        self._idle_at = None
        if settings is None or settings.idle_timeout_ms is None or self._vad.speaking:
            return
        item_id = self._dice.id("item")
        end_ms = self._buffer.end_ms
        start_ms = max(0.0, end_ms - settings.idle_timeout_ms)
        silence = {"audio_start_ms": round(start_ms), "audio_end_ms": round(end_ms), "item_id": item_id}
        self._send({"type": "input_audio_buffer.timeout_triggered", **silence}, now)
        self._commit(item_id, start_ms, now)
        self._respond(item_id, now)

    def _rearm_idle(self, now: float) -> None:
        settings = self._configuration.turn_detection
        if settings is not None and settings.idle_timeout_ms is not None and not self._vad.speaking:
            self._idle_at = max(now, self._responder.audio_ends_at) + settings.idle_timeout_ms / 1000

    # -- client events -------------------------------------------------------------------------

    def _on_frame(self, frame: str | bytes, now: float) -> None:
        try:
            event = self._parse(frame)
        except Rejection as rejection:
            self._outbox.refuse(rejection, rejection.event_id)
            return
        kind = str(event.__struct_config__.tag)
        if kind != "input_audio_buffer.append":
            self._outbox.note("client-event", type=kind, event_id=event.event_id)
        struck = self._outbox.happened(kind)
        self._take_faults(struck, now)
        if self.ended:
            return
        try:
            for fault in struck:
                if fault.kind == "error":
                    raise Rejection(f"This error was asked for: {fault.value}.", code=fault.value)
            self._apply(event, now)
        except Rejection as rejection:
            self._outbox.refuse(rejection, event.event_id)

    def _apply(self, event: ClientEvent, now: float) -> None:
        match event:
            case AudioAppend(audio=audio):
                self._on_audio(decode_base64(audio, "audio"), now)
            case SessionUpdate():
                self._on_update(event, now)
            case AudioCommit():
                self._commit_by_hand(now)
            case AudioClear():
                self._buffer.clear()
                self._vad.reset()
                self._turn_id = None
                self._send({"type": "input_audio_buffer.cleared"}, now)
            case ItemCreate():
                item, previous = self._conversation.create(event, self._configuration.input_format)
                self._send_item(item, previous, now)
                self._listen_to_created(item)
            case ItemRetrieve(item_id=item_id):
                item = self._conversation.retrieve(item_id)
                self._send({"type": "conversation.item.retrieved", "item": item.wire_with_audio()}, now)
            case ItemTruncate(item_id=item_id, content_index=index, audio_end_ms=end_ms):
                self._conversation.truncate(item_id, index, end_ms)
                cut = {"item_id": item_id, "content_index": index, "audio_end_ms": end_ms}
                self._send({"type": "conversation.item.truncated", **cut}, now)
            case ItemDelete(item_id=item_id):
                self._conversation.delete(item_id)
                self._send({"type": "conversation.item.deleted", "item_id": item_id}, now)
            case ResponseCreate(response=wanted):
                last = self._conversation.last_user_item()
                hears = last.id if last is not None and last.id in self._unrecognised else None
                self._send_all(self._responder.create(wanted, now, hears=hears), now)
            case ResponseCancel(response_id=response_id):
                self._send_all(self._responder.cancel(response_id), now)
            case OutputAudioClear():  # own words
                raise Rejection(
                    "output_audio_buffer.clear is only supported for WebRTC and SIP.", param="type"
                )
            case TranscriptionSessionUpdate():
                raise Rejection(
                    "Passing a transcription session update event to a realtime session is not allowed.",
                    param="type",
                )
            case SessionClose():
                self._outbox.close(1000)
            case _:
                assert_never(event)

    def _on_update(self, event: SessionUpdate, now: float) -> None:
        self._configuration.apply(
            event.session,
            assistant_spoke=self._responder.assistant_spoke,
            response_active=self._responder.active is not None,
        )
        self._buffer.set_format(self._configuration.input_format)
        self._vad.set_rate(self._buffer.format.rate_hz)
        if self._configuration.turn_detection is None:
            self._turn_id = None
        self._send({"type": "session.updated", "session": self._configuration.echo}, now)

    # -- the caller's audio --------------------------------------------------------------------

    def _on_audio(self, data: bytes, now: float) -> None:
        details = self._buffer.format
        slice_bytes = details.rate_hz * details.sample_bytes * SLICE_MS // 1000
        from_ms = self._buffer.end_ms
        for start in range(0, len(data), slice_bytes):
            sound = self._buffer.append(data[start : start + slice_bytes])
            self._outbox.put(KeepAudio(sound, details.rate_hz))
            settings = self._configuration.turn_detection
            for event in self._vad.feed(sound, settings):
                self._on_speech(event, now)
                if self.ended:
                    return
            if settings is not None and not self._vad.speaking:
                self._buffer.keep_last_ms(
                    max(settings.prefix_padding_ms, settings.idle_timeout_ms or 0) + 1_000
                )
        self._outbox.note("append-received", from_ms=round(from_ms, 3), to_ms=round(self._buffer.end_ms, 3))
        self._overhear()

    def _on_speech(self, event: VadEvent, now: float) -> None:
        settings = self._configuration.turn_detection
        assert settings is not None, "without turn detection the VAD is silent"
        match event:
            case SpeechStarted(start_ms):
                self._turn_id = self._dice.id("item")
                self._turn_start_ms = start_ms
                self._overhear_at_ms = start_ms + settings.prefix_padding_ms + OVERHEAR_FIRST_MS
                self._overhearing = False
                self._idle_at = None
                speech = {"audio_start_ms": start_ms, "item_id": self._turn_id}
                self._send({"type": "input_audio_buffer.speech_started", **speech}, now)
                if settings.interrupt_response:
                    self._send_all(self._responder.interrupt(), now)
            case SpeechStopped(end_ms):
                item_id = self._turn_id or self._dice.id("item")
                speech = {"audio_end_ms": end_ms, "item_id": item_id}
                self._send({"type": "input_audio_buffer.speech_stopped", **speech}, now)
                self._commit(item_id, self._turn_start_ms, now)
                if settings.create_response:
                    self._respond(item_id, now)
            case _:
                assert_never(event)

    def _overhear(self) -> None:
        model = self._configuration.transcription_model
        if self._turn_id is None or self._overhearing or self._transcriber.mode(model) != "during":
            return
        if self._buffer.end_ms >= self._overhear_at_ms:
            self._overhear_at_ms = self._buffer.end_ms + OVERHEAR_EVERY_MS
            self._overhearing = True
            sound = self._buffer.since(self._turn_start_ms)
            self._outbox.put(Listen(self._turn_id, sound, self._buffer.format.rate_hz, finished=False))

    def _commit_by_hand(self, now: float) -> None:
        start_ms = self._buffer.end_ms - self._buffer.held_ms
        self._commit(self._turn_id or self._dice.id("item"), start_ms, now, check_length=True)
        self._vad.reset()

    def _commit(self, item_id: str, start_ms: float, now: float, *, check_length: bool = False) -> None:
        rate_hz = self._buffer.format.rate_hz
        encode = self._buffer.format.encode
        sound = self._buffer.commit(start_ms, check_length=check_length)
        self._turn_id = None
        content = [{"type": "input_audio", "transcript": None}]
        fields = {"type": "message", "status": "completed", "role": "user", "content": content}
        item = Item(item_id, fields, bytearray(encode(sound)), self._configuration.input_format)
        previous = self._conversation.append(item)
        committed = {"previous_item_id": previous, "item_id": item_id}
        self._send({"type": "input_audio_buffer.committed", **committed}, now)
        self._send_item(item, previous, now)
        self._unrecognised[item_id] = (item, now)
        self._outbox.put(Listen(item_id, sound, rate_hz, finished=True))

    def _listen_to_created(self, item: Item) -> None:
        if item.role == "user" and item.audio:
            details = FORMATS[item.audio_format]
            self._unrecognised[item.id] = (item, None)
            sound = details.decode(bytes(item.audio))
            self._outbox.put(Listen(item.id, sound, details.rate_hz, finished=True))

    def _on_heard(self, turn: TurnHeard, now: float) -> None:
        utterance = turn.heard.utterance
        self._outbox.note(
            "heard",
            item_id=turn.item_id,
            utterance=None if utterance is None else utterance.id,
            text=None if utterance is None else utterance.text,
            score=round(turn.heard.score, 3),
            finished=turn.finished,
        )
        model = self._configuration.transcription_model
        text = "" if utterance is None else utterance.text
        if turn.finished:
            item, committed_at = self._unrecognised.pop(turn.item_id)
            if committed_at is not None:
                # What comes later is timed from the end of the turn, however long recognising took.
                events = self._transcriber.committed(item.id, text, item.audio_ms, model, committed_at)
                self._send_transcripts(events, now)
            self._responder.recognised(turn.item_id, utterance, now)
            if self._respond_after == turn.item_id:
                self._respond_after = None
                self._respond(turn.item_id, now)
            return
        self._overhearing = False
        if turn.item_id == self._turn_id:
            self._send_all(self._transcriber.overheard(turn.item_id, text, turn.heard.said, model), now)

    def _send_transcripts(self, events: list[ServerEvent], now: float) -> None:
        for event in events:
            if event["type"].endswith(".completed"):
                for item in self._conversation.items:
                    if item.id == event["item_id"]:
                        item.fields["content"][0]["transcript"] = event["transcript"]
            self._send(event, now)

    # -- sending -------------------------------------------------------------------------------

    def _respond(self, item_id: str, now: float) -> None:
        """Answer a turn that the server ended itself; a failure to do so is an error about nothing."""
        hears = item_id if item_id in self._unrecognised else None
        if hears is not None and self._transcriber.mode(self._configuration.transcription_model) == "before":
            self._respond_after = item_id
            return
        try:
            self._send_all(self._responder.create(None, now, hears=hears), now)
        except Rejection as rejection:
            self._outbox.refuse(rejection, None)

    def _send_item(self, item: Item, previous: str | None, now: float) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._send({"type": kind, "previous_item_id": previous, "item": item.wire()}, now)

    def _send_all(self, events: list[ServerEvent], now: float) -> None:
        for event in events:
            self._send(event, now)

    def _send(self, event: ServerEvent, now: float) -> None:
        struck = self._outbox.send(event)
        self._take_faults(struck, now)
        match event["type"]:
            case "response.created":
                self._idle_at = None
                for fault in struck:
                    if fault.kind in SHAPING:
                        self._responder.shape(event["response"]["id"], fault)
            case "response.output_audio.delta":
                self._outbox.note("delta-sent", **self._responder.last_sound)
            case "response.done":
                self._rearm_idle(now)
            case _:
                pass

    def _take_faults(self, struck: list[Fault], now: float) -> None:
        for fault in struck:
            if fault.kind == "expire":
                self._expires_at = now + float(fault.value)
