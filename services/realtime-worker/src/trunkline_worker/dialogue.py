"""Pure: the talk itself. Who speaks, what was heard, interruptions, turns, and going on after a lost session.

Rules:

* An interruption comes in this order: new generation (older audio is dropped), `clear` to Twilio, truncation of
  what was not heard, and from then on late audio of that response is ignored. The model cancels the response
  by itself (`interrupt_response`); if generation had already ended there is nothing to cancel, but Twilio may
  still hold seconds of it.
* When the line breaks, Twilio's buffer is lost: the same happens, but the model is told to stop as well. What it
  says while there is no line waits for the next one; what was cut is asked for again.
* What the model believes it said must be what the caller heard: see `beliefs`.
* Buffers are keyed by item: one response may hold several, and their events interleave.
* A lost session loses no words: what Twilio holds plays on; the next session is told what was said and heard, is
  given once the caller's audio that had not become an answered turn, and is asked to speak only if an answer is owed.
"""

from typing import Final

from trunkline_common.call_events import AgentTurn, CallerTurn
from trunkline_worker import events, realtime_refusals
from trunkline_worker.actions import Actions
from trunkline_worker.agent import Agent
from trunkline_worker.beliefs import Beliefs
from trunkline_worker.commands import (
    AppendAudio,
    CancelResponse,
    ClearPlayback,
    Command,
    Count,
    CreateItem,
    Measure,
    Record,
    RecordLatency,
    SendToModel,
    SetTurnDetection,
)
from trunkline_worker.conversation import Conversation
from trunkline_worker.playback import Playback
from trunkline_worker.prices import NO_PRICES, PriceList
from trunkline_worker.resample import ResamplerKind
from trunkline_worker.response_gate import Request, ResponseGate, Wish
from trunkline_worker.spend import Spend
from trunkline_worker.turn_clock import TurnClock
from trunkline_worker.uplink import Uplink

UNNOTICED_MS: Final = 700
"""Speech that a lost session's VAD may not have told of yet: its window, its prefix and the way back."""

CONTINUE: Final = (
    "The line to you broke for a moment while you were speaking. The caller heard you up to the words that your last "
    "message ends with. Go on from there in a few words, without greeting or repeating."
)

INTERRUPTED_RESPONSES_MAX: Final = 32
"""Interrupted responses whose end was not announced; their late audio is ignored."""


