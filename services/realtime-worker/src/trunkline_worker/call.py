"""Pure: the rules of one call.

All that changes a call's state is in this file and in `dialogue.py`; neither knows of sockets, clocks or NATS.
`handle(event, now)` applies one event and returns everything that follows from it, in order; `wake_at()` tells
when the next `Tick` is due. `now` is a monotonic time in seconds.

The life of a call:

    OFFERED ──Attached──▶ TALKING ──stream lost──▶ ORPHANED ──Attached──▶ TALKING
       │                     │                        │
       └────── too long ─────┴── caller hung up ──────┴──── too long ───▶ LINGERING ──▶ ENDED

LINGERING lasts only while the caller's last words are still being transcribed. The link to the model lives
beside it: a session is opened as soon as the call is offered, while Twilio is still setting up the stream.
"""

import zlib
from enum import Enum
from typing import Final

from trunkline_common.call_events import (
    CallAttached,
    CallEnded,
    CallStarted,
    DtmfReceived,
    ModelConnected,
    ModelLost,
    Verdict,
)
from trunkline_common.control import NextStep, StopReason
from trunkline_worker import events, realtime_api, realtime_refusals
from trunkline_worker.agent import Agent
from trunkline_worker.commands import (
    CloseSession,
    Command,
    ConfigureSession,
    Count,
    Finish,
    HangUp,
    Measure,
    OpenSession,
    Record,
    SendToModel,
)
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.resample import ResamplerKind

OFFER_S: Final = 60.0
"""Twilio attaches within a few seconds, or the call is gone. Not shorter than a stream's token lives: a stream
that comes late must not find the call ended."""

ORPHAN_S: Final = 30.0
"""How long a call waits for Twilio to attach it again after its stream broke."""

GATEWAY_SILENCE_S: Final = 30.0
"""A gateway sends something about every stream at least once a second, even when the caller's audio pauses. So
long without a word, it is gone, and Twilio did not bring the call to another one."""

SETUP_S: Final = 2.0
"""Socket, session.created and session.updated together, in each try; the caller hears nothing meanwhile, and
after three tries the fallback."""

SESSION_TRIES_MAX: Final = 3
RETRY_S: Final = 0.25
"""Wait before the second try; doubled for the third. Up to as much again is added, fixed per call, so that
calls that lost their sessions together do not come back together."""

LINGER_S: Final = 3.0
"""The last transcript is worth this wait; the caller is gone."""


class State(Enum):
    """Where a call is in its life."""

    OFFERED = "offered"
    TALKING = "talking"
    ORPHANED = "orphaned"
    LINGERING = "lingering"
    ENDED = "ended"


class Link(Enum):
    """The link to the model."""

    CONNECTING = "connecting"
    CONFIGURING = "configuring"
    OPEN = "open"
    WAITING = "waiting"
    """Lost; the next try is due at `_link_due_at`."""
    CLOSED = "closed"


_STOPPED_FOR_GOOD: Final = {
    StopReason.CALLER_HUNG_UP: Verdict.CALLER_HUNG_UP,
    StopReason.BAD_STREAM: Verdict.BAD_STREAM,
}
"""Every other reason leaves the caller on the line: Twilio may attach the call again."""

_OURS: Final = {Verdict.MODEL_LOST, Verdict.MODEL_REFUSED, Verdict.WORKER_STOPPED, Verdict.GATEWAY_LOST}
"""The caller did not want the end: Twilio is told to say so."""


