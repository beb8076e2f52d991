"""The REST API's account and its phone numbers, as they are read: pages, filters and Twilio's errors. Pure.

(Twilio: Account resource; IncomingPhoneNumber resource; API keys; REST API, pagination)
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from trunkline_simulators.twilio_rest_calls import RestError, not_found

PAGE_SIZE = 50
PAGE_SIZE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class AccountState:
    """How an account stands with Twilio."""

    status: Literal["active", "suspended", "closed"] = "active"
    type: Literal["Full", "Trial"] = "Full"


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number of the account and where it leads; the names are Twilio's."""

    phone_number: str
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    status_callback: str = ""
    status_callback_method: str = "POST"
    voice_application_sid: str = ""
    trunk_sid: str | None = None


def reads(account_sid: str, path: str) -> Literal["account", "numbers"] | None:
    """Return which of the two a path names; None for any other."""
    head = f"/2010-04-01/Accounts/{account_sid}"
    if path == f"{head}.json":
        return "account"
    return "numbers" if path == f"{head}/IncomingPhoneNumbers.json" else None


def account_body(account_sid: str, state: AccountState, user: str) -> dict[str, Any]:
    """Return the account; raises 20003 for an API key, to which Twilio does not tell it."""
    if user != account_sid:
        raise RestError(401, 20003, "Authenticate")
    return {
        "sid": account_sid,
        "owner_account_sid": account_sid,
        "friendly_name": "Simulated account",
        "status": state.status,
        "type": state.type,
        "uri": f"/2010-04-01/Accounts/{account_sid}.json",
    }


def numbers_body(
    account_sid: str, numbers: Sequence[PhoneNumber], path: str, query: Mapping[str, str]
) -> dict[str, Any]:
    """Return one page of the account's numbers; raises 20001 and 20404."""
    size = min(_number(query, "PageSize", PAGE_SIZE), PAGE_SIZE_MAX)
    page = _number(query, "Page", 0)
    if not size:
        raise RestError(400, 20001, "Invalid parameter PageSize")
    wanted = query.get("PhoneNumber", "*")
    rows = [
        row for row in _resources(account_sid, numbers) if fnmatch.fnmatchcase(row["phone_number"], wanted)
    ]
    start = page * size
    if page and start >= len(rows):
        raise not_found(path)
    shown = rows[start : start + size]

    def uri(number: int) -> str:
        kept = {name: value for name, value in query.items() if name not in ("Page", "PageSize")}
        return f"{path}?{urlencode(kept | {'PageSize': size, 'Page': number})}"

    return {
        "incoming_phone_numbers": shown,
        "page": page,
        "page_size": size,
        "start": start,
        "end": max(start + len(shown) - 1, start),
        "uri": uri(page),
        "first_page_uri": uri(0),
        "previous_page_uri": uri(page - 1) if page else None,
        "next_page_uri": uri(page + 1) if start + size < len(rows) else None,
    }


def _resources(account_sid: str, numbers: Sequence[PhoneNumber]) -> list[dict[str, Any]]:
    return [
        {
            "sid": f"PN{place:032x}",
            "account_sid": account_sid,
            "api_version": "2010-04-01",
            "friendly_name": number.phone_number,
            "phone_number": number.phone_number,
            "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
            "voice_url": number.voice_url or None,
            "voice_method": number.voice_method,
            "voice_fallback_url": number.voice_fallback_url or None,
            "voice_fallback_method": "POST",
            "voice_application_sid": number.voice_application_sid or None,
            "trunk_sid": number.trunk_sid,
            "status_callback": number.status_callback,
            "status_callback_method": number.status_callback_method,
            "status": "in-use",
            "origin": "twilio",
            "uri": f"/2010-04-01/Accounts/{account_sid}/IncomingPhoneNumbers/PN{place:032x}.json",
        }
        for place, number in enumerate(numbers, 1)
    ]


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise RestError(400, 20001, f"Invalid parameter {name}")
    return int(text)
