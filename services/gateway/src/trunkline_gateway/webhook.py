"""Twilio's webhooks: what to do with a call, as TwiML. Signed, idempotent, and answered within about a second.

Twilio asks again when an answer is late or lost (Twilio: Webhook Connection Overrides), and it may ask another
gateway. So nothing is kept here: the answer follows from the request and from what the call's owner says.
"""

import time
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trunkline_common import log
from trunkline_common.control import NextStep
from trunkline_gateway import hold_music, metrics, twiml, waiting
from trunkline_gateway.assignment import PUT_THROUGH, Failed, Full, Over, Ready, SendingDigits, Transferring
from trunkline_gateway.calls_api import add_calls
from trunkline_gateway.full_house import Caller, Why
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.outbound import MACHINES, PARTIES
from trunkline_gateway.public_url import (
    DIALED_PATH,
    HOLD_MUSIC_PATH,
    MACHINE_PATH,
    OVERFLOWED_PATH,
    REATTACH_PATH,
    STATUS_PATH,
    VOICE_PATH,
    WAIT_PATH,
    WAITED_PATH,
)
from trunkline_gateway.reasons import EXPLANATIONS, Rejection
from trunkline_gateway.signature import ALGORITHM_HEADER, SIGNATURE_HEADER
from trunkline_gateway.stream_token import Facts
from trunkline_gateway.waiting import NO_STAY, Stay
from trunkline_gateway.webhook_form import RefusedError, facts_of, is_outbound

BODY_BYTES_MAX: Final = 64 * 1024
"""Twilio's forms are below 4 KiB."""

ATTACH_MAX: Final = 5
"""A call that lost its stream so often is in a loop; the caller hears the fallback. Streams that were ended for
a detour, to dial somebody or to play DTMF, do not count."""

DETOURS_MAX: Final = 20
"""Transfers that came back and rounds of DTMF in one call: enough for long menus, not for a loop."""

STARTED_AT_MS_MAX: Final = 10**14

HOLD_MUSIC_AGE_S: Final = 24 * 3600
"""For which Twilio may keep it: it asks for the file each time that it plays it."""

_Plan = Ready | Over | Transferring | SendingDigits | Full | Failed

_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""Values of CallStatus after which nobody hears what we answer (Twilio: Call resource)."""

_DIAL_STATUSES: Final = frozenset({"completed", "answered", "busy", "no-answer", "failed", "canceled"})
"""Values of DialCallStatus (Twilio: TwiML <Dial>)."""

_TELLING: Final = frozenset({"stream-started", "stream-stopped", "stream-error"})

_WEBHOOKS: Final = {
    VOICE_PATH: "voice",
    REATTACH_PATH: "reattach",
    DIALED_PATH: "dialed",
    WAIT_PATH: "wait",
    WAITED_PATH: "waited",
    OVERFLOWED_PATH: "overflowed",
    MACHINE_PATH: "machine",
    STATUS_PATH: "status",
}

_log = log.get(__name__)


_Count = Annotated[int, Query(ge=0, le=10**6)]


def _stay(told: _Count = 0, told_at: _Count = 0, waited: _Count = 0) -> Stay:
    return Stay(before_s=waited, told_position=told, told_at_s=told_at)


_StayQuery = Annotated[Stay, Depends(_stay)]


def webhooks(gateway: Gateway) -> FastAPI:
    """Return the application that answers Twilio's webhooks."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, max_body_size=BODY_BYTES_MAX)
    answers = _Answers(gateway)

    async def signed_form(request: Request) -> FormData:
        return await _signed_form(gateway, request)

    Form = Annotated[FormData, Depends(signed_form)]  # noqa: N806 - a type, made here for its gateway
    Attach = Annotated[int, Query(ge=2, le=0xFFFF)]  # noqa: N806 - and its companions
    Started = Annotated[int, Query(ge=0, le=STARTED_AT_MS_MAX)]  # noqa: N806
    Detours = Annotated[int, Query(ge=0, le=0xFFFF)]  # noqa: N806
    AnyAttach = Annotated[int, Query(ge=1, le=0xFFFF)]  # noqa: N806

    @app.post(VOICE_PATH)
    async def voice(form: Form) -> Response:
        return await answers.to_new_call(form)

    @app.post(REATTACH_PATH)
    async def reattach(form: Form, attach: Attach, started: Started, detours: Detours = 0) -> Response:
        return await answers.to_ended_stream(form, attach, started, detours)

    @app.post(DIALED_PATH)
    async def dialed(form: Form, attach: Attach, started: Started, detours: Detours = 0) -> Response:
        return await answers.to_ended_dial(form, attach, started, detours)

    @app.post(WAIT_PATH)
    async def wait(
        form: Form, attach: AnyAttach, started: Started, stay: _StayQuery, detours: Detours = 0
    ) -> Response:
        return await answers.to_waiting_call(form, attach, started, detours, stay)

    @app.post(WAITED_PATH)
    async def waited(
        form: Form, attach: AnyAttach, started: Started, stay: _StayQuery, detours: Detours = 0
    ) -> Response:
        return await answers.to_ended_wait(form, attach, started, detours, stay)

    @app.post(OVERFLOWED_PATH)
    async def overflowed(form: Form, attach: AnyAttach, started: Started, why: Why) -> Response:
        return await answers.to_ended_overflow(form, attach, started, why)

    @app.post(MACHINE_PATH)
    async def machine(form: Form) -> Response:
        return await answers.to_machine_detection(form)

    @app.post(STATUS_PATH)
    async def status(form: Form) -> Response:
        return answers.to_status(form)

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return _refuse(gateway, request, error.rejection, error.status)

    async def on_bad_request(request: Request, _error: Exception) -> Response:
        return _refuse(gateway, request, Rejection.BAD_REQUEST, 400)

    add_calls(app, gateway)
    _add_hold_music(app)
    app.exception_handler(RefusedError)(on_refused)
    app.exception_handler(RequestValidationError)(on_bad_request)
    return app


