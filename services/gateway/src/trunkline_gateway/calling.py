"""Places outbound calls: limits, the claim of the Idempotency-Key, Twilio's REST API. Ends and redirects calls, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from trunkline_common import log
from trunkline_common.bus import Bus
from trunkline_gateway import metrics
from trunkline_gateway.call_claims import Answer, CallClaims, ClaimsUnavailableError
from trunkline_gateway.outbound import (
    ALREADY_OVER,
    CallRequest,
    OutboundLimits,
    Problem,
    Refused,
    TwilioRefusedError,
    TwilioSilentError,
    TwilioUnreachedError,
    claim_name,
    fingerprint,
)
from trunkline_gateway.public_url import PublicUrl
from trunkline_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from trunkline_gateway.twilio_rest import TwilioRest

END_TRIES_MAX: Final = 2
"""Ending a call twice does no harm, and an agent that talks to a machine costs money."""

PLACING_MAX: Final = 100
"""Requests that may wait for Twilio at once, a thousand calls a minute even where it takes seconds."""

BUSY_RETRY_S: Final = 1.0

_log = log.get(__name__)


class Calling:
    """What one gateway does with Twilio's REST API; nothing before `open`."""

    def __init__(self, settings: GatewaySettings, public_url: PublicUrl) -> None:
        self.keys = settings.outbound_keys
        """Of those who may place calls."""
        self._connect: Callable[[], TwilioRest] | None = None
        if settings.may_use_rest:
            # Here, before anybody calls, and only where it can be used: see there.
            from trunkline_gateway import twilio_rest  # noqa: PLC0415

            self._connect = lambda: twilio_rest.TwilioRest(settings, public_url)
        self._limits = OutboundLimits(
            settings.outbound_prefixes, settings.outbound_per_minute, settings.outbound_per_number_per_minute
        )
        self._claims = CallClaims(settings.event_replicas)
        self._placing = 0
        self._bus: Bus | None = None
        self._rest: TwilioRest | None = None

    def open(self, bus: Bus) -> None:
        """NATS is reached: from now on Twilio can be asked, if there are credentials."""
        self._bus = bus
        if self._connect is not None:
            self._rest = self._connect()

    async def close(self) -> None:
        """Close the connections to Twilio."""
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest.close()

    async def place(self, request: CallRequest, api_key: str, key: str) -> Answer:
        """Place a call and return the answer, or the one that the first request with `key` was given.

        Raises `Refused` where no call was placed and the same key may be used again.
        """
        if not self._limits.allows(request.to):
            raise Refused(Problem.NOT_ALLOWED)
        if self._bus is None or self._rest is None:
            raise Refused(Problem.NOT_READY)
        if self._placing >= PLACING_MAX:
            raise Refused(Problem.TOO_MANY, retry_after_s=BUSY_RETRY_S)
        claim = claim_name(api_key, key)
        mark = fingerprint(request, claim)
        self._placing += 1
        try:
            # A client that goes away must not leave a claim without its answer.
            return await asyncio.shield(self._place_once(self._bus, self._rest, request, claim, mark))
        except ClaimsUnavailableError as error:
            _log.warning("outbound-claims-unavailable", why=str(error))
            raise Refused(Problem.NOT_READY) from error
        finally:
            self._placing -= 1

    async def end(self, call_id: str) -> None:
        """End a call at Twilio; that it is over already is as good. Never raises."""
        if self._rest is None:
            _log.warning(
                "call-not-ended", call_id=call_id, why="TWILIO_ACCOUNT_SID is not set on this gateway"
            )
            metrics.CALLS_ENDED.labels("failed").inc()
        else:
            metrics.CALLS_ENDED.labels(await _end(self._rest, call_id)).inc()

    @property
    def may_redirect(self) -> bool:
        """Whether Twilio can be asked."""
        return self._rest is not None

    async def redirect(self, call_id: str, url: str) -> Literal["redirected", "over", "failed"]:
        """Have Twilio ask `url` how the call goes on; one try, for a repeated one could cut what the first began."""
        if self._rest is None:
            return "failed"
        try:
            await self._rest.redirect(call_id, url)
        except TwilioRefusedError as error:
            if error.code in ALREADY_OVER:
                return "over"
            _log.warning("call-not-redirected", call_id=call_id, twilio_error=error.code)
        except (TwilioUnreachedError, TwilioSilentError) as error:
            _log.warning("call-not-redirected", call_id=call_id, why=str(error))
        else:
            return "redirected"
        return "failed"

    async def _place_once(
        self, bus: Bus, rest: TwilioRest, request: CallRequest, claim: str, mark: str
    ) -> Answer:
        known = await self._claims.claim(bus, claim, mark)
        if known is not None:
            return _repeat(known, mark)
        wait_s = self._limits.wait_s(request.to, time.monotonic())
        if wait_s:
            await self._release(bus, claim)
            raise Refused(Problem.TOO_MANY, retry_after_s=wait_s)
        try:
            call_id = await rest.place(request)
        except TwilioUnreachedError as error:
            _log.warning("outbound-call-not-placed", why=str(error))
            await self._release(bus, claim)
            raise Refused(Problem.TWILIO_UNREACHED) from error
        except TwilioRefusedError as error:
            _log.warning("outbound-call-not-placed", twilio_error=error.code)
            detail = f"https://www.twilio.com/docs/api/errors/{error.code}."
            return await self._settle(bus, claim, _problem(Problem.TWILIO_REFUSED, mark, detail))
        except TwilioSilentError as error:
            _log.warning("outbound-call-in-doubt", why=str(error))
            return await self._settle(bus, claim, _problem(Problem.TWILIO_SILENT, mark))
        metrics.OUTBOUND.labels("placed").inc()
        _log.info("outbound-call-placed", call_id=call_id)
        placed = Answer(fingerprint=mark, status=201, body={"call_id": call_id, "status": "queued"})
        return await self._settle(bus, claim, placed)

    async def _settle(self, bus: Bus, claim: str, answer: Answer) -> Answer:
        try:
            await self._claims.settle(bus, claim, answer)
        except ClaimsUnavailableError as error:
            # The claim stays: its key is refused from now on, and no second call is placed.
            _log.warning("outbound-answer-not-kept", why=str(error))
        return answer

    async def _release(self, bus: Bus, claim: str) -> None:
        try:
            await self._claims.release(bus, claim)
        except ClaimsUnavailableError as error:
            _log.warning("outbound-claim-not-released", why=str(error))


async def _end(rest: TwilioRest, call_id: str) -> Literal["ended", "already-over", "failed"]:
    for _ in range(END_TRIES_MAX):
        try:
            await rest.end(call_id)
        except TwilioRefusedError as error:
            if error.code in ALREADY_OVER:
                return "already-over"
            _log.warning("call-not-ended", call_id=call_id, twilio_error=error.code)
        except (TwilioUnreachedError, TwilioSilentError) as error:
            _log.warning("call-not-ended", call_id=call_id, why=str(error))
        else:
            return "ended"
    return "failed"


def _repeat(known: Answer, mark: str) -> Answer:
    if known.fingerprint != mark:
        raise Refused(Problem.KEY_REUSED)
    if not known.status:
        raise Refused(Problem.IN_PROGRESS)
    metrics.OUTBOUND.labels("repeated").inc()
    return known


def _problem(problem: Problem, mark: str, detail: str = "") -> Answer:
    metrics.OUTBOUND.labels(problem.word).inc()
    return Answer(fingerprint=mark, status=problem.status, body=problem.body(detail))
