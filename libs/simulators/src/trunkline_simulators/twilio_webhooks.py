"""Twilio's HTTP requests: signed forms to the webhooks, with its timeouts and retries."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import httpx
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no types

from trunkline_simulators.twilio_overrides import Overrides
from trunkline_simulators.twilio_program import Answered, Failed
from trunkline_simulators.twilio_trace import Trace

ANSWER_BYTES_MAX = 4 * 2**20  # TwiML is judged elsewhere; this is minutes of <Play>


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """Where the public host really is: a plaintext server, as with curl's `--connect-to`."""

    public_host: str
    host: str
    port: int

    def applies_to(self, url: str) -> bool:
        """Return whether this URL's host is the public one."""
        return urlsplit(url).hostname == self.public_host


def signed_url(url: str) -> str:
    """Return the form of a URL that Twilio signs: no fragment, over TLS no user and no port.

    (Twilio: Security, Validating requests)
    """
    parts = urlsplit(url)._replace(fragment="")
    if parts.scheme in ("https", "wss"):
        parts = parts._replace(netloc=_host(parts))
    return urlunsplit(parts)


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def call_fields(account_sid: str, call_sid: str, caller: str, called: str, status: str) -> dict[str, str]:
    """Return what every request about an inbound call carries; blank fields are normal.

    (Twilio: TwiML Voice, Request parameters)
    """
    fields = {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid,
        "CallStatus": status,
        "CallToken": f"simulated-{call_sid}",
        "Direction": "inbound",
        "StirVerstat": "TN-Validation-Passed-A",
    }
    for name, number in {"Caller": caller, "From": caller, "Called": called, "To": called}.items():
        fields[name] = number
        fields[f"{name}City"] = ""
        fields[f"{name}Country"] = "US"
        fields[f"{name}State"] = "DC"
        fields[f"{name}Zip"] = ""
    return dict(sorted(fields.items()))


class Webhooks:
    """Asks one call's webhooks; `aclose` it afterwards."""

    def __init__(
        self, auth_token: str, connect_to: ConnectTo | None, trace: Trace, wrong_signature: bool = False
    ) -> None:
        self._validator = RequestValidator(auth_token)
        self._connect_to = connect_to
        self._trace = trace
        self._wrong_signature = wrong_signature
        # Whoever says where the server is does not want a proxy on the way.
        self._client = httpx.AsyncClient(
            trust_env=connect_to is None,
            verify=_tls(),
            headers={"user-agent": "TwilioProxy/1.1", "accept": "*/*"},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def signature(self, url: str, fields: Mapping[str, str]) -> str:
        """Return `X-Twilio-Signature` for a request to exactly this URL."""
        return str(self._validator.compute_signature(url, fields))

    async def ask(self, url: str, method: str, fields: Mapping[str, str]) -> Answered | Failed:
        """Send one signed request; whatever happens is an answer or a failure, never an exception."""
        if method == "GET":
            url = _with_query(url, fields)
            fields = {}
        signature = self.signature(signed_url(url), fields)
        headers = {"x-twilio-signature": signature[::-1] if self._wrong_signature else signature}
        overrides, path = Overrides.of(url), urlsplit(url).path
        try:
            async with asyncio.timeout(overrides.total_s):
                for attempt in range(overrides.retries + 1):
                    if attempt:
                        headers["i-twilio-idempotency-token"] = secrets.token_hex(16)
                    result, what = await self._try(method, url, fields, headers, overrides)
                    if isinstance(result, Answered) or not overrides.retries_after(what):
                        break
        except TimeoutError:
            return self._failed(path, f"no answer within {overrides.total_s:g} s")
        return result

    async def _try(
        self, method: str, url: str, fields: Mapping[str, str], headers: dict[str, str], overrides: Overrides
    ) -> tuple[Answered | Failed, str]:
        """Return what came of it, and as what the retry policy counts it."""
        path = urlsplit(url).path
        try:
            result = await self._request(method, url, fields, headers, overrides)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return self._failed(path, f"no connection: {error}"), "ct"
        except httpx.ReadTimeout:
            return self._failed(path, f"no answer within {overrides.read_s:g} s"), "rt"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return self._failed(path, f"{type(error).__name__}: {error}"), "reset"
        if isinstance(result, Failed) and result.status is not None:
            return result, f"{result.status // 100}xx"
        return result, ""

    async def _request(
        self, method: str, url: str, fields: Mapping[str, str], headers: dict[str, str], overrides: Overrides
    ) -> Answered | Failed:
        address, headers = self._address(url, headers)
        data = dict(fields) if method == "POST" else None
        timeout = httpx.Timeout(overrides.read_s, connect=overrides.connect_s)
        async with self._client.stream(
            method, address, data=data, headers=headers, timeout=timeout
        ) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    return self._failed(
                        urlsplit(url).path, f"an answer of more than {ANSWER_BYTES_MAX} bytes"
                    )
        path, status = urlsplit(url).path, response.status_code
        if not response.is_success:
            return self._failed(path, f"HTTP {status} from {path}", status)
        self._trace.add("http", method=method, path=path, status=status)
        return Answered(response.headers.get("content-type", ""), body)

    def _address(self, url: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        if self._connect_to is None or not self._connect_to.applies_to(url):
            return url, headers
        parts = urlsplit(url)
        netloc = f"{self._connect_to.host}:{self._connect_to.port}"
        plain = parts._replace(scheme="http", netloc=netloc, fragment="")
        return urlunsplit(plain), {**headers, "host": parts.netloc.rpartition("@")[2]}

    def _failed(self, path: str, detail: str, status: int | None = None) -> Failed:
        self._trace.add("http", path=path, status=status, error=detail)
        return Failed(detail, status)


@cache
def _tls() -> ssl.SSLContext:
    # Reading the authorities' certificates takes 20 ms, too long for each of many calls.
    return httpx.create_ssl_context()


def _with_query(url: str, fields: Mapping[str, str]) -> str:
    if not fields:
        return url
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(fields)) if part)
    return urlunsplit(parts._replace(query=query))