def _add_hold_music(app: FastAPI) -> None:
    """Serve the music to whoever asks: it is no secret, and Twilio keeps a copy."""
    music = hold_music.wav()
    headers = {"Cache-Control": f"max-age={HOLD_MUSIC_AGE_S}"}

    @app.get(HOLD_MUSIC_PATH)
    async def music_on_hold() -> Response:
        return Response(music, media_type="audio/wav", headers=headers)


async def _signed_form(gateway: Gateway, request: Request) -> FormData:
    try:
        form = await request.form()
    except (HTTPException, ClientDisconnect) as error:
        # Too large, multipart that is none, or gone in the middle: Twilio sends none of these.
        status = error.status_code if isinstance(error, HTTPException) else 400
        raise RefusedError(Rejection.BAD_REQUEST, status) from error
    # From the request line: request.url would mix in the Host header.
    rejection = gateway.verifier.webhook(
        request.scope["path"],
        request.scope["query_string"].decode("latin-1"),
        form,
        request.headers.get(SIGNATURE_HEADER),
        request.headers.get(ALGORITHM_HEADER),
    )
    if rejection:
        raise RefusedError(rejection, 403)
    account = gateway.settings.twilio_account_sid
    if account and form.get("AccountSid") != account:
        raise RefusedError(Rejection.WRONG_ACCOUNT, 403)
    return form


def _refuse(gateway: Gateway, request: Request, rejection: Rejection, status: int) -> Response:
    webhook = _WEBHOOKS[request.scope["path"]]
    metrics.WEBHOOKS.labels(webhook, "rejected").inc()
    gateway.rejections.note(rejection, webhook=webhook)
    return PlainTextResponse(f"{rejection}: {EXPLANATIONS[rejection]}\n", status)


