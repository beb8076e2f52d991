"""Pure: the talk itself. Who speaks, what was heard, interruptions, turns and their latency.

Rules:

* An interruption comes in this order: new generation (older audio is dropped), `clear` to Twilio, truncation of
  what was not heard, and from then on late audio of that response is ignored. The model cancels the response
  by itself (`interrupt_response`); if generation had already ended there is nothing to cancel, but Twilio may
  still hold seconds of it.
* When the line breaks, Twilio's buffer is lost: the same happens, but the model is told to stop as well. What it
  says while there is no line waits for the next one; what was cut is asked for again.
* What the model believes it said must be what the caller heard: the playing item is truncated at the heard
  position, an item of which nothing was heard is deleted, a fully heard one is left alone.
* Buffers are keyed by item: one response may hold several, and their events interleave.
"""

from typing import Final

from trunkline_common.call_events import AgentTurn, CallerTurn, TurnLatency
from trunkline_worker import events, realtime_refusals
from trunkline_worker.agent import Agent
from trunkline_worker.commands import (
    AppendAudio,
    CancelResponse,
    ClearPlayback,
    Command,
    Count,
    CreateResponse,
    DeleteItem,
    Measure,
    Record,
    RecordLatency,
    SendToModel,
    TruncateItem,
)
from trunkline_worker.conversation import Conversation
from trunkline_worker.playback import Cut, Playback
from trunkline_worker.resample import ResamplerKind
from trunkline_worker.uplink import Uplink

TRUNCATE_MARGIN_MS: Final = 100
"""The model counts about 85 ms less audio than it sent; truncating beyond its count is an error."""

INTERRUPTED_RESPONSES_MAX: Final = 32
"""Interrupted responses whose end was not announced; their late audio is ignored."""


