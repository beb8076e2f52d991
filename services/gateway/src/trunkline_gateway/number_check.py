"""Pure: whether a number of a Twilio account leads its calls to this gateway (Twilio: IncomingPhoneNumber resource)."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from trunkline_gateway.public_url import RETRIES, STATUS_PATH, VOICE_PATH, PublicUrl

DIGITS_SHOWN: Final = 4
"""Enough to find a number among those of an account, not enough to call it."""


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """What was found: whether calls arrive here, what keeps them from it, and what is merely unwise."""

    shown: str
    leads_here: bool
    wrong: tuple[str, ...] = ()
    unwise: tuple[str, ...] = ()


def checked(number: dict[str, Any], public_url: PublicUrl) -> NumberCheck:
    """Judge one number of the account's list.

    A number that leads to our host, but not to the webhook, is meant for us and wrong; one that leads elsewhere
    is not meant for us, for all that can be known.
    """
    shown = masked(str(number.get("phone_number") or ""))
    voice_url = _text(number, "voice_url")
    is_meant = _host(voice_url) == _host(public_url.base)
    if not is_meant:
        return NumberCheck(shown, leads_here=False)
    if overrider := _overrider(number):
        return NumberCheck(shown, leads_here=False, wrong=(f"{overrider}, so its webhook is not asked",))
    wanted = public_url.http(VOICE_PATH)
    wrong: list[str] = []
    # What follows # are Twilio's settings of the connection; they are not sent.
    if voice_url.partition("#")[0] != wanted:
        wrong.append(f"its voice webhook is {_without_secrets(voice_url)}, not {wanted}")
    if _text(number, "voice_method").upper() != "POST":
        wrong.append(
            f"its voice webhook is asked by {_text(number, 'voice_method') or 'nothing'}, not by POST"
        )
    return NumberCheck(shown, leads_here=not wrong, wrong=tuple(wrong), unwise=_unwise(number, public_url))


def masked(number: str) -> str:
    """Return a number's last digits, which a report may show."""
    return f"…{number[-DIGITS_SHOWN:]}"


def _overrider(number: dict[str, Any]) -> str:
    if _text(number, "trunk_sid"):
        return "a SIP trunk is set"
    return "a TwiML application is set" if _text(number, "voice_application_sid") else ""


def _unwise(number: dict[str, Any], public_url: PublicUrl) -> tuple[str, ...]:
    unwise = []
    if not _text(number, "voice_url").partition("#")[2]:
        unwise.append(
            f"a gateway that dies over its question is not asked again; add #{RETRIES} to its voice webhook"
        )
    status_url, fallback_url = _text(number, "status_callback"), _text(number, "voice_fallback_url")
    wanted = public_url.http(STATUS_PATH)
    if status_url.partition("#")[0] != wanted:
        unwise.append(f"its status callback is {'not set' if not status_url else 'another'}; set {wanted}")
    elif _text(number, "status_callback_method").upper() != "POST":
        unwise.append("its status callback is not asked by POST")
    if not fallback_url:
        unwise.append("it has no fallback for when we do not answer; set one that does not lead here")
    elif _host(fallback_url) == _host(public_url.base):
        unwise.append("its fallback leads here, too")
    return tuple(unwise)


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _text(number: dict[str, Any], name: str) -> str:
    value = number.get(name)
    return value if isinstance(value, str) else ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
