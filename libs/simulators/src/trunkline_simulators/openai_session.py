"""One session of the simulated Realtime API, as a pure state machine.

Rules:
- A refused client event changes nothing, and is answered by one `error` event.
- A turn has one id from `speech_started` on: that of the item it will become.
- The order of a turn: speech_started, speech_stopped, committed, item added, item done, response.
- After `Close` or `Stall` a session does nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from trunkline_simulators import openai_mcp
from trunkline_simulators.openai_audio import FORMATS, decode_base64
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
from trunkline_simulators.openai_replies import Behaviour, named_in
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
from trunkline_simulators.openai_trace import asked_for
from trunkline_simulators.openai_transcription import Transcriber
from trunkline_simulators.openai_turns import CallerTurns
from trunkline_simulators.openai_vad import SpeechStarted, SpeechStopped, VadEvent

_EXPIRED = "Your session hit the maximum duration of 60 minutes."


@dataclass(frozen=True, slots=True)
class _Unrecognised:
    """Audio of the caller that the listener has not understood yet."""

    item: Item
    committed_at: float | None  # None for what a client created as an item: that is not transcribed
    from_ms: float | None = None  # in the session's input
    to_ms: float | None = None


class Session:
    """What one connected client talks to; `handle` takes a fact and returns what follows from it."""

    parse: Callable[[str | bytes], ClientEvent] = staticmethod(parse_client_event)  # or another dialect's

    def __init__(
        self, model: str, behaviour: Behaviour, faults: ArmedFaults, seed: str, created_at_unix_s: int
    ) -> None:
        self._dice = Dice(seed)
        self.id = self._dice.id("sess")
        self._configuration = Configuration(model, self.id, created_at_unix_s)
        self._conversation = Conversation(self._dice)
        self._responder = Responder(self._configuration, self._conversation, behaviour, self._dice)
        self._transcriber = Transcriber(behaviour.transcription)
        self._outbox = Outbox(self._dice, faults)
        self._turns = CallerTurns(self._configuration.input_format)
        self._unrecognised: dict[str, _Unrecognised] = {}  # by item
        self._respond_after: str | None = None  # the item whose transcript must come first
        self._idle_at: float | None = None
        self._expires_at: float | None = None

    def open(self, now: float) -> list[Order]:
        """Begin: the first event is `session.created` with every default."""
        self._expires_at = now + SESSION_S_MAX
        if (losses := self._outbox.losses) is not None:
            after_s, fault = losses.draw(self._dice)
            self._outbox.lose_at(now + after_s, fault)
        self._take_faults(self._outbox.happened("connect", now), now)
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
        times = (
            self._responder.next_due(),
            self._transcriber.next_due(),
            self._outbox.next_due(),
            self._idle_at,
            self._expires_at,
        )
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
        self._take_faults(self._outbox.due(now), now)
        self._send_transcripts(self._transcriber.due(now), now)
        while not self.ended and (events := self._responder.step(now)):
            for chosen in self._responder.take_chosen():
                self._outbox.note("answer", **chosen)
            self._send_all(events, now)
        if self._idle_at is not None and now >= self._idle_at and not self.ended:
            self._on_idle(now)
        if self._expires_at is not None and now >= self._expires_at and not self.ended:
            self._outbox.refuse(Rejection(_EXPIRED, code="session_expired"), None, now)
            self._outbox.close(1001, _EXPIRED)

    def _on_idle(self, now: float) -> None:
        settings = self._configuration.turn_detection
        self._idle_at = None
        if settings is None or settings.idle_timeout_ms is None or self._turns.speaking:
            return
        item_id = self._dice.id("item")
        end_ms = self._turns.end_ms
        start_ms = max(0.0, end_ms - settings.idle_timeout_ms)
        silence = {"audio_start_ms": round(start_ms), "audio_end_ms": round(end_ms), "item_id": item_id}
        self._send({"type": "input_audio_buffer.timeout_triggered", **silence}, now)
        self._commit(item_id, start_ms, now)
        self._respond(item_id, now)

    def _rearm_idle(self, now: float) -> None:
        settings = self._configuration.turn_detection
        if settings is not None and settings.idle_timeout_ms is not None and not self._turns.speaking:
            self._idle_at = max(now, self._responder.audio_ends_at) + settings.idle_timeout_ms / 1000

    # -- client events -------------------------------------------------------------------------

    def _on_frame(self, frame: str | bytes, now: float) -> None:
        try:
            event = self.parse(frame)
        except Rejection as rejection:
            self._outbox.refuse(rejection, rejection.event_id, now)
            return
        kind = str(event.__struct_config__.tag)
        if kind != "input_audio_buffer.append":
            self._outbox.note("client-event", type=kind, event_id=event.event_id, **asked_for(event))
        struck = self._outbox.happened(kind, now)
        self._take_faults(struck, now)
        if self.ended:
            return
        try:
            for fault in struck:
                if fault.kind == "error":
                    raise Rejection(f"This error was asked for: {fault.value}.", code=fault.value)
            self._apply(event, now)
        except Rejection as rejection:
            self._outbox.refuse(rejection, event.event_id, now)

    def _apply(self, event: ClientEvent, now: float) -> None:
        match event:
            case AudioAppend(audio=audio):
                self._on_audio(decode_base64(audio, "audio"), now)
            case SessionUpdate():
                self._on_update(event, now)
            case AudioCommit():
                self._commit(self._turns.turn_id or self._dice.id("item"), None, now)
            case AudioClear():
                self._turns.clear()
                self._send({"type": "input_audio_buffer.cleared"}, now)
            case ItemCreate():
                item, previous = self._conversation.create(event, self._configuration.input_format)
                self._send_item(item, previous, now)
                self._take_in(item)
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
        self._turns.configure(self._configuration.input_format, self._configuration.turn_detection)
        self._send({"type": "session.updated", "session": self._configuration.echo}, now)
        self._send_all(openai_mcp.list_tools(self._configuration.echo["tools"], self._conversation), now)

    # -- the caller's audio --------------------------------------------------------------------

    def _on_audio(self, data: bytes, now: float) -> None:
        from_ms = self._turns.end_ms
        for sound, events in self._turns.take(data, self._configuration.turn_detection):
            self._outbox.put(KeepAudio(sound, self._turns.rate_hz))
            for event in events:
                self._on_speech(event, now)
                if self.ended:
                    return
        self._outbox.note("append-received", from_ms=round(from_ms, 3), to_ms=round(self._turns.end_ms, 3))
        if self._transcriber.mode(self._configuration.transcription_model) == "during":
            self._overhear()

    def _on_speech(self, event: VadEvent, now: float) -> None:
        settings = self._configuration.turn_detection
        assert settings is not None, "without turn detection the VAD is silent"
        match event:
            case SpeechStarted(start_ms):
                item_id = self._dice.id("item")
                self._turns.begin(item_id, start_ms, settings)
                self._idle_at = None
                speech = {"audio_start_ms": start_ms, "item_id": item_id}
                self._send({"type": "input_audio_buffer.speech_started", **speech}, now)
                if settings.interrupt_response:
                    self._send_all(self._responder.interrupt(), now)
            case SpeechStopped(end_ms):
                item_id = self._turns.turn_id or self._dice.id("item")
                speech = {"audio_end_ms": end_ms, "item_id": item_id}
                self._send({"type": "input_audio_buffer.speech_stopped", **speech}, now)
                self._commit(item_id, self._turns.start_ms, now)
                if settings.create_response:
                    self._respond(item_id, now)
            case _:
                assert_never(event)

    def _overhear(self) -> None:
        turn_id, sound = self._turns.turn_id, self._turns.overhear()
        if turn_id is not None and sound is not None:
            self._outbox.put(Listen(turn_id, sound, self._turns.rate_hz, finished=False))

    def _commit(self, item_id: str, start_ms: float | None, now: float) -> None:
        committed = self._turns.commit(start_ms)
        content = [{"type": "input_audio", "transcript": None}]
        fields = {"type": "message", "status": "completed", "role": "user", "content": content}
        audio = bytearray(self._turns.encoded(committed.sound))
        item = Item(item_id, fields, audio, self._configuration.input_format)
        previous = self._conversation.append(item)
        event = {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item_id}
        self._send(event, now)
        self._send_item(item, previous, now)
        self._unrecognised[item_id] = _Unrecognised(item, now, committed.from_ms, committed.to_ms)
        self._outbox.put(Listen(item_id, committed.sound, self._turns.rate_hz, finished=True))

    def _take_in(self, item: Item) -> None:
        """Understand what a client says that the caller said before."""
        if item.role != "user":
            return
        if item.audio:
            details = FORMATS[item.audio_format]
            self._unrecognised[item.id] = _Unrecognised(item, None)
            sound = details.decode(bytes(item.audio))
            self._outbox.put(Listen(item.id, sound, details.rate_hz, finished=True))
        else:
            utterance = named_in(item.text())
            utterance_id = None if utterance is None else utterance.id
            self._outbox.note("told", session_id=self.id, item_id=item.id, utterance=utterance_id)

    def _on_heard(self, turn: TurnHeard, now: float) -> None:
        known = self._unrecognised.pop(turn.item_id) if turn.finished else None
        self._note_heard(turn, known)
        utterance = turn.heard.utterance
        text = "" if utterance is None else utterance.text
        model = self._configuration.transcription_model
        if known is None:
            self._turns.overheard()
            if turn.item_id == self._turns.turn_id:
                events = self._transcriber.overheard(turn.item_id, text, turn.heard.said, model)
                self._send_all(events, now)
            return
        if known.committed_at is not None:
            # What comes later is timed from the end of the turn, however long recognising took.
            item, at = known.item, known.committed_at
            self._send_transcripts(self._transcriber.committed(item.id, text, item.audio_ms, model, at), now)
        self._responder.recognised(turn.item_id, utterance, now)
        if self._respond_after == turn.item_id:
            self._respond_after = None
            self._respond(turn.item_id, now)

    def _note_heard(self, turn: TurnHeard, known: _Unrecognised | None) -> None:
        utterance = turn.heard.utterance
        self._outbox.note(
            "heard",
            session_id=self.id,
            item_id=turn.item_id,
            utterance=None if utterance is None else utterance.id,
            text=None if utterance is None else utterance.text,
            score=round(turn.heard.score, 3),
            finished=turn.finished,
            from_ms=None if known is None else known.from_ms,
            to_ms=None if known is None else known.to_ms,
        )

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
            self._outbox.refuse(rejection, None, now)

    def _send_item(self, item: Item, previous: str | None, now: float) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._send({"type": kind, "previous_item_id": previous, "item": item.wire()}, now)

    def _send_all(self, events: list[ServerEvent], now: float) -> None:
        for event in events:
            self._send(event, now)

    def _send(self, event: ServerEvent, now: float) -> None:
        struck = self._outbox.send(event, now)
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
