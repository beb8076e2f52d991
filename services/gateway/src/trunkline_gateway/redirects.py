"""Has Twilio ask again what a call's next stream is, for workers whose call lost its stream.

Twilio is asked by its REST API, where it does not notice by itself that a gateway is gone. Any gateway with
credentials may do it: the call comes to whichever gateway Twilio's request reaches.
"""

import asyncio
import time
from typing import Final

from nats.aio.msg import Msg

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.control import ControlError, OwnerReply, OwnerRequest, Redirect, RedirectReply
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import metrics, twiml
from trunkline_gateway.calling import Calling
from trunkline_gateway.public_url import PublicUrl

REDIRECTS_PENDING_MAX: Final = 20
"""Of this process; a fifth of the requests that Twilio serves at once for an account (Twilio: error 20429)."""

REDIRECTS_PER_S_MAX: Final = 50
"""A gateway that died had two hundred calls; workers ask again for what is too much for one second."""

OWNER_TIMEOUT_S: Final = 0.5

_log = log.get(__name__)


class Redirects:
    """Serves the workers' requests for as long as `run` runs."""

    def __init__(self, bus: Bus, calling: Calling, public_url: PublicUrl) -> None:
        self._bus = bus
        self._calling = calling
        self._public_url = public_url
        self._pending = 0
        self._second_ends_at = 0.0
        self._in_second = 0

    async def run(self) -> None:
        """Serve until cancelled; without credentials there is nothing to serve."""
        if not self._calling.may_redirect:
            _log.info(
                "redirects-off",
                why="TWILIO_ACCOUNT_SID or TWILIO_AUTH_TOKEN is not set: a call whose gateway dies goes on only "
                "when Twilio notices by itself",
            )
            return
        async with asyncio.TaskGroup() as self._tasks:
            subscription = await self._bus.subscribe(
                subjects.REDIRECT, self._on_request, subjects.REDIRECT_QUEUE
            )
            try:
                await asyncio.Event().wait()
            finally:
                await subscription.end()

    async def _on_request(self, message: Msg) -> None:
        try:
            redirect = control.decode(message.data, Redirect)
            subjects.token(redirect.call_id)
        except (ControlError, InvalidTokenError) as error:
            _log.warning("redirect-malformed", why=str(error))
            metrics.REDIRECTS.labels("malformed").inc()
            return
        if not self._has_room(time.monotonic()):
            metrics.REDIRECTS.labels("busy").inc()
            await message.respond(control.encode(RedirectReply(ok=False)))
            return
        # Before Twilio is asked: a worker whose request was swallowed by a process that hangs asks the next one soon.
        await message.respond(control.encode(RedirectReply(ok=True)))
        self._pending += 1
        self._tasks.create_task(self._carry_out(redirect), name="redirect")

    def _has_room(self, now: float) -> bool:
        if now >= self._second_ends_at:
            self._second_ends_at, self._in_second = now + 1, 0
        if self._pending >= REDIRECTS_PENDING_MAX or self._in_second >= REDIRECTS_PER_S_MAX:
            return False
        self._in_second += 1
        return True

    async def _carry_out(self, redirect: Redirect) -> None:
        try:
            result = await self._ask_twilio(redirect)
        finally:
            self._pending -= 1
        metrics.REDIRECTS.labels(result).inc()
        _log.info("call-redirect", call_id=redirect.call_id, attach=redirect.attach, result=result)

    async def _ask_twilio(self, redirect: Redirect) -> str:
        # This process may have been stopped while the request waited, and Twilio would end a stream that is there now.
        if not await self._is_still_wanted(redirect):
            return "not-needed"
        url = twiml.reattach_url(self._public_url, redirect.attach, redirect.started_at_ms, redirect.detours)
        result = await self._calling.redirect(redirect.call_id, url)
        if result == "over":
            over = control.encode(OwnerRequest(op="over"))
            await self._bus.publish(subjects.owner(redirect.call_id), over)
        return result

    async def _is_still_wanted(self, redirect: Redirect) -> bool:
        question = control.encode(OwnerRequest(op="who"))
        try:
            answer = await self._bus.request(subjects.owner(redirect.call_id), question, OWNER_TIMEOUT_S)
            owner = control.decode(answer, OwnerReply)
        except (NobodyListensError, NoAnswerError, ControlError):
            # Whoever asked is gone: nobody would know what to do with the stream.
            return False
        if redirect.worker and redirect.worker != owner.worker:
            return False
        return owner.state == "active" and owner.fence.attach < redirect.attach
