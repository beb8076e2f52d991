"""The REST API's rules: what a request about calls means, and Twilio's errors for those that mean nothing. Pure.

(Twilio: Call resource; REST API error responses)
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trunkline_simulators.twilio_program import Updated
from trunkline_simulators.twilio_twiml import E164

TWIML_CHARACTERS_MAX = 4_000
RING_S = 60
RING_S_MAX = 600

_CALL_SID = re.compile(r"CA[0-9a-f]{32}")


class RestError(Exception):
    """An answer with an error status; `code` is Twilio's number, 0 where there is none."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        """Return the JSON that Twilio answers."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Who may ask; `users` are further user names with their passwords: API keys."""

    sid: str
    auth_token: str
    users: Mapping[str, str]

    def check(self, authorization: str) -> str:
        """Return the user; raise 20003 unless this is HTTP Basic with one of the account's passwords."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        expected = {self.sid: self.auth_token, **self.users}.get(user, "")
        matches = hmac.compare_digest(password.encode(), expected.encode())
        if scheme.lower() != "basic" or not expected or not matches:
            raise RestError(401, 20003, "Authenticate")
        return user


@dataclass(frozen=True, slots=True)
class Create:
    """`POST Calls.json`: place a call."""

    to: str
    from_: str
    url: str
    ring_s: int
    status_callback: str | None
    detection_callback: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """`POST Calls/{sid}.json`: end a call, or give it another document; neither changes nothing."""

    end: bool
    update: Updated | None


def route(account_sid: str, method: str, path: str) -> str | None:
    """Return the CallSid of a request, None for the list of calls; raises 20404 and 20004."""
    head = f"/2010-04-01/Accounts/{account_sid}/Calls"
    call_sid = path.removeprefix(f"{head}/").removesuffix(".json")
    is_list = path == f"{head}.json"
    if not is_list and path != f"{head}/{call_sid}.json":
        raise not_found(path)
    if method != "POST":
        raise RestError(405, 20004, "Method not allowed")
    if is_list:
        return None
    if not _CALL_SID.fullmatch(call_sid):
        raise not_found(path)
    return call_sid


def not_found(path: str) -> RestError:
    """Return the error for what is not there, or not any more."""
    return RestError(404, 20404, f"The requested resource {path} was not found")


def not_in_progress() -> RestError:
    """Return the error for a call that is over, or not answered yet."""
    return RestError(400, 21220, "Call is not in-progress. Cannot redirect.")


def read_create(form: Mapping[str, str], numbers: tuple[str, ...]) -> Create:
    """Return the call to place; `numbers` are the account's, none stands for any."""
    to, from_ = form.get("To", ""), form.get("From", "")
    if not to:
        raise RestError(400, 21201, "No 'To' number is specified")
    if not E164.fullmatch(to):
        raise RestError(400, 21211, f"The phone number you are attempting to call, {to}, is not valid.")
    if not from_:
        raise RestError(400, 21213, "No 'From' number is specified")
    if not E164.fullmatch(from_):
        raise RestError(400, 21212, f"The 'From' number {from_} is not a valid phone number.")
    if numbers and from_ not in numbers:
        raise RestError(
            400, 21210, f"The source phone number provided, {from_}, is not verified for your account."
        )
    url, callback = form.get("Url", ""), form.get("StatusCallback")
    if not _is_url(url):
        raise RestError(400, 21205, "Url parameter is required.")
    if callback and not _is_url(callback):
        raise RestError(400, 21609, f"StatusCallback is not a valid URL: {callback}")
    detection = form.get("MachineDetection", "")
    if detection not in ("", "none", "Enable", "DetectMessageEnd"):
        raise _invalid("MachineDetection")
    detection_callback = form.get("AsyncAmdStatusCallback")
    if detection in ("Enable", "DetectMessageEnd") and (
        form.get("AsyncAmd") != "true" or not _is_url(detection_callback or "")
    ):
        raise _invalid("AsyncAmd: only detection in the background is simulated")
    return Create(to, from_, url, _ring_s(form), callback, detection_callback if detection else None)


def read_change(form: Mapping[str, str]) -> Change:
    """Return what is to become of a call."""
    status = form.get("Status", "")
    if status not in ("", "completed", "canceled"):
        raise _invalid("Status")
    if document := form.get("Twiml"):
        if len(document) > TWIML_CHARACTERS_MAX:
            raise _invalid("Twiml")
        return Change(end=bool(status), update=Updated(document.encode()))
    if url := form.get("Url"):
        if not _is_url(url):
            raise RestError(400, 21205, "Url is not a valid URL")
        return Change(end=bool(status), update=Updated(None, url, form.get("Method", "POST")))
    return Change(end=bool(status), update=None)


def _ring_s(form: Mapping[str, str]) -> int:
    text = form.get("Timeout", str(RING_S))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= RING_S_MAX):
        raise _invalid("Timeout")
    return int(text)


def _invalid(parameter: str) -> RestError:
    return RestError(400, 20001, f"Invalid parameter {parameter}")


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
