"""Pure: what Twilio is told to do with a call, as TwiML."""

from typing import Final

from twilio.twiml.voice_response import (  # type: ignore[import-untyped]  # twilio ships no types
    Connect,
    VoiceResponse,
)

from trunkline_gateway.public_url import REATTACH_PATH, STATUS_PATH, PublicUrl
from trunkline_gateway.stream_token import Facts

CALLER_PARAMETER: Final = "callerNumber"
CALLED_PARAMETER: Final = "calledNumber"
TOKEN_PARAMETER: Final = "token"  # noqa: S105 - a name, not a secret

NUMBER_CHARS_MAX: Final = 256
"""A `<Parameter>` may hold 500 characters (Twilio: TwiML <Stream>); a SIP address is the longest caller."""


def connect(public_url: PublicUrl, facts: Facts, token: str) -> str:
    """Open the media stream; when it ends, ask us again with the next attach number.

    Twilio asks `action` when `<Connect>` ends, and goes on with `<Redirect>` where it does not: both lead to the
    same question. Query parameters stand in alphabetical order, for Twilio sorts them before it asks.
    """
    response = VoiceResponse()
    query = f"attach={facts.attach + 1}&started={facts.started_at_ms}"
    reattach = public_url.http(REATTACH_PATH, query)
    connection = Connect(action=reattach, method="POST")
    stream = connection.stream(
        url=public_url.stream,
        status_callback=public_url.http(STATUS_PATH),
        status_callback_method="POST",
    )
    for name, value in (
        (CALLER_PARAMETER, facts.caller),
        (CALLED_PARAMETER, facts.called),
        (TOKEN_PARAMETER, token),
    ):
        if value:
            stream.parameter(name=name, value=value)
    response.append(connection)
    response.redirect(reattach, method="POST")
    return str(response)


def say_and_hang_up(sentence: str, language: str) -> str:
    """Tell the caller something, then end the call."""
    response = VoiceResponse()
    response.say(sentence, language=language)
    response.hangup()
    return str(response)


def hang_up() -> str:
    """End the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def clean_number(value: str) -> str:
    """Return a number or address such that it can stand in XML and in a `<Parameter>`."""
    return "".join(character for character in value if character.isprintable())[:NUMBER_CHARS_MAX]
