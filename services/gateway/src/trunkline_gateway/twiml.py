"""Pure: what Twilio is told to do with a call, as TwiML."""

import re
from typing import Final

from twilio.twiml.voice_response import (  # type: ignore[import-untyped]  # twilio ships no types
    Connect,
    Dial,
    VoiceResponse,
)

from trunkline_common.control import Transfer
from trunkline_gateway.public_url import (
    DIALED_PATH,
    OVERFLOWED_PATH,
    REATTACH_PATH,
    STATUS_PATH,
    WAIT_PATH,
    WAITED_PATH,
    PublicUrl,
)
from trunkline_gateway.stream_token import Facts
from trunkline_gateway.waiting import Stay, Words

CALLER_PARAMETER: Final = "callerNumber"
CALLED_PARAMETER: Final = "calledNumber"
TOKEN_PARAMETER: Final = "token"  # noqa: S105 - a name, not a secret

NUMBER_CHARS_MAX: Final = 256
"""A `<Parameter>` may hold 500 characters (Twilio: TwiML <Stream>); a SIP address is the longest caller."""

RING_S_MAX: Final = 600
"""The longest `timeout` of `<Dial>` (Twilio: TwiML <Dial>)."""

E164: Final = r"^\+[1-9][0-9]{6,14}$"
_DIGITS: Final = re.compile(r"[0-9*#w]{1,32}")


def connect(public_url: PublicUrl, facts: Facts, token: str, detours: int = 0, digits: str = "") -> str:
    """Play `digits` as DTMF, if any, and open the media stream; when it ends, ask us again with the next attach.

    Twilio asks `action` when `<Connect>` ends, and goes on with `<Redirect>` where it does not: both lead to the
    same question.
    """
    response = VoiceResponse()
    if digits:
        response.play(digits=digits)
    reattach = reattach_url(public_url, facts.attach + 1, facts.started_at_ms, detours)
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


def reattach_url(public_url: PublicUrl, attach: int, started_at_ms: int, detours: int) -> str:
    """Return where Twilio asks what comes after a stream; `attach` is the number of the next one."""
    return public_url.webhook(REATTACH_PATH, _query(attach, started_at_ms, detours))


def dial(public_url: PublicUrl, facts: Facts, transfer: Transfer, detours: int) -> str:
    """Put the caller through; whatever comes of it, ask us with the attach number that is free."""
    return _dial(
        transfer, public_url.webhook(DIALED_PATH, _query(facts.attach, facts.started_at_ms, detours))
    )


def overflow(public_url: PublicUrl, facts: Facts, transfer: Transfer, why: str) -> str:
    """Dial somebody in place of an agent; whatever comes of it, ask us once more, and never dial again."""
    query = f"{_query(facts.attach, facts.started_at_ms, 0)}&why={why}"
    return _dial(transfer, public_url.webhook(OVERFLOWED_PATH, query))


def enqueue(public_url: PublicUrl, facts: Facts, detours: int, stay: Stay, queue: str, words: Words) -> str:
    """Say something and let the caller wait in a queue; however that ends, ask us.

    On `<Leave>` Twilio asks `action` (Twilio: TwiML <Enqueue>) or goes on with the next verb (TwiML <Leave>): both
    lead to the same question.
    """
    response = VoiceResponse()
    if words.text:
        response.say(words.text, language=words.language)
    waited = public_url.webhook(WAITED_PATH, _stay_query(facts, detours, stay))
    response.enqueue(
        queue,
        action=waited,
        method="POST",
        wait_url=public_url.webhook(WAIT_PATH, _stay_query(facts, detours, stay)),
        wait_url_method="POST",
    )
    response.redirect(waited, method="POST")
    return str(response)


def hold(public_url: PublicUrl, facts: Facts, detours: int, stay: Stay, words: Words, music: str) -> str:
    """Say something to a caller in a queue and play a sound file; then ask us again, with what was said."""
    response = VoiceResponse()
    if words.text:
        response.say(words.text, language=words.language)
    response.play(music)
    if stay.told_position:
        response.redirect(public_url.webhook(WAIT_PATH, _stay_query(facts, detours, stay)), method="POST")
    return str(response)


def leave() -> str:
    """Let the caller leave the queue (Twilio: TwiML <Leave>)."""
    response = VoiceResponse()
    response.leave()
    return str(response)


def reject() -> str:
    """Refuse a call before it is answered, with the busy tone: nobody pays for it (Twilio: TwiML <Reject>)."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def say_and_hang_up(words: Words) -> str:
    """Tell the caller something, then end the call."""
    response = VoiceResponse()
    response.say(words.text, language=words.language)
    response.hangup()
    return str(response)


def hang_up() -> str:
    """End the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def is_e164(number: str) -> bool:
    """Tell whether this is a telephone number that may be dialled, such as +12025550123."""
    return re.fullmatch(E164, number) is not None


def are_digits(digits: str) -> bool:
    """Tell whether these can be played as DTMF: keys, and `w` for half a second of silence."""
    return _DIGITS.fullmatch(digits) is not None


def clean_number(value: str) -> str:
    """Return a number or address such that it can stand in XML and in a `<Parameter>`."""
    return "".join(character for character in value if character.isprintable())[:NUMBER_CHARS_MAX]


def _dial(transfer: Transfer, action: str) -> str:
    response = VoiceResponse()
    # answerOnBridge: the caller hears the real ringing tone, and a busy line is no answer.
    verb = Dial(
        answer_on_bridge=True,
        timeout=min(max(transfer.timeout_s, 1), RING_S_MAX),
        action=action,
        method="POST",
    )
    verb.number(transfer.number)
    response.append(verb)
    response.redirect(action, method="POST")
    return str(response)


def _stay_query(facts: Facts, detours: int, stay: Stay) -> str:
    detour = f"&detours={detours}" if detours else ""
    told = f"&told={stay.told_position}&told_at={stay.told_at_s}" if stay.told_position else ""
    waited = f"&waited={stay.before_s}" if stay.before_s else ""
    return f"attach={facts.attach}{detour}&started={facts.started_at_ms}{told}{waited}"


def _query(attach: int, started_at_ms: int, detours: int) -> str:
    """Parameters stand in alphabetical order, for Twilio sorts them before it asks."""
    detour = f"&detours={detours}" if detours else ""
    return f"attach={attach}{detour}&started={started_at_ms}"