class Call:
    """One call, from the offer to its verdict."""

    def __init__(
        self, call_id: str, caller: str, called: str, worker: str, agent: Agent, resampler: ResamplerKind
    ) -> None:
        self.state = State.OFFERED
        self.link = Link.CLOSED
        self._started = CallStarted(caller=caller, called=called, agent=agent.name, worker=worker)
        self._agent = agent
        self._dialogue = Dialogue(agent, resampler)
        self._jitter = zlib.crc32(call_id.encode()) % 1000 / 1000
        self._deadline: float | None = None
        """End of OFFERED, ORPHANED or LINGERING."""
        self._verdict = Verdict.NEVER_ATTACHED
        self._session = 0
        self._session_id = ""
        self._session_tries = 0
        self._session_asked_at = 0.0
        self._link_due_at: float | None = None
        self._gateway_heard_at = 0.0
        self._greeted = False

    @property
    def duration_ms(self) -> int:
        """Media time of the call so far."""
        return self._dialogue.media_ms

    @property
    def interruptions(self) -> int:
        """How often the caller interrupted so far."""
        return self._dialogue.interruptions

    def start(self, now: float) -> list[Command]:
        """Begin with the offer: open a session before the stream is there."""
        self._deadline = now + OFFER_S
        return [Record(self._started), *self._open_session(now)]

    def wake_at(self) -> float | None:
        """Return when the next `Tick` is due, if one is."""
        if self.state is State.ENDED:
            return None
        dialogue_at = self._dialogue.wake_at() if self.link is Link.OPEN else None
        silence_at = self._gateway_heard_at + GATEWAY_SILENCE_S if self.state is State.TALKING else None
        times = [at for at in (self._deadline, self._link_due_at, silence_at, dialogue_at) if at is not None]
        return min(times, default=None)

    def handle(self, event: events.Event, now: float) -> list[Command]:
        """Apply one event and return everything that follows from it."""
        if self.state is State.ENDED:
            return []
        if isinstance(event, events.CallerAudio):
            # Fifty times a second: nothing else can follow from it, and nothing of it is recorded.
            self._gateway_heard_at = now
            return self._dialogue.caller_audio(event.t_ms, event.ulaw, now)
        commands = self._apply(event, now)
        if self.state is State.LINGERING and not self._dialogue.waits_for_words():
            commands += self._end(now)
        return commands

    def _apply(self, event: events.Event, now: float) -> list[Command]:
        if isinstance(event, events.GatewayEvent):
            self._gateway_heard_at = now
        match event:
            case events.MarkPlayed(name):
                return self._dialogue.mark_played(name, now)
            case events.Attached(gateway, stream_sid):
                return self._on_attached(gateway, stream_sid, now)
            case events.KeyPressed():
                return [Record(DtmfReceived(at_ms=self._dialogue.media_ms))]
            case events.StreamStopped(reason):
                return self._on_stream_stopped(reason, now)
            case events.LineMeasured(twilio_rtt_ms, bus_rtt_ms):
                self._dialogue.line_measured(twilio_rtt_ms, bus_rtt_ms)
                return []
            case events.Tick():
                return self._on_tick(now)
            case events.WorkerStopping():
                return self._hang_up(Verdict.WORKER_STOPPED, now)
            case events.CallerAudio():
                raise AssertionError("handled above")
            case _:
                return self._on_model(event, now)

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
        return [*commands, *self._dialogue.resume(now), *self._greet_once()]

    def _on_stream_stopped(self, reason: StopReason, now: float) -> list[Command]:
        if self.state is State.LINGERING:
            return []
        commands = self._dialogue.suspend(now)
        verdict = _STOPPED_FOR_GOOD.get(reason)
        if verdict is None:
            self.state = State.ORPHANED
            self._deadline = now + ORPHAN_S
            return commands
        if verdict is Verdict.CALLER_HUNG_UP and not self._dialogue.agent_was_heard:
            verdict = Verdict.CALLER_LEFT_EARLY
        return [*commands, *self._linger(verdict, now)]

    def _greet_once(self) -> list[Command]:
        if self._greeted or self.state is not State.TALKING or self.link is not Link.OPEN:
            return []
        self._greeted = True
        return self._dialogue.greet()

    # --- The model's side

    def _on_model(self, event: events.ModelEvent, now: float) -> list[Command]:
        if event.session != self._session or self.link in {Link.WAITING, Link.CLOSED}:
            return [Count(Measure.STALE_SESSION)]
        match event:
            case events.SessionLost(_, reason, fatal):
                return self._on_session_lost(reason, now, fatal=fatal)
            case events.SessionCreated(_, session_id):
                return self._on_session_created(session_id)
            case events.SessionConfigured(_, echo):
                return self._on_session_configured(echo, now)
            case events.ResponseDone(status="failed", reason=code) if code in realtime_refusals.FATAL_CODES:
                commands = self._dialogue.on_model(event, now) if self.link is Link.OPEN else []
                return commands + self._on_session_lost(code, now, fatal=True)
            case events.ModelError() if event.fatal or self.link is not Link.OPEN:
                return self._on_session_refused(event, now)
            case _ if self.link is Link.OPEN:
                return self._dialogue.on_model(event, now)
        return []

    def _open_session(self, now: float) -> list[Command]:
        self._session += 1
        self._session_tries += 1
        if self._session_tries == 1:
            self._session_asked_at = now
        self.link = Link.CONNECTING
        self._link_due_at = now + SETUP_S
        return [OpenSession(self._session)]

    def _on_session_created(self, session_id: str) -> list[Command]:
        if self.link is not Link.CONNECTING:
            return []
        self.link = Link.CONFIGURING
        self._session_id = session_id
        configure = ConfigureSession(f"configure_{self._session}", self._agent.session())
        return [SendToModel(configure)]

    def _on_session_configured(self, echo: dict[str, object], now: float) -> list[Command]:
        if self.link is not Link.CONFIGURING:
            return []
        self.link = Link.OPEN
        self._link_due_at = None
        self._session_tries = 0
        commands, media_start_ms = self._dialogue.session_opened()
        connected = ModelConnected(
            session=self._session,
            model=self._agent.model,
            session_id=self._session_id,
            connect_ms=(now - self._session_asked_at) * 1000,
            media_start_ms=media_start_ms,
        )
        differing = realtime_api.differences(self._agent.session(), echo)
        if differing:
            commands.append(Count(Measure.CONFIGURATION_DIFFERS, detail=" ".join(differing)))
        return [Record(connected), *commands, *self._greet_once()]

    def _on_session_refused(self, error: events.ModelError, now: float) -> list[Command]:
        if error.fatal or error.code in realtime_refusals.PASSING_CODES:
            return self._on_session_lost(error.code, now, fatal=error.fatal)
        reason = f"{realtime_refusals.CONFIGURATION_REJECTED}: {error.code} {error.param}".rstrip()
        return self._on_session_lost(reason, now, fatal=True)

    def _on_session_lost(self, reason: str, now: float, *, fatal: bool) -> list[Command]:
        was_open = self.link is Link.OPEN
        commands: list[Command] = [
            CloseSession(self._session),
            Record(ModelLost(session=self._session, reason=reason, fatal=fatal)),
        ]
        self._dialogue.session_closed()
        self.link = Link.CLOSED
        self._link_due_at = None
        if self.state is State.LINGERING:
            return commands + self._end(now)
        if was_open and not fatal:
            return commands + self._hang_up(Verdict.MODEL_LOST, now)
        if fatal or self._session_tries >= SESSION_TRIES_MAX:
            return commands + self._hang_up(Verdict.MODEL_REFUSED, now)
        self.link = Link.WAITING
        self._link_due_at = now + RETRY_S * self._session_tries * (1 + self._jitter)
        return commands

    # --- Time and endings

    def _on_tick(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self._link_due_at is not None and now >= self._link_due_at:
            if self.link is Link.WAITING:
                commands += self._open_session(now)
            else:
                commands += self._on_session_lost("setup-timeout", now, fatal=False)
        if self.state is State.TALKING and now >= self._gateway_heard_at + GATEWAY_SILENCE_S:
            return commands + self._hang_up(Verdict.GATEWAY_LOST, now)
        if self._deadline is not None and now >= self._deadline:
            match self.state:
                case State.OFFERED:
                    return commands + self._end(now)
                case State.ORPHANED:
                    self._verdict = Verdict.STREAM_LOST
                    return commands + self._end(now)
                case State.LINGERING:
                    return commands + self._end(now)
        return commands + (self._dialogue.tick(now) if self.link is Link.OPEN else [])

    def _hang_up(self, verdict: Verdict, now: float) -> list[Command]:
        """Give the caller back to Twilio, which hears the fallback from the gateway."""
        if self.state in {State.LINGERING, State.ENDED}:
            return self._end(now)
        self._verdict = verdict
        return [HangUp(NextStep.FALLBACK), *self._end(now)]

    def _linger(self, verdict: Verdict, now: float) -> list[Command]:
        self._verdict = verdict
        self.state = State.LINGERING
        self._deadline = now + LINGER_S
        return [] if self.link is Link.OPEN else self._end(now)

    def _end(self, now: float) -> list[Command]:
        if self.state is State.ENDED:
            return []
        commands = self._dialogue.close(now)
        if self.link not in {Link.CLOSED, Link.WAITING}:
            commands.append(CloseSession(self._session))
        self.link = Link.CLOSED
        self.state = State.ENDED
        ended = CallEnded(
            outcome=self._verdict.outcome,
            reason=self._verdict.reason,
            duration_ms=self.duration_ms,
            interruptions=self.interruptions,
            events_expected=0,
        )
        next_step = NextStep.FALLBACK if self._verdict in _OURS else NextStep.HANG_UP
        return [*commands, Record(ended), Finish(self._verdict, next_step)]
