"""Pure: the talk itself. Who speaks, what was heard, interruptions, turns, and going on after a lost session.

Rules:

* An interruption comes in this order: new generation (older audio is dropped), `clear` to Twilio, truncation of
  what was not heard, and from then on late audio of that response is ignored. The model cancels the response
  by itself (`interrupt_response`); if generation had already ended there is nothing to cancel, but Twilio may
  still hold seconds of it.
* When the line breaks, Twilio's buffer is lost: what of it was not heard, and what the model says while there is no
  line, waits for the next one. Only audio that another owner of the call had sent is gone; then it is asked for again.
* Where short speech is no interruption (see `speech_guard`), the model neither stops nor answers by itself: both
  are done here, once it is known that the caller speaks.
* Silence that the model took as a turn is none of the caller's: neither written nor timed.
* What the model believes it said is what was heard (`beliefs`); a lost session loses no words (`debt`).
"""

from trunkline_worker import events, realtime_refusals
from trunkline_worker.actions import Actions
from trunkline_worker.agent import Agent
from trunkline_worker.beliefs import Beliefs
from trunkline_worker.commands import (
    AppendAudio,
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
from trunkline_worker.debt import CONTINUE, UNNOTICED_MS, Debt, debt
from trunkline_worker.due import earliest
from trunkline_worker.filler import FillerSound
from trunkline_worker.floor import Floor
from trunkline_worker.greeting_ear import LISTEN_BACK_MS, GreetingEar
from trunkline_worker.playback import Playback
from trunkline_worker.prices import NO_PRICES, PriceList
from trunkline_worker.resample import ResamplerKind
from trunkline_worker.response_gate import Request, ResponseGate, Wish
from trunkline_worker.speech_guard import SpeechGuard
from trunkline_worker.spend import Spend
from trunkline_worker.turn_clock import TurnClock
from trunkline_worker.uplink import Uplink


class Dialogue:
    """One call's talk with one model session after another."""

    def __init__(
        self, agent: Agent, resampler: ResamplerKind, call_id: str = "", prices: PriceList = NO_PRICES
    ) -> None:
        self.gate = ResponseGate(agent.instructions)
        self.spend = Spend(prices, agent.model, agent.transcription_model)
        self.interruptions = 0
        self._agent = agent
        self.uplink = Uplink(agent.audio_path, resampler)
        self.playback = Playback(agent.audio_path, resampler)
        self.conversation = Conversation()
        self.floor = Floor()
        self._beliefs = Beliefs(self.gate, self.conversation.history)
        self.actions = Actions(agent, call_id, self.gate, self.playback, self.conversation.history)
        self._clock = TurnClock()
        self._guard = SpeechGuard(agent.min_speech_ms, agent.turn_detection.end_of_speech_ms)
        self.filler = FillerSound(agent.filler)
        self.in_session = self._on_line = self.agent_was_heard = False
        self._ear = GreetingEar(listens=agent.listen_during_greeting)

    @property
    def media_ms(self) -> int:
        """Media time of the call so far."""
        return self.uplink.media_end_ms

    @property
    def quiet(self) -> bool:
        """Nobody speaks and nobody is about to."""
        caller = self._hears_speech or self.floor.caller_has_it
        return not (caller or self.playback.active or self.gate.busy or self.actions.busy)

    def caller_audio(self, t_ms: int, ulaw: bytes, now: float) -> list[Command]:
        """The caller's audio, towards the model."""
        audio = self.uplink.push(t_ms, ulaw, now)
        commands = [*([SendToModel(AppendAudio(audio))] if audio else []), *self._decide(now)]
        if self.filler.is_waiting and self.filler.caller_voice(ulaw):
            commands += self.filler.cleared(self.playback, now)
        return commands

    def session_opened(self, now: float, *, deaf: bool) -> tuple[list[Command], int | None, int]:
        """A session is configured; a `deaf` one does not look for turns yet, and is told of the call so far.

        It listens from now on, or once the greeting was heard.
        Return also the media time of the first audio that it got, and how many items it was told.
        """
        created: list[CreateItem] = []
        self.in_session = True
        if self.floor.hear_again_ms is not None:
            self.conversation.heard_again(self.floor.hear_again_ms)
            self.uplink.told_ms = min(self.uplink.told_ms, self.floor.session_opened() + UNNOTICED_MS)
        if deaf:
            self.conversation.remember_callers()
            created = self.conversation.history.replay(self.gate.event_id, self.uplink.between)
        self._beliefs.session_opened(created)
        self.actions.session_opened()
        commands: list[Command] = [*map(SendToModel, created), *self.gate.open(now)]
        if self._ear.is_covered:
            return commands, None, len(created)
        listening, media_start_ms = self._listen(self.floor.hear_again_ms, deaf=deaf)
        return [*commands, *listening], media_start_ms, len(created)

    def session_closed(self, now: float) -> list[Command]:
        """The session is gone: work out what the next one owes; what Twilio holds plays on."""
        self.uplink.close()
        self.in_session = self._ear.is_covered = False
        broke_off, commands = self.playback.incomplete(), self.playback.finish_all(now)
        playing = self.playback.generated_ms()
        commands += [*map(Record, self.conversation.session_lost(playing)), *self._heard()]
        self._beliefs.session_closed(playing)
        self._owe(now, broke_off=broke_off)
        commands += self.actions.session_closed(now)
        self._guard.session_lost()
        return commands

    def greet(self, now: float) -> list[Command]:
        """Let the agent speak first, unless the caller already did and is being answered."""
        if self.gate.active is not None or self.playback.active:
            return []
        self._ear.greeted(now)
        return self.gate.request(Wish.GREETING, now, self._agent.greeting)

    def mark_played(self, name: str, now: float) -> list[Command]:
        """Twilio played everything up to this mark."""
        commands = self.playback.mark_played(name, now)
        if commands is None:
            return [Count(Measure.STALE_MARK)]
        self.agent_was_heard = True
        return [*commands, *self._heard()]

    def line_measured(self, twilio_rtt_ms: float | None, bus_rtt_ms: float | None) -> None:
        """The gateway measured the hops around it."""
        self.playback.round_trip_ms = self._clock.line_measured(twilio_rtt_ms, bus_rtt_ms)

    def suspend(self, now: float, *, for_good: bool = False, may_return: bool = False) -> list[Command]:
        """There is no line: what Twilio held and the caller did not hear is said on the next one, if there is one.

        One that `may_return` may hold it still.
        """
        self.playback.lose_line(now)
        self.gate.hold()
        commands = self.actions.line_lost(now)
        self._on_line = False
        self.filler.stop(now)
        return commands if may_return else [*commands, *self._lose_unheard(now, for_good=for_good)]

    def resume(self, now: float, *, same_stream: bool = False) -> list[Command]:
        """A stream is there, or the one before after all: go on where the line broke, if one did."""
        if not same_stream:
            self.uplink.start_stream()
        commands = [] if same_stream else self._lose_unheard(now, for_good=False)
        self.actions.line_opened()
        self._on_line = True
        return [*commands, *self.playback.release(now), *self.gate.release(now)]

    def bus_changed(self, now: float, *, is_up: bool) -> list[Command]:
        """The way to the gateway broke, where what is sent is lost, or is there again."""
        self.uplink.is_delayed = not is_up
        if not is_up:
            self.playback.hold()
        return self.playback.release(now) if is_up and self._on_line else []

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        fill_at = self.uplink.fill_at() if self._hears_speech else None
        return earliest(fill_at, self._ear.wake_at(), self.conversation.due_at(), self.gate.wake_at())

    def tick(self, now: float) -> list[Command]:
        """Do what time alone demands."""
        commands: list[Command] = [*map(Record, self.conversation.overdue(now))]
        if self._hears_speech:
            silence = self.uplink.fill(now)
            if silence:
                commands.append(SendToModel(AppendAudio(silence)))
        return [*commands, *self._decide(now), *self.gate.tick(now)]

    def settle(self, now: float) -> list[Command]:
        """Do what follows from where the talk now is: listen after the greeting, fill a silence that is ours."""
        commands: list[Command] = []
        if self.in_session and self._ear.is_due(now, heard=not (self.gate.busy or self.playback.active)):
            self._ear.is_covered = False
            commands, _ = self._listen(self.uplink.media_end_ms - LISTEN_BACK_MS, deaf=True)
        owes = self._on_line and (self.floor.owes or self.gate.wanted is not None)
        if owes and not self.playback.active and not self._hears_speech:
            self.filler.wait(now, trouble=not self.in_session or self.gate.retries)
            commands += self.filler.fill(self.playback.generation, now)
        else:
            self.filler.end()
        return commands

    def close(self, now: float) -> list[Command]:
        """The call is over: record what was heard of what was playing, and all unwritten turns."""
        commands = self.actions.close(now)
        if self.playback.active:
            for cut in self.playback.interrupt(now):
                commands += [*map(Record, self.conversation.agent_cut(cut, self.uplink.media_end_ms))]
        commands += [*map(Record, self.conversation.close(self.uplink.media_end_ms))]
        return [*commands, *self.uplink.counts()]

    def on_model(self, event: events.ModelEvent, now: float) -> list[Command]:
        """Apply what the open session says."""
        assert not isinstance(event, events.LinkEvent), "the call handles its link to the model itself"
        if not isinstance(event, events.ItemAdded):  # a replayed one says nothing of the audio behind it
            self.uplink.told_ms = self.media_ms
        match event:
            case events.AudioDelta(_, response_id, item_id, audio):
                return self._on_audio(response_id, item_id, audio, now)
            case events.SpokenText(_, item_id, text, final):
                return [*map(Record, self.conversation.agent_said(item_id, text, final=final))]
            case events.AudioDone(_, _, item_id):
                return [*self.playback.finish(item_id, now), *self._heard()]
            case events.SpeechStarted(_, item_id, audio_start_ms):
                return self._on_speech_started(item_id, audio_start_ms, now)
            case events.SpeechStopped(_, item_id, audio_end_ms):
                return self._on_speech_stopped(item_id, audio_end_ms, now)
            case events.SilenceCommitted():
                self._clock.speech_started()
                # Whether the model answers it by itself is not documented where it answers nothing else.
                return self.gate.request(Wish.PROMPT, now) if self._guard.is_on else []
            case events.ItemAdded(_, item_id, role):
                self.gate.added(item_id)
                if self._guard.forgets(item_id):
                    return [self._beliefs.delete(item_id)]
                self.conversation.added(item_id, role, self.gate.active or "")
            case events.CallerText(_, item_id, text, usage):
                used = [] if usage is None else [Record(self.spend.on_transcription(usage))]
                return [*map(Record, self.conversation.caller_said(item_id, text)), *used]
            case events.ResponseCreated(_, response_id):
                self.gate.created(response_id, now)
                if self.floor.speaking_item is not None and self.gate.gives_way:
                    # Asked for just before the caller began: it does not know their words.
                    return self.gate.cancel()
            case events.ResponseDone():
                return self._on_response_done(event, now)
            case events.ToolCalled(_, response_id):
                interrupted = self.gate.ignores(response_id)
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
        return []

    def _on_audio(self, response_id: str, item_id: str, audio: bytes, now: float) -> list[Command]:
        if self.gate.ignores(response_id) or self.gate.is_over(response_id):
            return [Count(Measure.LATE_DELTA)]
        self.floor.answered()
        self.gate.spoke(response_id, now)
        position = self.conversation.agent_started(item_id, response_id, self.uplink.media_end_ms)
        commands = self.filler.cleared(self.playback, now)
        commands += [*self.playback.receive(response_id, item_id, audio, now), *self._heard()]
        latency = self._clock.answered(item_id, position, now)
        if latency is not None:
            commands.append(RecordLatency(latency))
        return commands

    def _on_speech_started(self, item_id: str, audio_start_ms: int, now: float) -> list[Command]:
        start_ms = self.uplink.media_ms(audio_start_ms)
        if self._guard.is_on and self.playback.audible:
            self._guard.doubted(item_id, start_ms, self.uplink.given_ms)
            return self._decide(now)
        return self._begin_turn(item_id, start_ms, now)

    def _decide(self, now: float) -> list[Command]:
        """Let speech over the agent's voice become a turn, if it is more than a cough."""
        doubt = self._guard.doubt
        if doubt is None:
            return []
        caller = self.uplink.heard_since(doubt.start_ms)
        if self.playback.audible and not self._guard.is_speech(caller, self.uplink.given_ms):
            return []
        self._guard.believed()
        return self._begin_turn(doubt.item_id, doubt.start_ms, now)

    def _begin_turn(self, item_id: str, start_ms: int, now: float) -> list[Command]:
        self.floor.speaking_item = item_id
        self._clock.speech_started()
        self.gate.caller_started()
        self.conversation.caller_started(item_id, start_ms)
        commands = [*self.filler.cleared(self.playback, now), *self.actions.caller_spoke(now)]
        self.gate.ignore_active()
        if self.playback.active:
            self.interruptions += 1
            commands += [*self._cut(now, cancel=self._guard.is_on), *Count.barge_in(self.media_ms - start_ms)]
        elif self._guard.is_on:
            commands += self.gate.cancel()
        return commands

    def _on_speech_stopped(self, item_id: str, audio_end_ms: int, now: float) -> list[Command]:
        commands = self._decide(now)
        self.floor.taken_ms = taken_ms = self.uplink.media_ms(audio_end_ms)
        if self._guard.doubt is not None and self._guard.doubt.item_id == item_id:
            self._guard.ignored()
            return [*commands, Count(Measure.SHORT_SPEECH)]
        self.floor.caller_stopped(item_id, taken_ms)
        self._clock.speech_stopped(now)
        self.conversation.caller_stopped(item_id, taken_ms, now)
        return [*commands, *self.gate.caller_stopped(now, asks=self._guard.is_on)]

    @property
    def _hears_speech(self) -> bool:
        return self.floor.speaking_item is not None or self._guard.doubt is not None

    def _listen(self, since_ms: int | None, *, deaf: bool) -> tuple[list[Command], int | None]:
        commands: list[Command] = []
        if deaf:
            event_id = self.gate.event_id("listen")
            commands.append(SendToModel(SetTurnDetection(event_id, self._agent.listening())))
        audio, media_start_ms = self.uplink.open(since_ms)
        if audio:
            commands.append(SendToModel(AppendAudio(audio)))
        return commands, media_start_ms

    def _acted(self, response_id: str) -> None:
        """A response called a tool, which answers the turn: a next session that did again would act twice."""
        self.floor.unanswered_item = None
        self.gate.acted(response_id)

    def _cut(self, now: float, *, cancel: bool = False) -> list[Command]:
        cuts = self.playback.interrupt(now)
        commands: list[Command] = [ClearPlayback(self.playback.generation)]
        if cancel:
            commands += self.gate.cancel()
        for cut in cuts:
            turns = self.conversation.agent_cut(cut, self.uplink.media_end_ms)
            if self.in_session:
                commands += self._beliefs.correct(cut)
            commands += [*map(Record, turns)]
        return commands

    def _lose_unheard(self, now: float, *, for_good: bool) -> list[Command]:
        if not self.playback.is_cut_off:
            return []
        if not for_good and self.playback.rewind():
            return [ClearPlayback(self.playback.generation)]
        return [*self._cut(now, cancel=True), *self.gate.request(Wish.ANSWER, now)]

    def _on_response_done(self, event: events.ResponseDone, now: float) -> list[Command]:
        if self.gate.is_over(event.response_id):
            return []
        interrupted, spoke = self.gate.ignores(event.response_id), self.gate.has_spoken(event.response_id)
        if event.tool_calls and not interrupted:
            self._acted(event.response_id)
        # One that ended before our cancel reached it is "completed", and was not heard to its end all the same.
        cut_off = event.status != "completed" or interrupted
        commands: list[Command] = []
        if event.status in {"failed", "cancelled"}:
            self._ear.greeting_failed(now)
        if event.status == "failed":
            self.floor.owes = False  # unless it is asked for again, which the gate knows
            commands.append(Count(Measure.RESPONSE_FAILED, detail=event.reason))
        commands += [*self.playback.finish_response(event.response_id, now), *self._heard()]
        if cut_off:
            unheard = self.conversation.unheard_items(event.response_id)
            commands += [self._beliefs.delete(item_id) for item_id in unheard]
        commands += [*map(Record, self.conversation.response_done(event.response_id, cut_off=cut_off))]
        commands += [] if event.usage is None else [Record(self.spend.on_response(event.usage))]
        commands += self.gate.done(event, now)
        return commands + self.actions.response_done(
            event, self.media_ms, now, interrupted=interrupted, spoke=spoke
        )

    def _owe(self, now: float, *, broke_off: bool) -> None:
        """Leave to the next session what the lost one did not do."""
        owed = self.owed(broke_off=broke_off)
        self.gate.lost()
        self.floor.session_lost(owed.hear_again_ms)
        if owed.request is not None:
            self.gate.request(owed.request.wish, now, owed.request.order)

    def owed(self, *, broke_off: bool, told_ms: int = 0) -> Debt:
        """Return what the session in use would leave to the next one; `broke_off`: in mid-answer."""
        turn, taken_ms = self.conversation.last_turn(self.floor), self.floor.taken_ms
        go_on = Request(Wish.CONTINUE, CONTINUE) if broke_off else None
        told_ms = max(told_ms, self.uplink.told_ms)
        doubt_ms = None if self._guard.doubt is None else self._guard.doubt.start_ms
        return debt(turn, self.gate.owed(), go_on, told_ms, taken_ms).heard_from(doubt_ms)

    def _heard(self) -> list[Command]:
        return [
            Record(turn)
            for item in self.playback.take_heard()
            for turn in self.conversation.agent_heard(item.item_id, item.generated_ms, self.media_ms)
        ]
