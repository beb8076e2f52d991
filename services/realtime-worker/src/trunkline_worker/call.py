"""Pure: the rules of one call.

All that changes a call's state is in this file, in `model_link.py` and in `dialogue.py`; none knows of clocks or NATS.
`handle(event, now)` applies one event and returns everything that follows from it, in order; `wake_at()` tells when the
next `Tick` is due. `now` is a monotonic time in seconds.

Its states are in `call_life.py`. The link to the model lives beside them (`model_link.py`): a session is opened as soon
as the call is offered, while Twilio is still setting up the stream.
"""

import zlib
from typing import Final

from trunkline_common.call_events import CallAttached, CallStarted, DtmfReceived
from trunkline_common.control import NextStep
from trunkline_common.verdict import Verdict
from trunkline_worker import agent_tools, events
from trunkline_worker.absence import Absence
from trunkline_worker.agent import Agent
from trunkline_worker.call_life import (
    GATEWAY_SILENCE_S,
    LINGER_S,
    OFFER_S,
    ORPHAN_S,
    OURS,
    SESSION_MAX_S,
    STOPPED_FOR_GOOD,
    State,
    ended,
)
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import Command, Finish, HangUp, LetGo, Record
from trunkline_worker.custody import Custody
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.due import earliest
from trunkline_worker.limits import LimitWatch, Moment
from trunkline_worker.model_link import STAND_BY_S, Link, ModelLink
from trunkline_worker.prices import NO_PRICES, PriceList
from trunkline_worker.resample import ResamplerKind
from trunkline_worker.rescue import Rescue
from trunkline_worker.spend import Spend

_NO_SIGNS: Final = (events.Attached, events.Owned, events.StreamStopped)
"""What comes from a gateway and is no sign of the stream before."""


