"""Twilio's webhooks: what to do with a call, as TwiML. Signed, idempotent, and answered within about a second.

Twilio asks again when an answer is late or lost (Twilio: Webhook Connection Overrides), and it may ask another
gateway. So nothing is kept here: the answer follows from the request and from what the call's owner says.
"""

import time
from typing import Annotated, Final, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trunkline_common import log, subjects
from trunkline_common.control import NextStep
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics, twiml
from trunkline_gateway.assignment import PUT_THROUGH, Failed, Full, Over, Ready, SendingDigits, Transferring
from trunkline_gateway.calls_api import add_calls
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.outbound import MACHINES, PARTIES
from trunkline_gateway.public_url import (
    DIALED_PATH,
    MACHINE_PATH,
    REATTACH_PATH,
    STATUS_PATH,
    VOICE_PATH,
)
from trunkline_gateway.reasons import EXPLANATIONS, Rejection
from trunkline_gateway.signature import ALGORITHM_HEADER, SIGNATURE_HEADER
from trunkline_gateway.stream_token import Facts

BODY_BYTES_MAX: Final = 64 * 1024
"""Twilio's forms are below 4 KiB."""

ATTACH_MAX: Final = 5
"""A call that lost its stream so often is in a loop; the caller hears the fallback. Streams that were ended for
a detour, to dial somebody or to play DTMF, do not count."""

DETOURS_MAX: Final = 20
"""Transfers that came back and rounds of DTMF in one call: enough for long menus, not for a loop."""

STARTED_AT_MS_MAX: Final = 10**14

