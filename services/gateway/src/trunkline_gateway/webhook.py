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

from trunkline_common import log, subjects
from trunkline_common.control import NextStep
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics, twiml
from trunkline_gateway.assignment import Failed, Full, Over, Ready
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.public_url import REATTACH_PATH, STATUS_PATH, VOICE_PATH
from trunkline_gateway.reasons import EXPLANATIONS, Rejection
from trunkline_gateway.signature import ALGORITHM_HEADER, SIGNATURE_HEADER
from trunkline_gateway.stream_token import Facts

BODY_BYTES_MAX: Final = 64 * 1024
"""Twilio's forms are below 4 KiB."""

ATTACH_MAX: Final = 5
"""A call that lost its stream so often is in a loop; the caller hears the fallback."""

STARTED_AT_MS_MAX: Final = 10**14

_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""Values of CallStatus after which nobody hears what we answer (Twilio: Call resource)."""

_TELLING: Final = frozenset({"stream-started", "stream-stopped", "stream-error"})

_WEBHOOKS: Final = {VOICE_PATH: "voice", REATTACH_PATH: "reattach", STATUS_PATH: "status"}

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

    @app.post(VOICE_PATH)
    async def voice(form: Form) -> Response:
        return await answers.to_new_call(form)

    @app.post(REATTACH_PATH)
    async def reattach(
        form: Form,
        attach: Annotated[int, Query(ge=2, le=0xFFFF)],
        started: Annotated[int, Query(ge=0, le=STARTED_AT_MS_MAX)],
    ) -> Response:
        return await answers.to_ended_stream(form, attach, started)

    @app.post(STATUS_PATH)
    async def status(form: Form) -> Response:
        return answers.to_stream_status(form)

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, _RefusedError)
        return _refuse(gateway, request, error.rejection, error.status)

    async def on_bad_request(request: Request, _error: Exception) -> Response:
        return _refuse(gateway, request, Rejection.BAD_REQUEST, 400)

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
        """Answer an incoming call: a worker is found before Twilio opens the stream."""
        return await self._lead_to_worker(_facts(form, attach=1, started_at_ms=_now_ms()), "voice")

    async def to_ended_stream(self, form: FormData, attach: int, started_at_ms: int) -> Response:
        """Answer what comes after a stream: the end, or another stream where the call still has somebody."""
        facts = _facts(form, attach, started_at_ms)
        if form.get("CallStatus") in _OVER:
            return _answer("reattach", "hang-up", facts, twiml.hang_up())
        return await self._lead_to_worker(facts, "reattach")

    def to_stream_status(self, form: FormData) -> Response:
        """Note what Twilio says about a stream: the only place where a failed handshake shows."""
        event = str(form.get("StreamEvent", ""))
        metrics.WEBHOOKS.labels("status", "noted").inc()
        metrics.STREAM_CALLBACKS.labels(event if event in _TELLING else "other").inc()
        if event == "stream-error":
            _log.warning(
                "stream-error-reported",
                call_id=str(form.get("CallSid", ""))[:64],
                stream_sid=str(form.get("StreamSid", ""))[:64],
                error=str(form.get("StreamError", ""))[:200],
            )
        return Response(status_code=204)

    async def _lead_to_worker(self, facts: Facts, webhook: str) -> Response:
        settings, streams = self._gateway.settings, self._gateway.streams
        sorry = twiml.say_and_hang_up(settings.gateway_fallback_say, settings.gateway_say_language)
        busy = twiml.say_and_hang_up(settings.gateway_full_say, settings.gateway_say_language)
        link = self._gateway.link
        if link is None or facts.attach > ATTACH_MAX:
            return _answer(webhook, "fallback", facts, sorry)
        if streams.is_full:
            return _answer(webhook, "full", facts, busy)
        match await link.assignment.offer(facts):
            case Ready(attach, started_at_ms) if attach <= ATTACH_MAX:
                facts = facts._replace(attach=attach, started_at_ms=started_at_ms)
                token = self._gateway.tokens.issue(facts, _now_ms())
                return _answer(
                    webhook, "connect", facts, twiml.connect(self._gateway.public_url, facts, token)
                )
            case Over(NextStep.HANG_UP):
                return _answer(webhook, "hang-up", facts, twiml.hang_up())
            case Full():
                return _answer(webhook, "full", facts, busy)
            case Ready() | Over() | Failed():
                return _answer(webhook, "fallback", facts, sorry)


def _facts(form: FormData, attach: int, started_at_ms: int) -> Facts:
    account_sid = form.get("AccountSid", "")
    try:
        call_id = subjects.token(str(form.get("CallSid", "")))
    except InvalidTokenError:
        raise _RefusedError(Rejection.BAD_REQUEST, 400) from None
    return Facts(
        call_id=call_id,
        account_sid=str(account_sid),
        caller=twiml.clean_number(str(form.get("From", ""))),
        called=twiml.clean_number(str(form.get("To", ""))),
        attach=attach,
        started_at_ms=started_at_ms,
    )


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