class Call:
    """One call, from the offer to its verdict."""

    def __init__(
        self,
        call_id: str,
        caller: str,
        called: str,
        worker: str,
        agent: Agent,
        resampler: ResamplerKind,
        session_max_s: float = SESSION_MAX_S,
        prices: PriceList = NO_PRICES,
    ) -> None:
        self.state = State.OFFERED
        self._started = CallStarted(caller=caller, called=called, agent=agent.name, worker=worker)
        self._dialogue = Dialogue(agent, resampler, call_id, prices)
        share = max(zlib.crc32(call_id.encode()) % 1000, 1) / 1000
        self._model = ModelLink(agent, self._dialogue, share, session_max_s)
        self._deadline: float | None = None
        """End of OFFERED, ORPHANED, LEAVING or LINGERING."""
        self._absence: Absence | None = None
        self._rescue = Rescue()
        self._verdict = Verdict.NEVER_ATTACHED
        self._gateway_heard_at = 0.0
        self._limits = LimitWatch(agent.limits, self._dialogue.gate)
        self._custody = Custody(worker, self._dialogue, self._limits)

    @property
    def link(self) -> Link:
        """Where the link to the model is."""
        return self._model.state

    @property
    def duration_ms(self) -> int:
        """Media time of the call so far."""
        return self._dialogue.media_ms

    @property
    def spend(self) -> Spend:
        """What the call has cost so far."""
        return self._dialogue.spend

    @property
    def interruptions(self) -> int:
        """How often the caller interrupted so far."""
        return self._dialogue.interruptions

    def start(self, now: float) -> list[Command]:
        """Begin with the offer: open a session before the stream is there."""
        self._deadline = now + OFFER_S
        return [Record(self._started), *self._model.start(now)]

    def stand_by(self, now: float, limit_s: float = STAND_BY_S) -> list[Command]:
        """Get ready to go on with a call that another worker owns, or owned."""
        self.state = State.STANDING_BY
        self._deadline = now + limit_s
        return [Record(self._started), *self._model.stand_by(now)]

    def start_again(self, known: Checkpoint, now: float) -> list[Command]:
        """Begin with the offer of a call that had an owner before, of which only the log is left."""
        if not known.greeted:
            return self.start(now)
        self._deadline = now + OFFER_S
        return [Record(self._started), *self._custody.take_up(known, now), *self._model.resume(now)]

    def wake_at(self) -> float | None:
        """Return when the next `Tick` is due, if one is."""
        if self.state is State.ENDED:
            return None
        dialogue_at = self._dialogue.wake_at() if self._model.is_open else None
        silence_at = self._gateway_heard_at + GATEWAY_SILENCE_S if self.state is State.TALKING else None
        return earliest(
            self._deadline,
            self._model.wake_at(),
            silence_at,
            self._rescue.wake_at() if self.state is State.ORPHANED else None,
            dialogue_at,
            self._dialogue.filler.wake_at(),
            self._dialogue.actions.wake_at(),
            self._limits.wake_at() if self.state is State.TALKING else None,
            self._custody.wake_at() if self.state is State.TALKING else None,
        )

    def handle(self, event: events.Event, now: float) -> list[Command]:
        """Apply one event and return everything that follows from it."""
        if self.state is State.ENDED:
            return []
        if isinstance(event, events.CallerAudio) and self.state is not State.ORPHANED:
            # Fifty times a second: it changes neither the call's state nor its link to the model.
            self._gateway_heard_at = now
            return self._dialogue.caller_audio(event.t_ms, event.ulaw, now)
        commands = [*self._hear_again(event, now), *self._apply(event, now)]
        if self.state is State.STANDING_BY:
            return commands
        if self.state is State.TALKING:
            commands += self._leave_if_heard(now)
        if self.state is State.TALKING:
            commands += self._mind_limits(now)
        if self.state not in {State.LINGERING, State.ENDED}:
            commands += self._model.take_over_if_quiet(now)
            if self._dialogue.gate.gave_up and not self._rings:
                commands += self._hang_up(Verdict.RATE_LIMITED, now)
        if self.state not in {State.LINGERING, State.ENDED}:
            commands += self._dialogue.settle(now)
        if self.state is State.LINGERING and not self._dialogue.conversation.waits_for_words():
            commands += self._end(now)
        if self.state is State.TALKING:
            if self._custody.lets_go(now):
                return [*commands, self._custody.last_words(), *self._let_go("another worker goes on")]
            commands += self._custody.tell(now)
        return commands

    def _apply(self, event: events.Event, now: float) -> list[Command]:
        if isinstance(event, events.GatewayEvent):
            self._gateway_heard_at = now
        match event:
            case events.CallerAudio(t_ms, ulaw):
                return self._dialogue.caller_audio(t_ms, ulaw, now)
            case events.MarkPlayed(name):
                return self._dialogue.mark_played(name, now)
            case events.Attached(gateway, stream_sid):
                return self._on_attached(gateway, stream_sid, now)
            case events.KeyPressed(digit):
                self._custody.signs += 1
                pressed = Record(DtmfReceived(at_ms=self.duration_ms))
                return [pressed, *self._dialogue.actions.key_pressed(digit, now)]
            case events.ToolReturned():
                return self._dialogue.actions.returned(event, now)
            case events.Dialed(status):
                return self._on_dialed(status, now)
            case events.StreamStopped():
                return self._on_stream_stopped(event, now)
            case events.LineMeasured(twilio_rtt_ms, bus_rtt_ms):
                self._dialogue.line_measured(twilio_rtt_ms, bus_rtt_ms)
                return []
            case events.PlaybackLost(number, mark):
                return self._dialogue.playback.send_again(number, mark, now)
            case events.RedirectAnswered(answer):
                self._rescue.answered(answer, now)
                return []
            case events.OverAtTwilio():
                return self._on_over_at_twilio(now)
            case events.Tick():
                return self._on_tick(now)
            case events.WorkerStopping():
                return self._hang_up(Verdict.WORKER_STOPPED, now)
            case events.Owned():
                return self._on_owned(event, now)
            case events.YieldAsked():
                self._custody.yield_soon(now)
                return []
            case events.BusChanged(is_up):
                return self._dialogue.bus_changed(now, is_up=is_up)
            case _:
                return self._on_model(event, now)

    # --- From worker to worker

    def _on_owned(self, owned: events.Owned, now: float) -> list[Command]:
        if self.state is not State.STANDING_BY:
            return []
        self.state = State.TALKING
        self._deadline, self._gateway_heard_at = None, now
        same_stream = owned.known.stream_shift_ms is not None
        commands = [*self._custody.take_over(owned, now), *self._model.go(now)]
        commands += [*self._dialogue.resume(now, same_stream=same_stream), *self._greet_once(now)]
        return [*commands, *self._unless_lost(now)]

    def _let_go(self, why: str) -> list[Command]:
        self.state = State.ENDED
        return [*self._model.close(), LetGo(why)]

    # --- Twilio's side

    def _on_attached(self, gateway: str, stream_sid: str, now: float) -> list[Command]:
        if self.state is State.LINGERING:
            return [HangUp(NextStep.HANG_UP)]
        commands: list[Command] = [Record(CallAttached(gateway=gateway, stream_sid=stream_sid))]
        if self.state is State.TALKING:
            # The gateway of the old stream died without a word.
            commands += self._dialogue.suspend(now)
        self.state = State.TALKING
        self._deadline = None
        self._custody.stay()
        commands += [*self._rescue.ended("attached", now), *self._come_back(now)]
        commands += [*self._dialogue.resume(now), *self._greet_once(now)]
        return [*commands, *self._unless_lost(now)]

    def _on_stream_stopped(self, event: events.StreamStopped, now: float) -> list[Command]:
        verdict = STOPPED_FOR_GOOD.get(event.reason)
        if verdict is Verdict.CALLER_HUNG_UP and self._rescue.is_moving(now):
            # It was redirected, or the caller hung up: then Twilio says so when it is asked again.
            self._rescue.caller_stopped = True
            verdict = None
        if self.state is State.LINGERING or (self.state is State.LEAVING and verdict is None):
            return []
        may_return = verdict is None and not event.is_certain
        commands = self._dialogue.suspend(now, for_good=verdict is not None, may_return=may_return)
        if verdict is None:
            if self.state is not State.ORPHANED:
                self.state, self._deadline = State.ORPHANED, now + ORPHAN_S
                self._rescue.stream_lost(now)
            return commands
        return [*commands, *self._linger(verdict, now)]

    def _hear_again(self, event: events.Event, now: float) -> list[Command]:
        """Go on when a stream that was taken for lost is heard: its gateway was only slow.

        Not while Twilio is moving the call: then it is what was on its way. Nothing of a stream comes after its stop.
        """
        is_frame = isinstance(event, events.GatewayEvent) and not isinstance(event, _NO_SIGNS)
        if not is_frame or self.state is not State.ORPHANED or self._absence or self._rescue.is_moving(now):
            return []
        self.state, self._deadline = State.TALKING, None
        heard = self._rescue.ended("heard-again", now)
        return [*heard, *self._dialogue.resume(now, same_stream=True), *self._greet_once(now)]

    def _on_over_at_twilio(self, now: float) -> list[Command]:
        if self.state is not State.ORPHANED:
            return []  # a stream came meanwhile, and its end will be told
        hung_up = self._rescue.caller_stopped
        return self._linger(Verdict.CALLER_HUNG_UP if hung_up else Verdict.STREAM_LOST, now)

    def _greet_once(self, now: float) -> list[Command]:
        if self._custody.greeted or self.state is not State.TALKING or not self._model.is_open:
            return []
        self._custody.greeted = True
        return self._dialogue.greet(now)

    # --- What the agent asked for at the end of its words

    def _leave_if_heard(self, now: float) -> list[Command]:
        departure = self._dialogue.actions.departure(now)
        if departure is None:
            return []
        commands = self._dialogue.suspend(now, for_good=True)
        if departure.tool == agent_tools.END_CALL:
            return [*commands, HangUp(NextStep.HANG_UP), *self._linger(Verdict.AGENT_HUNG_UP, now)]
        self.state = State.LEAVING
        self._absence = Absence(departure, now)
        self._deadline = self._absence.deadline
        self._model.caller_is_away(self._deadline)
        return [*commands, *self._absence.begin(self.duration_ms)]

    def _on_dialed(self, status: str, now: float) -> list[Command]:
        if self._absence is None or not self._rings:
            return []
        commands, answered = self._absence.dialed(status, self.duration_ms, now)
        if answered:
            self._verdict = Verdict.TRANSFERRED
            return [*commands, *self._end(now)]
        self.state = State.ORPHANED
        self._deadline = self._absence.deadline
        self._model.caller_is_back(now)
        return [*commands, *self._unless_lost(now)]

    @property
    def _rings(self) -> bool:
        """Twilio dials: the caller does not need the model meanwhile, and perhaps not any more."""
        return self.state is State.LEAVING and self._absence is not None and self._absence.rings

    def _come_back(self, now: float) -> list[Command]:
        absence, self._absence = self._absence, None
        if absence is None:
            return []
        self._model.caller_is_back(now)
        commands, text, answer = absence.back(self.duration_ms)
        return [*commands, *self._dialogue.actions.tell(text, now, answer=answer)]

    def _mind_limits(self, now: float) -> list[Command]:
        moment = Moment(
            quiet=self._model.is_open and self._dialogue.quiet,
            signs=self._custody.signs,
            cost_usd=self.spend.total_usd,
            refused_tools=self._dialogue.actions.refused_tools,
            media_ms=self.duration_ms,
        )
        commands, verdict = self._limits.step(moment, now)
        if verdict is None:
            return commands
        following = self._dialogue.suspend(now, for_good=True)
        return [*commands, *following, HangUp(NextStep.HANG_UP), *self._linger(verdict, now)]

    # --- The model's side

    def _on_model(self, event: events.ModelEvent, now: float) -> list[Command]:
        if isinstance(event, events.SpeechStarted):
            self._custody.signs += 1
        commands = self._model.handle(event, now)
        return [*commands, *self._unless_lost(now), *self._greet_once(now)]

    def _unless_lost(self, now: float) -> list[Command]:
        """End the call when there is no model any more."""
        if self.state is State.LINGERING and not self._model.is_open:
            return self._end(now)
        if self.state is State.STANDING_BY and self._model.verdict is not None:
            return self._let_go(self._model.verdict.reason)
        if self._model.verdict is None or self._rings:
            return []
        return self._hang_up(self._model.verdict, now)

    # --- Time and endings

    def _on_tick(self, now: float) -> list[Command]:
        commands = self._dialogue.actions.tick(now)
        commands += self._model.tick(now)
        commands += self._unless_lost(now)
        if self.state is State.ENDED:
            return commands
        if self.state is State.TALKING and now >= self._gateway_heard_at + GATEWAY_SILENCE_S:
            return commands + self._hang_up(Verdict.GATEWAY_LOST, now)
        if self.state is State.ORPHANED:
            commands += self._rescue.tick(now)
        if self._deadline is not None and now >= self._deadline:
            match self.state:
                case State.STANDING_BY:
                    return [*commands, *self._let_go("it was not needed")]
                case State.OFFERED | State.LINGERING:
                    return commands + self._end(now)
                case State.ORPHANED | State.LEAVING:
                    self._verdict = Verdict.STREAM_LOST
                    if self._absence is not None:
                        following, self._verdict = self._absence.overdue(self.duration_ms)
                        commands += following
                    return commands + self._end(now)
        return commands + (self._dialogue.tick(now) if self._model.is_open else [])

    def _hang_up(self, verdict: Verdict, now: float) -> list[Command]:
        """Give the caller back to Twilio, which hears the fallback from the gateway."""
        if self.state is State.STANDING_BY:
            return self._let_go(verdict.reason)
        if self.state in {State.LINGERING, State.ENDED}:
            return self._end(now)
        self._verdict = verdict
        return [HangUp(NextStep.FALLBACK), *self._end(now)]

    def _linger(self, verdict: Verdict, now: float) -> list[Command]:
        if verdict is Verdict.CALLER_HUNG_UP and not self._dialogue.agent_was_heard:
            verdict = Verdict.CALLER_LEFT_EARLY
        self._verdict = verdict
        self.state = State.LINGERING
        self._deadline = now + LINGER_S
        commands = [*self._model.keep_no_longer(), *self._dialogue.actions.close(now)]
        return commands if self._model.is_open else commands + self._end(now)

    def _end(self, now: float) -> list[Command]:
        if self.state is State.ENDED:
            return []
        commands = [*self._dialogue.close(now), *self._model.close(), *self._rescue.ended("over", now)]
        self.state = State.ENDED
        end = ended(self._verdict, self.duration_ms, self.interruptions)
        next_step = NextStep.FALLBACK if self._verdict in OURS else NextStep.HANG_UP
        return [*commands, Record(end), Finish(self._verdict, next_step)]
