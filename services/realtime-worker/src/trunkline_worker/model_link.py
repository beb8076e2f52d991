"""Pure: the call's link to the model, one session after another.

A session is opened with the offer, and replaced when it is lost or about to expire: OpenAI ends each after 60
minutes. A session that expires is replaced while it still serves: the next one is made ready beside it and takes
over at a moment when nobody speaks. A lost one is replaced as fast as the model allows, for a few seconds; then the
call cannot go on.

A first session is configured whole. A later one is configured deaf (no turn detection), told of the call so far,
and only then made to listen: otherwise the model would answer while it is being told. A first one is deaf, too, where
the agent does not listen during its greeting. When a deaf session is made to listen, the dialogue decides.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from trunkline_common.call_events import ModelConnected, ModelLost
from trunkline_common.verdict import Verdict
from trunkline_worker import events, realtime_api, realtime_refusals
from trunkline_worker.agent import Agent
from trunkline_worker.commands import (
    CloseSession,
    Command,
    ConfigureSession,
    Count,
    Measure,
    OpenSession,
    Record,
    SendToModel,
    SetTurnDetection,
    TellReady,
    UseSession,
)
from trunkline_worker.connect_limiter import DELAY_S_MAX
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.due import earliest

SETUP_S: Final = 2.0
"""Socket, session.created and session.updated together, in each try."""

RESTORE_S: Final = 6.0
"""From the loss of a session, or the offer: a caller who hears nothing for longer hangs up. Then the fallback.

Waiting for our own limit on connects is not the model's fault: by that it grows, once by `DELAY_S_MAX` at most.
"""

RETRY_S: Final = (0.25, 0.5, 1.0, 2.0)
"""Before each further try. The first is spread over all of its time, the others over the last quarter, by a share
that is the call's own: calls that lost their sessions together do not come back together."""

ROTATION_SPREAD: Final = 0.1
"""Calls that began together rotate over this share of the age limit."""

ROTATION_RETRY_S: Final = 20.0
QUIET_WAIT_S: Final = 120.0
"""A session that is ready to take over waits so long for a quiet moment, then it does not wait any more."""

QUIET_CHECK_S: Final = 0.5

TAKEN_OVER: Final = "taken-over"
"""Why the first session of a worker is opened that goes on with another's call."""

STAND_BY_S: Final = 20.0
"""Another owner lets go within ten seconds, or will not."""

MUTE_MAX: Final = 2
"""Sessions in a row that owe an answer and are mute: replacing them does not help."""


class Link(Enum):
    """The link to the model."""

    CONNECTING = "connecting"
    CONFIGURING = "configuring"
    OPEN = "open"
    WAITING = "waiting"
    """Lost; the next try is due."""
    CLOSED = "closed"


@dataclass(slots=True)
class _Attempt:
    """A session that does not serve yet."""

    session: int
    cause: str
    asked_at: float
    due_at: float
    deaf: bool
    session_id: str = ""
    configured: dict[str, Any] | None = None
    """What it was asked to be."""
    ready: bool = False