class Dialogue:
    """One call's talk with one model session after another."""

    def __init__(
        self, agent: Agent, resampler: ResamplerKind, call_id: str = "", prices: PriceList = NO_PRICES
    ) -> None:
        self.gate = ResponseGate()
        self.spend = Spend(prices, agent.model, agent.transcription_model)
        self.interruptions = 0
        self.agent_was_heard = False
        self._agent = agent
        self._uplink = Uplink(agent.audio_path, resampler)
        self._playback = Playback(agent.audio_path, resampler)
        self._conversation = Conversation()
        self._beliefs = Beliefs(self.gate, self._conversation.history)
        self.actions = Actions(agent, call_id, self.gate, self._playback, self._conversation.history)
        self._clock = TurnClock()
        self._interrupted: dict[str, None] = {}
        self._speaking_item: str | None = None
        self._unanswered_item: str | None = None
        """The caller's last turn, until audio of an answer comes."""
        self._taken_ms = 0
        """Media time up to which the model took the caller's audio as turns."""
        self._hear_again_ms: int | None = None
        """From this media time on the next session hears the caller again."""

    @property
    def media_ms(self) -> int:
        """Media time of the call so far."""
        return self._uplink.media_end_ms

    @property
    def began(self) -> bool:
        """A session listened before: the next one must be told."""
        return self._hear_again_ms is not None

    @property
    def quiet(self) -> bool:
        """Nobody speaks and nobody is about to."""
        waiting = self._speaking_item or self._unanswered_item
        busy = self._playback.active or self.gate.busy or self.actions.busy
        return waiting is None and not busy

    def caller_audio(self, t_ms: int, ulaw: bytes, now: float) -> list[Command]:
        """The caller's audio, towards the model."""
        audio = self._uplink.push(t_ms, ulaw, now)
        return [SendToModel(AppendAudio(audio))] if audio else []

    def session_opened(self, now: float, *, deaf: bool) -> tuple[list[Command], int | None, int]:
        """A session is configured; a `deaf` one does not look for turns yet, and is told of the call so far.

        Return also the media time of the first audio that it got, and how many items it was told.
        """
        created: list[CreateItem] = []
        if self._hear_again_ms is not None:
            self._conversation.heard_again(self._hear_again_ms)
        if deaf:
            self._conversation.remember_callers()
            created = self._conversation.history.replay(self.gate.event_id, self._uplink.between)
        self._beliefs.session_opened(created)
        self.actions.session_opened()
        commands: list[Command] = [*map(SendToModel, created), *self.gate.open(now)]
        if deaf:
            turn_detection = self._agent.session()["audio"]["input"]["turn_detection"]
            commands.append(SendToModel(SetTurnDetection(self.gate.event_id("listen"), turn_detection)))
        audio, media_start_ms = self._uplink.open(self._hear_again_ms)
        if audio:
            commands.append(SendToModel(AppendAudio(audio)))
        return commands, media_start_ms, len(created)

    def session_closed(self, now: float) -> list[Command]:
        """The session is gone: work out what the next one owes; what Twilio holds plays on."""
        self._uplink.close()
        span = self._conversation.caller_span(self._speaking_item or self._unanswered_item or "")
        broke_off = self._playback.incomplete()
        commands = self._playback.finish_all(now)
        playing = self._playback.generated_ms()
        commands += [*_records(self._conversation.session_lost(playing)), *self._heard()]
        self._beliefs.session_closed(playing)
        self._owe(self.gate.lost(), span, now, broke_off=broke_off)
        commands += self.actions.session_closed(now)
        self._speaking_item = self._unanswered_item = None
        self._interrupted.clear()
        return commands

    def greet(self, now: float) -> list[Command]:
        """Let the agent speak first, unless the caller already did and is being answered."""
        if self.gate.active is not None or self._playback.active:
            return []
        return self.gate.request(Wish.GREETING, now, self._with(self._agent.greeting))

    def mark_played(self, name: str, now: float) -> list[Command]:
        """Twilio played everything up to this mark."""
        commands = self._playback.mark_played(name, now)
        if commands is None:
            return [Count(Measure.STALE_MARK)]
        self.agent_was_heard = True
        return [*commands, *self._heard()]

    def line_measured(self, twilio_rtt_ms: float | None, bus_rtt_ms: float | None) -> None:
        """The gateway measured the hops around it."""
        self._clock.line_measured(twilio_rtt_ms, bus_rtt_ms)
        self._playback.round_trip_ms = self._clock.line_rtt_ms

    def suspend(self, now: float) -> list[Command]:
        """There is no line: the rest of what Twilio held will not be heard."""
        self._playback.hold()
        self.gate.hold()
        commands = self.actions.line_lost(now)
        if not self._playback.active:
            return commands
        return [*commands, *self._cut(now, cancel=True), *self.gate.request(Wish.ANSWER, now)]

    def resume(self, now: float) -> list[Command]:
        """A stream is there: go on where the line broke, if one did."""
        self._uplink.start_stream()
        self.actions.line_opened()
        return [*self._playback.release(now), *self.gate.release(now)]

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        times = (
            self._uplink.fill_at() if self._speaking_item is not None else None,
            self._conversation.due_at(),
            self.gate.wake_at(),
        )
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> list[Command]:
        """Do what time alone demands."""
        commands = _records(self._conversation.overdue(now))
        if self._speaking_item is not None:
            silence = self._uplink.fill(now)
            if silence:
                commands.append(SendToModel(AppendAudio(silence)))
        return [*commands, *self.gate.tick(now)]

    def waits_for_words(self) -> bool:
        """A transcript is still to come."""
        return self._conversation.waits_for_words()

    def close(self, now: float) -> list[Command]:
        """The call is over: record what was heard of what was playing, and all unwritten turns."""
        commands = self.actions.close(now)
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
                self._unanswered_item = item_id
                self._clock.speech_stopped(now)
                self.gate.caller_stopped(now)
                self.actions.caller_stopped()
                self._taken_ms = self._uplink.media_ms(audio_end_ms)
                self._conversation.caller_stopped(item_id, self._taken_ms, now)
            case events.ItemAdded(_, item_id, role):
                self._conversation.added(item_id, role, self.gate.active or "")
            case events.CallerText(_, item_id, text, usage):
                turns = _records(self._conversation.caller_said(item_id, text))
                return turns if usage is None else [*turns, Record(self.spend.on_transcription(usage))]
            case events.ResponseCreated(_, response_id):
                self.gate.created(response_id, now)
                if self._speaking_item is not None and self.gate.gives_way:
                    # It was asked for before the caller was heard to speak, and would be spoken over them.
                    return self._cancel()
            case events.ResponseDone():
                return self._on_response_done(event, now)
            case events.ToolCalled(_, response_id):
                interrupted = response_id in self._interrupted
                if not interrupted:
                    self._acted(response_id)
                return self.actions.called(event, self.media_ms, now, interrupted=interrupted)
            case events.McpCallEnded():
                return self.actions.mcp_call_ended(now)
            case events.SessionRoundTrip(_, rtt_ms):
                self._clock.model_rtt_ms = rtt_ms
            case events.ModelError(_, code):
                detail = "" if code in realtime_refusals.BENIGN_CODES else code
                busy = code == realtime_refusals.ALREADY_ANSWERING
                refused = self.gate.refused(event.event_id, busy=busy, now=now)
                return [Count(Measure.MODEL_ERROR, detail=detail), *refused]
            case (
                events.SessionDelayed()
                | events.SessionCreated()
                | events.SessionConfigured()
                | events.SessionLost()
            ):
                raise AssertionError("the call handles its link to the model itself")
        return []

    def _on_audio(self, response_id: str, item_id: str, audio: bytes, now: float) -> list[Command]:
        if response_id in self._interrupted or self.gate.is_over(response_id):
            return [Count(Measure.LATE_DELTA)]
        self._unanswered_item = None
        self.gate.spoke(response_id, now)
        position = self._conversation.agent_started(item_id, response_id, self._uplink.media_end_ms)
        commands = [*self._playback.receive(response_id, item_id, audio, now), *self._heard()]
        latency = self._clock.answered(item_id, position, now)
        if latency is not None:
            commands.append(RecordLatency(latency))
        return commands

    def _on_speech_started(self, item_id: str, audio_start_ms: int, now: float) -> list[Command]:
        self._speaking_item = item_id
        self._clock.speech_started()
        self.gate.caller_started()
        self._conversation.caller_started(item_id, self._uplink.media_ms(audio_start_ms))
        if self.gate.active is not None:
            self._ignore_response(self.gate.active)
        commands = self.actions.caller_spoke(now)
        if not self._playback.active:
            return commands
        self.interruptions += 1
        return [*self._cut(now), Count(Measure.BARGE_IN), *commands]

    def _ignore_response(self, response_id: str) -> None:
        self._interrupted[response_id] = None
        if len(self._interrupted) > INTERRUPTED_RESPONSES_MAX:
            del self._interrupted[next(iter(self._interrupted))]

    def _cancel(self) -> list[Command]:
        if self.gate.active is None:
            return []
        self._ignore_response(self.gate.active)
        return [SendToModel(CancelResponse(self.gate.event_id("cancel"), self.gate.active))]

    def _acted(self, response_id: str) -> None:
        """A response called a tool, which answers the turn: a next session that did again would act twice."""
        self._unanswered_item = None
        self.gate.acted(response_id)

    def _cut(self, now: float, *, cancel: bool = False) -> list[Command]:
        cuts = self._playback.interrupt(now)
        commands: list[Command] = [ClearPlayback(self._playback.generation)]
        if cancel:
            commands += self._cancel()
        for cut in cuts:
            turns = self._conversation.agent_cut(cut, self._uplink.media_end_ms)
            if self._uplink.is_open:
                commands += self._beliefs.correct(cut)
            commands += _records(turns)
        return commands

    def _on_response_done(self, event: events.ResponseDone, now: float) -> list[Command]:
        if self.gate.is_over(event.response_id):
            return []
        interrupted = event.response_id in self._interrupted
        self._interrupted.pop(event.response_id, None)
        if event.tool_calls and not interrupted:
            self._acted(event.response_id)
        commands: list[Command] = []
        spoke = self.gate.has_spoken(event.response_id)
        if event.status == "failed":
            commands.append(Count(Measure.RESPONSE_FAILED, detail=event.reason))
        commands += [*self._playback.finish_response(event.response_id, now), *self._heard()]
        cut_off = event.status != "completed"
        if cut_off:
            unheard = self._conversation.unheard_items(event.response_id)
            commands += [self._beliefs.delete(item_id) for item_id in unheard]
        commands += _records(self._conversation.response_done(event.response_id, cut_off=cut_off))
        if event.usage is not None:
            commands.append(Record(self.spend.on_response(event.usage)))
        commands += self.gate.done(event, now)
        return commands + self.actions.response_done(
            event, self.media_ms, now, interrupted=interrupted, spoke=spoke
        )

    def _owe(
        self, owed: Request | None, span: tuple[int, str | None] | None, now: float, *, broke_off: bool
    ) -> None:
        """Leave to the next session what the lost one did not do; `span` is the caller's turn under way."""
        started_ms, words = span if span is not None else (self.media_ms - UNNOTICED_MS, None)
        if self._speaking_item is not None:
            self._hear_again_ms = started_ms
            return
        if self._unanswered_item is not None and not words and span is not None:
            # Its words are not known and will not be: it is heard again, written down, and answered.
            self._hear_again_ms = started_ms
            return
        self._hear_again_ms = max(self.media_ms - UNNOTICED_MS, self._taken_ms)
        if broke_off:
            self.gate.request(Wish.CONTINUE, now, self._with(CONTINUE))
        elif owed is not None:
            self.gate.request(owed.wish, now, owed.instructions)
        elif self._unanswered_item is not None:
            self.gate.request(Wish.ANSWER, now)

    def _heard(self) -> list[Command]:
        commands: list[Command] = []
        for item in self._playback.take_heard():
            turns = self._conversation.agent_heard(item.item_id, item.generated_ms, self._uplink.media_end_ms)
            commands += _records(turns)
        return commands

    def _with(self, order: str) -> str:
        # Of one response, they replace the session's.
        return f"{self._agent.instructions}\n\n{order}"


def _records(turns: "list[CallerTurn] | list[AgentTurn] | list[CallerTurn | AgentTurn]") -> list[Command]:
    return [Record(turn) for turn in turns]
