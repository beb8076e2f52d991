"""Twilio's REST API: places calls, gives them other instructions, ends them (Twilio: Call resource).

Importing this takes a third of a second, so only a gateway that may sign in does it.
"""

import asyncio
import logging
from typing import Any, Final

import twilio.rest.api  # type: ignore[import-untyped]  # noqa: F401  # else the client imports it at the first call
from aiohttp import ClientConnectorError, ClientError
from twilio.base.exceptions import (  # type: ignore[import-untyped]  # twilio ships no types
    TwilioRestException,
    TwilioServiceException,
)
from twilio.http.async_http_client import (  # type: ignore[import-untyped]
    AsyncTwilioHttpClient,
)
from twilio.rest import Client

from trunkline_gateway.outbound import (
    CallRequest,
    TwilioRefusedError,
    TwilioSilentError,
    TwilioUnreachedError,
)
from trunkline_gateway.public_url import MACHINE_PATH, STATUS_PATH, VOICE_PATH, PublicUrl
from trunkline_gateway.settings import GatewaySettings

PLACE_S_MAX: Final = 10.0
"""Twilio answers in a fraction of a second; it may still place a call that nobody waits for any more."""

END_S_MAX: Final = 5.0
REDIRECT_S_MAX: Final = 5.0


class TwilioRest:
    """A client of its own connections; make it inside the loop, and `close` it there."""

    def __init__(self, settings: GatewaySettings, public_url: PublicUrl) -> None:
        # It logs each request and its headers as INFO; error texts and paths may hold numbers.
        quiet = logging.getLogger("twilio.http")
        quiet.setLevel(logging.CRITICAL)
        self._http = AsyncTwilioHttpClient(logger=quiet)
        key, secret = settings.rest_credentials
        client = Client(
            key,
            secret,
            settings.twilio_account_sid,
            http_client=self._http,
            # An empty mapping would be taken for none: TWILIO_EDGE and TWILIO_REGION would then change the address.
            environment={"TWILIO_EDGE": ""},
        )
        client.api.base_url = settings.twilio_api_url
        self._calls = client.calls
        self._public_url = public_url

    async def place(self, request: CallRequest) -> str:
        """Queue a call and return its CallSid; it does not ring yet.

        Raises `TwilioRefusedError`, `TwilioUnreachedError` or `TwilioSilentError`.
        """
        options: dict[str, Any] = {
            "url": self._public_url.webhook(VOICE_PATH),
            "timeout": request.timeout_s,
            "status_callback": self._public_url.http(STATUS_PATH),
        }
        if request.machine_detection == "detect":
            # In the background: detection first would let a human wait in silence for seconds.
            options |= {
                "machine_detection": "Enable",
                "async_amd": "true",
                "async_amd_status_callback": self._public_url.http(MACHINE_PATH),
            }
        call = await _asked(self._calls.create_async(request.to, request.from_, **options), PLACE_S_MAX)
        if not isinstance(call.sid, str) or not call.sid:
            raise TwilioSilentError("an answer without a sid")
        return call.sid

    async def end(self, call_sid: str) -> None:
        """End a call; raises `TwilioRefusedError`, `TwilioUnreachedError` or `TwilioSilentError`."""
        await _asked(self._calls(call_sid).update_async(status="completed"), END_S_MAX)

    async def redirect(self, call_sid: str, url: str) -> None:
        """Have a call leave what it does, its stream included, for what `url` answers; raises as `end` does."""
        await _asked(self._calls(call_sid).update_async(url=url, method="POST"), REDIRECT_S_MAX)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


async def _asked(request: Any, limit_s: float) -> Any:
    try:
        # Not the client's own `timeout`: its asynchronous requests ignore it.
        async with asyncio.timeout(limit_s):
            return await request
    except (TwilioRestException, TwilioServiceException) as error:
        if error.status == 429:
            raise TwilioUnreachedError("Twilio asks for fewer requests") from error
        if error.status >= 500:
            raise TwilioSilentError(f"HTTP {error.status}") from error
        raise TwilioRefusedError(int(error.code or error.status)) from error
    except ClientConnectorError as error:
        raise TwilioUnreachedError(type(error).__name__) from error
    except (ClientError, TimeoutError, ValueError) as error:
        raise TwilioSilentError(type(error).__name__) from error