class ModelLink:
    """The sessions of one call."""

    def __init__(self, agent: Agent, dialogue: Dialogue, share: float, session_max_s: float) -> None:
        self.verdict: Verdict | None = None
        """Why the call cannot go on, once it cannot."""
        self._agent = agent
        self._dialogue = dialogue
        self._share = share
        """The call's own place between 0 and 1 in everything that is spread."""
        self._session_max_s = session_max_s
        self._number = 0
        self._current: int | None = None
        self._attempt: _Attempt | None = None
        self._retry_at: float | None = None
        self._tries = 0
        self._deadline = 0.0
        self._delay_left_s = DELAY_S_MAX
        self._lost_at = 0.0
        self._caller_back_at = 0.0
        self._cause = "start"
        self._rotate_at = 0.0
        self._listens_by: float | None = None
        """The session in use was asked to listen, and has not said that it does."""
        self._mute = 0
        self._is_last = False
        self._stands_by = False

    @property
    def state(self) -> Link:
        """Where the link is."""
        if self._current is not None:
            return Link.OPEN
        if self._attempt is not None:
            return Link.CONFIGURING if self._attempt.session_id else Link.CONNECTING
        return Link.CLOSED if self._retry_at is None else Link.WAITING

    @property
    def is_open(self) -> bool:
        """Whether a session serves."""
        return self._current is not None

    def start(self, now: float) -> list[Command]:
        """Open the first session."""
        self._lost_at, self._deadline = now, now + RESTORE_S
        return self._open(now)

    def stand_by(self, now: float) -> list[Command]:
        """Make a session ready; it serves from `go` on."""
        self._stands_by, self._cause = True, TAKEN_OVER
        return self.start(now)

    def go(self, now: float) -> list[Command]:
        """The call is ours."""
        self._stands_by = False
        self._lost_at, self._deadline = now, now + RESTORE_S
        attempt = self._attempt
        return self._serve(attempt, now) if attempt is not None and attempt.ready else []

    def resume(self, now: float) -> list[Command]:
        """Open the first session of a call that has a past."""
        self._cause = TAKEN_OVER
        return self.start(now)

    def caller_is_away(self, until: float) -> None:
        """Nobody waits for the model for a while: there is so much longer to restore a session."""
        self._caller_back_at = until
        self._deadline = max(self._deadline, until + RESTORE_S)

    def caller_is_back(self, now: float) -> None:
        """The caller waits again."""
        self._caller_back_at = now
        self._deadline = min(self._deadline, now + RESTORE_S)

    def keep_no_longer(self) -> list[Command]:
        """The call is about to end: the session in use is not replaced any more."""
        self._is_last, self._listens_by = True, None
        self._dialogue.gate.close()
        attempt = self._attempt
        if attempt is None or self._current is None:
            return []
        self._attempt = None
        return [CloseSession(attempt.session)]

    def close(self) -> list[Command]:
        """The call is over."""
        commands: list[Command] = [CloseSession(number) for number in self._numbers()]
        self._current = self._attempt = self._retry_at = self._listens_by = None
        return commands

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        if self._attempt is not None:
            return earliest(self._retry_at, self._listens_by, self._attempt.due_at)
        rotates = self._current is not None and not self._is_last
        return earliest(self._retry_at, self._listens_by, self._rotate_at if rotates else None)

    def tick(self, now: float) -> list[Command]:
        """Do what time alone demands."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            return self._open(now)
        if self._current is not None and self._dialogue.gate.is_overdue(now):
            return [Count(Measure.ANSWER_OVERDUE), *self._mute_session(now)]
        if self._listens_by is not None and now >= self._listens_by:
            return self._current_lost("listen-timeout", now, fatal=False)
        attempt = self._attempt
        if attempt is not None and attempt.ready:
            return self.take_over_if_quiet(now) if now >= attempt.due_at else []
        if attempt is not None and now >= attempt.due_at:
            return self._attempt_failed("setup-timeout", now, fatal=False)
        if attempt is None and self._current is not None and not self._is_last and now >= self._rotate_at:
            self._cause, self._lost_at, self._delay_left_s = "rotated", now, DELAY_S_MAX
            return self._open(now)
        return []

    def take_over_if_quiet(self, now: float) -> list[Command]:
        """Let the session that was made ready serve, if this is a moment for it."""
        attempt = self._attempt
        if attempt is None or not attempt.ready or self._stands_by:
            return []
        if now < attempt.asked_at + QUIET_WAIT_S and not self._dialogue.quiet:
            attempt.due_at = now + QUIET_CHECK_S
            return []
        old = self._current
        closing = [] if old is None else [*self._dialogue.session_closed(now), CloseSession(old)]
        return [*closing, *self._serve(attempt, now)]

    def handle(self, event: events.ModelEvent, now: float) -> list[Command]:
        """Apply what a session says."""
        attempt = self._attempt
        if attempt is not None and event.session == attempt.session:
            return self._on_attempt(attempt, event, now)
        if event.session != self._current:
            return [Count(Measure.STALE_SESSION)]
        match event:
            case events.SessionLost(_, reason, fatal):
                return self._current_lost(reason, now, fatal=fatal)
            case events.SessionConfigured():
                self._listens_by = None
                return []
            case events.SessionDelayed() | events.SessionCreated():
                return []
            case events.ResponseDone(status="failed", reason=code) if code in realtime_refusals.FATAL_CODES:
                commands = self._dialogue.on_model(event, now)
                return commands + self._current_lost(code, now, fatal=True)
            case events.ModelError() if event.fatal or (event.event_id or "").startswith("listen"):
                # One that does not listen is of no use.
                return self._current_lost(event.code, now, fatal=event.fatal)
            case events.AudioDelta():
                self._mute = 0
        return self._dialogue.on_model(event, now)

    # --- A session that does not serve yet

    def _open(self, now: float) -> list[Command]:
        self._number += 1
        self._tries += 1
        deaf = self._cause != "start" or not self._agent.listen_during_greeting
        self._attempt = _Attempt(self._number, self._cause, now, now + SETUP_S, deaf)
        return [OpenSession(self._number)]

    def _on_attempt(self, attempt: _Attempt, event: events.ModelEvent, now: float) -> list[Command]:
        match event:
            case events.SessionDelayed(_, delay_s):
                granted_s = min(delay_s, self._delay_left_s)
                self._delay_left_s -= granted_s
                attempt.due_at += granted_s
                self._deadline += granted_s
            case events.SessionLost(_, reason, fatal):
                return self._attempt_failed(reason, now, fatal=fatal)
            case events.SessionCreated(_, session_id) if attempt.configured is None:
                attempt.session_id = session_id
                attempt.configured = self._agent.session(deaf=attempt.deaf)
                configure = ConfigureSession(f"configure_{attempt.session}", attempt.configured)
                return [SendToModel(configure, attempt.session)]
            case events.SessionConfigured(_, echo) if attempt.configured is not None and not attempt.ready:
                differing = realtime_api.differences(attempt.configured, echo)
                commands: list[Command] = [
                    Count(Measure.CONFIGURATION_DIFFERS, detail=" ".join(differing))
                ] * bool(differing)
                if self._stands_by:
                    attempt.ready, attempt.due_at = True, now + STAND_BY_S
                    return [*commands, TellReady()]
                if self._current is None:
                    return [*commands, *self._serve(attempt, now)]
                attempt.ready = True
                return [*commands, *self.take_over_if_quiet(now)]
            case events.ModelError():
                return self._attempt_refused(event, now)
        return []

    def _attempt_refused(self, error: events.ModelError, now: float) -> list[Command]:
        if error.fatal or error.code in realtime_refusals.PASSING_CODES:
            return self._attempt_failed(error.code, now, fatal=error.fatal)
        reason = f"{realtime_refusals.CONFIGURATION_REJECTED}: {error.code} {error.param}".rstrip()
        return self._attempt_failed(reason, now, fatal=True)

    def _attempt_failed(self, reason: str, now: float, *, fatal: bool) -> list[Command]:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        commands: list[Command] = [
            CloseSession(attempt.session),
            Record(ModelLost(session=attempt.session, reason=reason, fatal=fatal)),
        ]
        if self._current is not None:
            # The session in use does not depend on it; if it ends before the next try, that is a loss like any.
            self._rotate_at = now + ROTATION_RETRY_S
            return commands
        self._try_again(now, fatal=fatal)
        return commands

    def _try_again(self, now: float, *, fatal: bool) -> None:
        wait_s = RETRY_S[min(self._tries, len(RETRY_S)) - 1] if self._tries else RETRY_S[0]
        wait_s *= self._share if self._tries <= 1 else 0.75 + 0.25 * self._share
        if fatal or now + wait_s >= self._deadline:
            started = self._cause == "start"
            self.verdict = Verdict.MODEL_REFUSED if fatal or started else Verdict.MODEL_LOST
            return
        self._retry_at = now + wait_s

    # --- The session in use

    def _serve(self, attempt: _Attempt, now: float) -> list[Command]:
        self._current, self._attempt = attempt.session, None
        self._tries = 0
        self._rotate_at = now + self._session_max_s * (1 - ROTATION_SPREAD * self._share)
        opening, media_start_ms, items = self._dialogue.session_opened(now, deaf=attempt.deaf)
        # An error may not name the event that it is about, and a deaf session would never owe an answer.
        asked = any(
            isinstance(order, SendToModel) and isinstance(order.event, SetTurnDetection) for order in opening
        )
        self._listens_by = now + SETUP_S if asked else None
        connected = ModelConnected(
            session=attempt.session,
            model=self._agent.model,
            session_id=attempt.session_id,
            connect_ms=(now - self._lost_at) * 1000,
            media_start_ms=media_start_ms,
            cause=attempt.cause,
            items=items,
        )
        return [UseSession(attempt.session), Record(connected), *opening]

    def _current_lost(self, reason: str, now: float, *, fatal: bool) -> list[Command]:
        assert self._current is not None
        lost, self._current, self._listens_by = self._current, None, None
        commands: list[Command] = [
            CloseSession(lost),
            Record(ModelLost(session=lost, reason=reason, fatal=fatal)),
        ]
        if self._is_last:
            return commands
        commands += self._dialogue.session_closed(now)
        self._cause, self._lost_at = "restored", now
        self._deadline = max(now, self._caller_back_at) + RESTORE_S
        self._tries, self._delay_left_s = 0, DELAY_S_MAX
        if fatal:
            self.verdict = Verdict.MODEL_REFUSED
        elif self._attempt is None:
            self._try_again(now, fatal=False)
        elif self._attempt.ready:
            commands += self._serve(self._attempt, now)
        return commands

    def _mute_session(self, now: float) -> list[Command]:
        self._mute += 1
        commands = self._current_lost("answer-overdue", now, fatal=False)
        if self._mute > MUTE_MAX:
            self.verdict, self._retry_at = Verdict.MODEL_LOST, None
        return commands

    def _numbers(self) -> list[int]:
        attempt = [] if self._attempt is None else [self._attempt.session]
        return attempt if self._current is None else [self._current, *attempt]
