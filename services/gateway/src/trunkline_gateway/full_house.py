"""What callers get who get no agent: what their line's profile says, or the gateway's own sentences.

The gateway reads no profiles. It asks any worker of the region, full or not; when none answers in time, callers hear
`GATEWAY_FULL_SAY` or `GATEWAY_FALLBACK_SAY`.
"""

from typing import Final, Literal, NamedTuple

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.control import (
    ControlError,
    LineTreatment,
    LineTreatmentRequest,
    Treatment,
    TreatmentKind,
)
from trunkline_gateway import metrics, twiml, waiting
from trunkline_gateway.public_url import HOLD_MUSIC_PATH, PublicUrl
from trunkline_gateway.reasons import Rejection
from trunkline_gateway.rejections import Rejections
from trunkline_gateway.settings import GatewaySettings
from trunkline_gateway.stream_token import Facts
from trunkline_gateway.waiting import NO_STAY, Place, Stay, Words

ANSWER_S: Final = 0.15
"""A worker answers in 3 ms; the caller has waited for one already."""

QUEUE_NAME_CHARS_MAX: Final = 64
"""(Twilio: TwiML <Enqueue>)"""

Why = Literal["full", "waited", "failing"]
"""No worker has room · nor had one for as long as a caller may wait · the call cannot be served, or not any more."""

_log = log.get(__name__)

_NEVER_MIND: Final = LineTreatment(worker="", queue="")


class Caller(NamedTuple):
    """A call at the moment when it gets no agent."""

    facts: Facts
    detours: int = 0
    is_ringing: bool = False
    """Nobody has answered it: only such a call can be refused."""


class Treatments:
    """Asks the workers of one region."""

    def __init__(self, bus: Bus, region: str) -> None:
        self._bus = bus
        self._subject = subjects.treatment(region)

    async def of_line(self, called: str) -> LineTreatment | None:
        """Return what the line's profile says; None when no worker answers."""
        request = control.encode(LineTreatmentRequest(called=called))
        try:
            return control.decode(await self._bus.request(self._subject, request, ANSWER_S), LineTreatment)
        except NobodyListensError:
            return None
        except (NoAnswerError, ControlError) as error:
            _log.warning("treatment-unanswered", why=str(error))
            return None


class FullHouse:
    """Turns callers away, or makes them wait; every answer is TwiML."""

    def __init__(self, settings: GatewaySettings, public_url: PublicUrl, rejections: Rejections) -> None:
        self._settings = settings
        self._public_url = public_url
        self._rejections = rejections
        self.treatments: Treatments | None = None
        """None until NATS is reached."""

    async def turn_away(self, caller: Caller, why: Why, stay: Stay = NO_STAY) -> str:
        """Return what to do with a caller who gets no agent now."""
        line = await self._line(caller.facts) or _NEVER_MIND
        treatment = _treatment(line, why)
        match treatment.kind:
            case TreatmentKind.BUSY if caller.is_ringing:
                return self._treated(caller, why, treatment.kind, twiml.reject())
            case TreatmentKind.WAIT if why == "full" and line.queue:
                metrics.WAITS_BEGUN.inc()
                words = Words("" if stay.before_s else treatment.text, self._language(treatment))
                queue = line.queue[:QUEUE_NAME_CHARS_MAX]
                text = twiml.enqueue(self._public_url, caller.facts, caller.detours, stay, queue, words)
                return self._treated(caller, why, treatment.kind, text)
            case TreatmentKind.DIAL if treatment.transfer is not None:
                if twiml.is_e164(treatment.transfer.number):
                    text = twiml.overflow(self._public_url, caller.facts, treatment.transfer, why)
                    return self._treated(caller, why, treatment.kind, text)
                self._rejections.note(Rejection.BAD_TRANSFER_NUMBER, call_id=caller.facts.call_id)
            case TreatmentKind.HANG_UP:
                return self._treated(caller, why, treatment.kind, twiml.hang_up())
        text = twiml.say_and_hang_up(self._words(treatment, why))
        return self._treated(caller, why, TreatmentKind.SAY, text)

    async def after_overflow(self, facts: Facts, why: Why) -> str:
        """Return what to do with a caller for whom somebody was dialled who did not answer."""
        line = await self._line(facts) or _NEVER_MIND
        return twiml.say_and_hang_up(self._words(_treatment(line, why), why))

    async def hold(self, caller: Caller, place: Place | None, stay: Stay) -> str | None:
        """Return what a caller in the queue hears next; None for one that may wait no longer."""
        line = await self._line(caller.facts)
        # While no worker says otherwise the caller keeps the place.
        treatment = line.full if line else Treatment(kind=TreatmentKind.WAIT, wait_s_max=waiting.WAIT_S_MAX)
        if treatment.kind is not TreatmentKind.WAIT:
            return None
        text = ""
        if place is not None:
            if stay.waited_s(place.queue_time_s) >= _wait_s_max(treatment):
                return None
            text, stay = waiting.tell(treatment.position_text, place, stay)
        music = treatment.hold_music
        return twiml.hold(
            self._public_url,
            caller.facts,
            caller.detours,
            stay if place else NO_STAY,
            Words(text, self._language(treatment)),
            music if music.startswith("https://") else self._public_url.http(HOLD_MUSIC_PATH),
        )

    async def may_wait_on(self, facts: Facts, stay: Stay) -> bool:
        """Tell whether a caller who left the queue without an agent may wait once more."""
        line = await self._line(facts)
        return (
            line is not None
            and line.full.kind is TreatmentKind.WAIT
            and stay.before_s < _wait_s_max(line.full)
        )

    async def _line(self, facts: Facts) -> LineTreatment | None:
        return await self.treatments.of_line(facts.called) if self.treatments else None

    def _words(self, treatment: Treatment, why: Why) -> Words:
        settings = self._settings
        otherwise = settings.gateway_fallback_say if why == "failing" else settings.gateway_full_say
        # What is said before the music is no farewell.
        own = treatment.text if treatment.kind in {TreatmentKind.SAY, TreatmentKind.DIAL} else ""
        return Words(own or otherwise, self._language(treatment) if own else settings.gateway_say_language)

    def _language(self, treatment: Treatment) -> str:
        return treatment.language or self._settings.gateway_say_language

    def _treated(self, caller: Caller, why: Why, kind: TreatmentKind, text: str) -> str:
        metrics.TREATMENTS.labels(why, kind).inc()
        _log.info("caller-without-agent", call_id=caller.facts.call_id, why=why, treatment=kind.value)
        return text


def _treatment(line: LineTreatment, why: Why) -> Treatment:
    return {"full": line.full, "waited": line.then, "failing": line.failing}[why]


def _wait_s_max(treatment: Treatment) -> int:
    return min(treatment.wait_s_max, waiting.WAIT_S_MAX)