class Dialogue:
    """One call's talk with one model session after another."""

    def __init__(self, agent: Agent, resampler: ResamplerKind) -> None:
        self._agent = agent
        self._uplink = Uplink(agent.audio_path, resampler)
        self._playback = Playback(agent.audio_path, resampler)
        self._conversation = Conversation()
        self._active_response: str | None = None
        self._interrupted: dict[str, None] = {}
        self._speaking_item: str | None = None
        self._speech_ended_at: float | None = None
        self._model_rtt_ms: float | None = None
        self._twilio_rtt_ms: float | None = None
        self._bus_rtt_ms: float | None = None
        self._sent = 0
        self._answer_owed = False
        """The line broke in mid-answer, and nobody has spoken since."""
        self.interruptions = 0
        self.agent_was_heard = False

    @property
    def media_ms(self) -> int:
        """Media time of the call so far."""
        return self._uplink.media_end_ms

    def caller_audio(self, t_ms: int, ulaw: bytes, now: float) -> list[Command]:
        """The caller's audio, towards the model."""
        audio = self._uplink.push(t_ms, ulaw, now)
        return [SendToModel(AppendAudio(audio))] if audio else []

    def session_opened(self) -> tuple[list[Command], int | None]:
        """Send what the caller said meanwhile; return also the media time at which it starts."""
        audio, media_start_ms = self._uplink.open()
        self._speaking_item = None
        commands: list[Command] = [SendToModel(AppendAudio(audio))] if audio else []
        return commands, media_start_ms

    def session_closed(self) -> None:
        """The model is gone; the caller's audio waits."""
        self._uplink.close()
        self._active_response = None

    def greet(self) -> list[Command]:
        """Let the agent speak first, unless the caller already did and is being answered."""
        if self._active_response is not None or self._playback.active:
            return []
        return [SendToModel(CreateResponse(self._event_id("greet"), self._greeting()))]

    def mark_played(self, name: str, now: float) -> list[Command]:
        """Twilio played everything up to this mark."""
        commands = self._playback.mark_played(name, now)
        if commands is None:
            return [Count(Measure.STALE_MARK)]
        self.agent_was_heard = True
        return [*commands, *self._heard()]

    def line_measured(self, twilio_rtt_ms: float | None, bus_rtt_ms: float | None) -> None:
        """The gateway measured the hops around it."""
        self._twilio_rtt_ms = twilio_rtt_ms if twilio_rtt_ms is not None else self._twilio_rtt_ms
        self._bus_rtt_ms = bus_rtt_ms if bus_rtt_ms is not None else self._bus_rtt_ms
        self._playback.round_trip_ms = (self._twilio_rtt_ms or 0) + (self._bus_rtt_ms or 0)

    def suspend(self, now: float) -> list[Command]:
        """There is no line: the rest of what Twilio held will not be heard."""
        self._playback.hold()
        if not self._playback.active:
            return []
        self._answer_owed = True
        return self._cut(now, cancel=True)

    def resume(self, now: float) -> list[Command]:
        """A stream is there: go on where the line broke, if one did."""
        self._uplink.start_stream()
        return [*self._playback.release(now), *self._answer_if_owed()]

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        fill_at = self._uplink.fill_at() if self._speaking_item is not None else None
        due_at = self._conversation.due_at()
        if fill_at is None or due_at is None:
            return due_at if fill_at is None else fill_at
        return min(fill_at, due_at)

    def tick(self, now: float) -> list[Command]:
        """Do what time alone demands."""
        commands = _records(self._conversation.overdue(now))
        if self._speaking_item is not None:
            silence = self._uplink.fill(now)
            if silence:
                commands.append(SendToModel(AppendAudio(silence)))
        return commands

    def waits_for_words(self) -> bool:
        """A transcript is still to come."""
        return self._conversation.waits_for_words()

    def close(self, now: float) -> list[Command]:
        """The call is over: record what was heard of what was playing, and all unwritten turns."""
        commands: list[Command] = []
        if self._playback.active:
            for cut in self._playback.interrupt(now):
                commands += _records(self._conversation.agent_cut(cut, self._uplink.media_end_ms))
        commands += _records(self._conversation.close(self._uplink.media_end_ms))
        for measure, amount in (
            (Measure.CALLER_AUDIO_DROPPED_MS, self._uplink.dropped_ms),
            (Measure.CALLER_GAP_PADDED_MS, self._uplink.padded_ms),
            (Measure.CALLER_AUDIO_REPEATED, self._uplink.repeated_frames),
        ):
            if amount:
                commands.append(Count(measure, amount))
        return commands

    def on_model(self, event: events.ModelEvent, now: float) -> list[Command]:
        """Apply what the open session says."""
        match event:
            case events.AudioDelta(_, response_id, item_id, audio):
                return self._on_audio(response_id, item_id, audio, now)
            case events.SpokenText(_, item_id, text, final):
                return _records(self._conversation.agent_said(item_id, text, final=final))
            case events.AudioDone(_, _, item_id):
                return [*self._playback.finish(item_id, now), *self._heard()]
            case events.SpeechStarted(_, item_id, audio_start_ms):
                return self._on_speech_started(item_id, audio_start_ms, now)
            case events.SpeechStopped(_, item_id, audio_end_ms):
                self._speaking_item = None
                self._speech_ended_at = now
                self._conversation.caller_stopped(item_id, self._uplink.media_ms(audio_end_ms), now)
            case events.ItemAdded(_, item_id, role):
                self._conversation.added(item_id, role, self._active_response or "")
            case events.CallerText(_, item_id, text):
                return _records(self._conversation.caller_said(item_id, text))
            case events.ResponseCreated(_, response_id):
                self._active_response = response_id
            case events.ResponseDone():
                return self._on_response_done(event, now)
            case events.SessionRoundTrip(_, rtt_ms):
                self._model_rtt_ms = rtt_ms
            case events.ModelError(_, code):
                detail = "" if code in realtime_refusals.BENIGN_CODES else code
                return [Count(Measure.MODEL_ERROR, detail=detail)]
            case events.SessionCreated() | events.SessionConfigured() | events.SessionLost():
                raise AssertionError("the call handles its link to the model itself")
        return []

    def _on_audio(self, response_id: str, item_id: str, audio: bytes, now: float) -> list[Command]:
        if response_id in self._interrupted:
            return [Count(Measure.LATE_DELTA)]
        # Its response.created may be missing.
        self._active_response = response_id
        position = self._conversation.agent_started(item_id, response_id, self._uplink.media_end_ms)
        commands = [*self._playback.receive(response_id, item_id, audio, now), *self._heard()]
        if self._speech_ended_at is not None:
            model_ms = (now - self._speech_ended_at) * 1000
            self._speech_ended_at = None
            commands.append(RecordLatency(self._latency(item_id, position, model_ms)))
        return commands

    def _on_speech_started(self, item_id: str, audio_start_ms: int, now: float) -> list[Command]:
        self._speaking_item = item_id
        self._speech_ended_at = None
        self._answer_owed = False
        self._conversation.caller_started(item_id, self._uplink.media_ms(audio_start_ms))
        if self._active_response is not None:
            self._ignore_response(self._active_response)
        if not self._playback.active:
            return []
        self.interruptions += 1
        return [*self._cut(now), Count(Measure.BARGE_IN)]

    def _ignore_response(self, response_id: str) -> None:
        self._interrupted[response_id] = None
        if len(self._interrupted) > INTERRUPTED_RESPONSES_MAX:
            del self._interrupted[next(iter(self._interrupted))]

    def _cut(self, now: float, *, cancel: bool = False) -> list[Command]:
        cuts = self._playback.interrupt(now)
        commands: list[Command] = [ClearPlayback(self._playback.generation)]
        if cancel and self._active_response is not None:
            self._ignore_response(self._active_response)
            commands.append(SendToModel(CancelResponse(self._event_id("cancel"), self._active_response)))
        for cut in cuts:
            commands += self._forget_unheard(cut)
            commands += _records(self._conversation.agent_cut(cut, self._uplink.media_end_ms))
        return commands

    def _forget_unheard(self, cut: Cut) -> list[Command]:
        if cut.heard_ms == 0:
            return [self._delete(cut.item_id)]
        end_ms = min(cut.heard_ms, cut.generated_ms - TRUNCATE_MARGIN_MS)
        if cut.complete and end_ms < cut.heard_ms:
            # Heard to within the margin: truncating would cost the item its transcript for nothing.
            return []
        if end_ms <= 0:
            return [self._delete(cut.item_id)]
        return [SendToModel(TruncateItem(self._event_id("truncate"), cut.item_id, end_ms))]

    def _on_response_done(self, event: events.ResponseDone, now: float) -> list[Command]:
        if self._active_response == event.response_id:
            self._active_response = None
        self._interrupted.pop(event.response_id, None)
        commands: list[Command] = []
        if event.status == "failed":
            commands.append(Count(Measure.RESPONSE_FAILED, detail=event.reason))
        commands += [*self._playback.finish_response(event.response_id, now), *self._heard()]
        cut_off = event.status != "completed"
        if cut_off:
            unheard = self._conversation.unheard_items(event.response_id)
            commands += [self._delete(item_id) for item_id in unheard]
        commands += _records(self._conversation.response_done(event.response_id, cut_off=cut_off))
        if event.usage is not None:
            commands.append(Record(event.usage))
        return [*commands, *self._answer_if_owed()]

    def _answer_if_owed(self) -> list[Command]:
        if not self._answer_owed or self._playback.held or self._active_response is not None:
            return []
        self._answer_owed = False
        return [SendToModel(CreateResponse(self._event_id("resume")))]

    def _delete(self, item_id: str) -> Command:
        return SendToModel(DeleteItem(self._event_id("delete"), item_id))

    def _heard(self) -> list[Command]:
        commands: list[Command] = []
        for item in self._playback.take_heard():
            turns = self._conversation.agent_heard(item.item_id, item.generated_ms, self._uplink.media_end_ms)
            commands += _records(turns)
        return commands

    def _latency(self, item_id: str, position: int, model_ms: float) -> TurnLatency:
        twilio_ms = _half(self._twilio_rtt_ms)
        bus_ms = _half(self._bus_rtt_ms)
        network_ms = _half(self._model_rtt_ms)
        outside_ms = sum(part for part in (twilio_ms, bus_ms, network_ms) if part is not None)
        return TurnLatency(
            item_id=item_id,
            position=position,
            response_ms=model_ms + 2 * outside_ms,
            twilio_to_gateway_ms=twilio_ms,
            gateway_to_worker_ms=bus_ms,
            worker_to_model_ms=network_ms,
            model_ms=model_ms,
            model_to_worker_ms=network_ms,
            worker_to_gateway_ms=bus_ms,
            gateway_to_twilio_ms=twilio_ms,
            worker_ms=0,
        )

    def _greeting(self) -> str:
        return f"{self._agent.instructions}\n\n{self._agent.greeting}"

    def _event_id(self, what: str) -> str:
        self._sent += 1
        return f"{what}_{self._sent}"


def _half(round_trip_ms: float | None) -> float | None:
    return None if round_trip_ms is None else round_trip_ms / 2


def _records(turns: "list[CallerTurn] | list[AgentTurn] | list[CallerTurn | AgentTurn]") -> list[Command]:
    return [Record(turn) for turn in turns]