class _Answers:
    """What each webhook is answered."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def to_new_call(self, form: FormData) -> Response:
        """Answer a call that begins: a worker is found before Twilio opens the stream."""
        facts = facts_of(form, attach=1, started_at_ms=_now_ms())
        if not is_outbound(form) and await self._is_over_caller_limit(facts):
            return _answer("voice", "caller-limit", facts, twiml.reject())
        return await self._lead_to_worker(facts, "voice", 0, is_ringing=form.get("CallStatus") == "ringing")

    async def to_ended_stream(
        self, form: FormData, attach: int, started_at_ms: int, detours: int
    ) -> Response:
        """Answer what comes after a stream: the end, a detour, or another stream where the call has somebody."""
        facts = facts_of(form, attach, started_at_ms)
        if form.get("CallStatus") in _OVER:
            return _answer("reattach", "hang-up", facts, twiml.hang_up())
        return await self._lead_to_worker(facts, "reattach", detours)

    async def to_ended_dial(self, form: FormData, attach: int, started_at_ms: int, detours: int) -> Response:
        """Answer what comes after a transfer; its owner hears of it even where nobody hears our answer."""
        facts = facts_of(form, attach, started_at_ms)
        status = self._dial_status(form, facts)
        link = self._gateway.link
        nobody = Over(NextStep.HANG_UP if status in PUT_THROUGH else NextStep.FALLBACK)
        plan = await link.assignment.dialed(facts, status) if link else nobody
        if form.get("CallStatus") in _OVER:
            return _answer("dialed", "hang-up", facts, twiml.hang_up())
        return await self._carry_out(plan, facts, "dialed", detours)

    async def to_waiting_call(
        self, form: FormData, attach: int, started_at_ms: int, detours: int, stay: Stay
    ) -> Response:
        """Answer a call in a queue: music, or the way out of it, where a worker takes it or it has waited too long."""
        facts = facts_of(form, attach, started_at_ms)
        place = waiting.place_of(form)
        if form.get("CallStatus") in _OVER:
            return _answer("wait", "hang-up", facts, twiml.hang_up())
        if place is not None and place.position <= waiting.TRYING_POSITIONS:
            plan = await self._plan(facts, detours)
            if not isinstance(plan, Full | Failed):
                return _answer("wait", "leave", facts, twiml.leave())
        music = await self._gateway.full_house.hold(Caller(facts, detours), place, stay)
        if music is None:
            return _answer("wait", "leave", facts, twiml.leave())
        return _answer("wait", "hold", facts, music)

    async def to_ended_wait(
        self, form: FormData, attach: int, started_at_ms: int, detours: int, stay: Stay
    ) -> Response:
        """Answer a call that left the queue: a worker's stream, another stay, or what comes after too long a wait."""
        facts = facts_of(form, attach, started_at_ms)
        result = str(form.get("QueueResult", "leave"))
        queue_time_s = waiting.queue_time_s(form)
        metrics.WAITED_SECONDS.observe(queue_time_s)
        if result == "hangup" or form.get("CallStatus") in _OVER:
            metrics.WAITS_ENDED.labels("hung-up").inc()
            await self._let_go(facts)
            return _answer("waited", "hang-up", facts, twiml.hang_up())
        plan = await self._plan(facts, detours)
        if not isinstance(plan, Full | Failed):
            metrics.WAITS_ENDED.labels("taken").inc()
            return await self._carry_out(plan, facts, "waited", detours)
        if result not in waiting.RESULTS:
            self._gateway.rejections.note(Rejection.BAD_QUEUE_RESULT, call_id=facts.call_id)
        stay = stay.again(queue_time_s)
        # A worker that was found has gone since, or Twilio could not reach us for a moment.
        again = result != "queue-full" and await self._gateway.full_house.may_wait_on(facts, stay)
        metrics.WAITS_ENDED.labels("again" if again else "not-taken").inc()
        return await self._turn_away("waited", Caller(facts, detours), "full" if again else "waited", stay)

    async def to_ended_overflow(self, form: FormData, attach: int, started_at_ms: int, why: Why) -> Response:
        """Answer a call for which somebody was dialled in place of an agent."""
        facts = facts_of(form, attach, started_at_ms)
        if self._dial_status(form, facts) in PUT_THROUGH or form.get("CallStatus") in _OVER:
            return _answer("overflowed", "hang-up", facts, twiml.hang_up())
        text = await self._gateway.full_house.after_overflow(facts, why)
        return _answer("overflowed", "fallback" if why == "failing" else "full", facts, text)

    async def to_machine_detection(self, form: FormData) -> Response:
        """Hang up on a machine that answered a call of ours (Twilio: Answering Machine Detection)."""
        facts = facts_of(form, attach=1, started_at_ms=0)
        answered_by = str(form.get("AnsweredBy", ""))
        metrics.WEBHOOKS.labels("machine", "noted").inc()
        metrics.ANSWERED_BY.labels(answered_by if answered_by in PARTIES else "other").inc()
        _log.info("callee-detected", call_id=facts.call_id, answered_by=answered_by[:40])
        if answered_by in MACHINES:
            await self._gateway.outbound.end(facts.call_id)
        return Response(status_code=204)

    def to_status(self, form: FormData) -> Response:
        """Note what Twilio says about a stream, the only place where a failed handshake shows, or about a call."""
        event = str(form.get("StreamEvent", ""))
        metrics.WEBHOOKS.labels("status", "noted").inc()
        if not event and form.get("CallStatus") in _OVER:
            status = str(form.get("CallStatus"))
            metrics.CALL_CALLBACKS.labels(status).inc()
            _log.info("call-over-at-twilio", call_id=str(form.get("CallSid", ""))[:64], status=status)
            return Response(status_code=204)
        metrics.STREAM_CALLBACKS.labels(event if event in _TELLING else "other").inc()
        if event == "stream-error":
            _log.warning(
                "stream-error-reported",
                call_id=str(form.get("CallSid", ""))[:64],
                stream_sid=str(form.get("StreamSid", ""))[:64],
                error=str(form.get("StreamError", ""))[:200],
            )
        return Response(status_code=204)

    async def _is_over_caller_limit(self, facts: Facts) -> bool:
        settings, link = self._gateway.settings, self._gateway.link
        calls_max, wait_s = settings.calls_per_caller, settings.calls_per_caller_wait_ms / 1000
        if not calls_max or link is None:
            return False
        return await link.assignment.calls_of(facts.caller, facts.call_id, calls_max, wait_s) >= calls_max

    def _dial_status(self, form: FormData, facts: Facts) -> str:
        status = str(form.get("DialCallStatus", ""))
        if status not in _DIAL_STATUSES:
            self._gateway.rejections.note(Rejection.BAD_DIAL_STATUS, call_id=facts.call_id)
            status = "failed"
        metrics.DIALS.labels(status).inc()
        return status

    async def _let_go(self, facts: Facts) -> None:
        link = self._gateway.link
        if link is not None:
            await link.assignment.let_go(facts.call_id)

    async def _lead_to_worker(
        self, facts: Facts, webhook: str, detours: int, *, is_ringing: bool = False
    ) -> Response:
        plan = await self._plan(facts, detours)
        return await self._carry_out(plan, facts, webhook, detours, is_ringing=is_ringing)

    async def _plan(self, facts: Facts, detours: int) -> _Plan:
        link = self._gateway.link
        if link is None or facts.attach - detours > ATTACH_MAX or detours > DETOURS_MAX:
            return Failed()
        if self._gateway.streams.is_full:
            return Full()
        return await link.assignment.offer(facts)

    async def _carry_out(
        self, plan: _Plan, facts: Facts, webhook: str, detours: int, *, is_ringing: bool = False
    ) -> Response:
        match plan:
            case Ready(attach, started_at_ms) if attach - detours <= ATTACH_MAX:
                facts = facts._replace(attach=attach, started_at_ms=started_at_ms)
                return self._connect(webhook, "connect", facts, detours)
            case Transferring(transfer, attach, started_at_ms) if detours < DETOURS_MAX:
                if not twiml.is_e164(transfer.number):
                    self._gateway.rejections.note(Rejection.BAD_TRANSFER_NUMBER, call_id=facts.call_id)
                    return await self._turn_away(webhook, Caller(facts), "failing")
                facts = facts._replace(attach=attach, started_at_ms=started_at_ms)
                text = twiml.dial(self._gateway.public_url, facts, transfer, detours + 1)
                return _answer(webhook, "dial", facts, text)
            case SendingDigits(digits, attach, started_at_ms) if detours < DETOURS_MAX:
                facts = facts._replace(attach=attach, started_at_ms=started_at_ms)
                if not twiml.are_digits(digits):
                    self._gateway.rejections.note(Rejection.BAD_DIGITS, call_id=facts.call_id)
                    digits = ""
                return self._connect(webhook, "digits", facts, detours + 1, digits)
            case Over(NextStep.HANG_UP):
                return _answer(webhook, "hang-up", facts, twiml.hang_up())
            case Full():
                return await self._turn_away(webhook, Caller(facts, detours, is_ringing), "full")
            case Ready() | Over() | Failed() | Transferring() | SendingDigits():
                return await self._turn_away(webhook, Caller(facts), "failing")

    def _connect(self, webhook: str, result: str, facts: Facts, detours: int, digits: str = "") -> Response:
        token = self._gateway.tokens.issue(facts, _now_ms())
        text = twiml.connect(self._gateway.public_url, facts, token, detours, digits)
        return _answer(webhook, result, facts, text)

    async def _turn_away(self, webhook: str, caller: Caller, why: Why, stay: Stay = NO_STAY) -> Response:
        text = await self._gateway.full_house.turn_away(caller, why, stay)
        return _answer(webhook, "fallback" if why == "failing" else "full", caller.facts, text)


def _answer(webhook: str, result: str, facts: Facts, text: str) -> Response:
    metrics.WEBHOOKS.labels(webhook, result).inc()
    # Music is asked for every few seconds.
    tell = _log.debug if result == "hold" else _log.info
    tell(
        "call-offered" if webhook == "voice" else "call-reattaching",
        call_id=facts.call_id,
        attach=facts.attach,
        result=result,
    )
    return Response(text, media_type="text/xml")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