_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""Values of CallStatus after which nobody hears what we answer (Twilio: Call resource)."""

_DIAL_STATUSES: Final = frozenset({"completed", "answered", "busy", "no-answer", "failed", "canceled"})
"""Values of DialCallStatus (Twilio: TwiML <Dial>)."""

_TELLING: Final = frozenset({"stream-started", "stream-stopped", "stream-error"})

_WEBHOOKS: Final = {
    VOICE_PATH: "voice",
    REATTACH_PATH: "reattach",
    DIALED_PATH: "dialed",
    MACHINE_PATH: "machine",
    STATUS_PATH: "status",
}

_log = log.get(__name__)


class _RefusedError(Exception):
    """The request is answered with `status` and why."""

    def __init__(self, rejection: Rejection, status: int) -> None:
        super().__init__(rejection)
        self.rejection = rejection
        self.status = status


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

    @app.post(VOICE_PATH)
    async def voice(form: Form) -> Response:
        return await answers.to_new_call(form)

    @app.post(REATTACH_PATH)
    async def reattach(form: Form, attach: Attach, started: Started, detours: Detours = 0) -> Response:
        return await answers.to_ended_stream(form, attach, started, detours)

    @app.post(DIALED_PATH)
    async def dialed(form: Form, attach: Attach, started: Started, detours: Detours = 0) -> Response:
        return await answers.to_ended_dial(form, attach, started, detours)

    @app.post(MACHINE_PATH)
    async def machine(form: Form) -> Response:
        return await answers.to_machine_detection(form)

    @app.post(STATUS_PATH)
    async def status(form: Form) -> Response:
        return answers.to_status(form)

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, _RefusedError)
        return _refuse(gateway, request, error.rejection, error.status)

    async def on_bad_request(request: Request, _error: Exception) -> Response:
        return _refuse(gateway, request, Rejection.BAD_REQUEST, 400)

    add_calls(app, gateway)
    app.exception_handler(_RefusedError)(on_refused)
    app.exception_handler(RequestValidationError)(on_bad_request)
    return app


async def _signed_form(gateway: Gateway, request: Request) -> FormData:
    try:
        form = await request.form()
    except (HTTPException, ClientDisconnect) as error:
        # Too large, multipart that is none, or gone in the middle: Twilio sends none of these.
        status = error.status_code if isinstance(error, HTTPException) else 400
        raise _RefusedError(Rejection.BAD_REQUEST, status) from error
    # From the request line: request.url would mix in the Host header.
    rejection = gateway.verifier.webhook(
        request.scope["path"],
        request.scope["query_string"].decode("latin-1"),
        form,
        request.headers.get(SIGNATURE_HEADER),
        request.headers.get(ALGORITHM_HEADER),
    )
    if rejection:
        raise _RefusedError(rejection, 403)
    account = gateway.settings.twilio_account_sid
    if account and form.get("AccountSid") != account:
        raise _RefusedError(Rejection.WRONG_ACCOUNT, 403)
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
        facts = _facts(form, attach=1, started_at_ms=_now_ms())
        if not _is_outbound(form) and await self._is_over_caller_limit(facts):
            return _answer("voice", "caller-limit", facts, twiml.reject())
        return await self._lead_to_worker(facts, "voice", 0)

    async def to_ended_stream(
        self, form: FormData, attach: int, started_at_ms: int, detours: int
    ) -> Response:
        """Answer what comes after a stream: the end, a detour, or another stream where the call has somebody."""
        facts = _facts(form, attach, started_at_ms)
        if form.get("CallStatus") in _OVER:
            return _answer("reattach", "hang-up", facts, twiml.hang_up())
        return await self._lead_to_worker(facts, "reattach", detours)

    async def to_ended_dial(self, form: FormData, attach: int, started_at_ms: int, detours: int) -> Response:
        """Answer what comes after a transfer; its owner hears of it even where nobody hears our answer."""
        facts = _facts(form, attach, started_at_ms)
        status = str(form.get("DialCallStatus", ""))
        if status not in _DIAL_STATUSES:
            self._gateway.rejections.note(Rejection.BAD_DIAL_STATUS, call_id=facts.call_id)
            status = "failed"
        metrics.DIALS.labels(status).inc()
        link = self._gateway.link
        nobody = Over(NextStep.HANG_UP if status in PUT_THROUGH else NextStep.FALLBACK)
        plan = await link.assignment.dialed(facts, status) if link else nobody
        if form.get("CallStatus") in _OVER:
            return _answer("dialed", "hang-up", facts, twiml.hang_up())
        return self._carry_out(plan, facts, "dialed", detours)

    async def to_machine_detection(self, form: FormData) -> Response:
        """Hang up on a machine that answered a call of ours (Twilio: Answering Machine Detection)."""
        facts = _facts(form, attach=1, started_at_ms=0)
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

    async def _lead_to_worker(self, facts: Facts, webhook: str, detours: int) -> Response:
        link = self._gateway.link
        if link is None or facts.attach - detours > ATTACH_MAX or detours > DETOURS_MAX:
            return self._say(webhook, "fallback", facts)
        if self._gateway.streams.is_full:
            return self._say(webhook, "full", facts)
        return self._carry_out(await link.assignment.offer(facts), facts, webhook, detours)

    def _carry_out(
        self,
        plan: Ready | Over | Transferring | SendingDigits | Full | Failed,
        facts: Facts,
        webhook: str,
        detours: int,
    ) -> Response:
        match plan:
            case Ready(attach, started_at_ms) if attach - detours <= ATTACH_MAX:
                facts = facts._replace(attach=attach, started_at_ms=started_at_ms)
                return self._connect(webhook, "connect", facts, detours)
            case Transferring(transfer, attach, started_at_ms) if detours < DETOURS_MAX:
                if not twiml.is_e164(transfer.number):
                    self._gateway.rejections.note(Rejection.BAD_TRANSFER_NUMBER, call_id=facts.call_id)
                    return self._say(webhook, "fallback", facts)
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
                return self._say(webhook, "full", facts)
            case Ready() | Over() | Failed() | Transferring() | SendingDigits():
                return self._say(webhook, "fallback", facts)

    def _connect(self, webhook: str, result: str, facts: Facts, detours: int, digits: str = "") -> Response:
        token = self._gateway.tokens.issue(facts, _now_ms())
        text = twiml.connect(self._gateway.public_url, facts, token, detours, digits)
        return _answer(webhook, result, facts, text)

    def _say(self, webhook: str, result: Literal["full", "fallback"], facts: Facts) -> Response:
        settings = self._gateway.settings
        sentence = settings.gateway_full_say if result == "full" else settings.gateway_fallback_say
        return _answer(webhook, result, facts, twiml.say_and_hang_up(sentence, settings.gateway_say_language))


def _facts(form: FormData, attach: int, started_at_ms: int) -> Facts:
    account_sid = form.get("AccountSid", "")
    try:
        call_id = subjects.token(str(form.get("CallSid", "")))
    except InvalidTokenError:
        raise _RefusedError(Rejection.BAD_REQUEST, 400) from None
    caller, called = (
        twiml.clean_number(str(form.get("From", ""))),
        twiml.clean_number(str(form.get("To", ""))),
    )
    if _is_outbound(form):
        # We call: the number that we show is our line, and selects the agent.
        caller, called = called, caller
    return Facts(
        call_id=call_id,
        account_sid=str(account_sid),
        caller=caller,
        called=called,
        attach=attach,
        started_at_ms=started_at_ms,
    )


def _is_outbound(form: FormData) -> bool:
    return form.get("Direction") == "outbound-api"


def _answer(webhook: str, result: str, facts: Facts, text: str) -> Response:
    metrics.WEBHOOKS.labels(webhook, result).inc()
    _log.info(
        "call-offered" if webhook == "voice" else "call-reattaching",
        call_id=facts.call_id,
        attach=facts.attach,
        result=result,
    )
    return Response(text, media_type="text/xml")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
