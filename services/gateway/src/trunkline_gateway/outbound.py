"""Pure: what a request for an outbound call may ask for, how often, and how it is answered when it may not.

Refusals are problem details (RFC 9457): each says what to do about it, and none repeats a number.
"""

import hashlib
import re
from collections import OrderedDict
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from trunkline_gateway.twiml import E164

NUMBERS_MAX: Final = 10_000
"""Destinations remembered at once; the limit for all of them makes more of them in a few minutes impossible."""

KEY_CHARS_MAX: Final = 255

MACHINES: Final = frozenset(
    {"machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other", "fax"}
)
"""Values of AnsweredBy that are nobody to talk to (Twilio: Answering Machine Detection)."""

PARTIES: Final = frozenset({"human", "unknown"}) | MACHINES

ALREADY_OVER: Final = frozenset({21220, 20404})
"""Twilio's errors for a call that is not in progress, or not known any more."""

_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARS_MAX}}}")

Number = Annotated[str, msgspec.Meta(pattern=E164)]


class CallRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /calls`."""

    to: Number
    """Who is called; never logged."""
    from_: Number = msgspec.field(name="from")
    """The number of ours that is shown: it selects the agent, as if it had been called."""
    machine_detection: Literal["off", "detect"] = "off"
    timeout_s: Annotated[int, msgspec.Meta(ge=5, le=600)] = 30
    """How long it may ring (Twilio: Call resource, Timeout)."""


class _Kind(NamedTuple):
    status: int
    word: str
    title: str
    what_to_do: str


class Problem(Enum):
    """Why no call was placed."""

    DISABLED = _Kind(
        404, "disabled", "Outbound calls are off", "Set API_KEYS on the gateway, and OUTBOUND_ALLOWED."
    )
    BAD_REQUEST = _Kind(400, "bad-request", "This is no JSON object of a call", "See the detail.")
    KEY_MISSING = _Kind(
        400,
        "idempotency-key-missing",
        "Idempotency-Key is missing or malformed",
        f"Send one of 1 to {KEY_CHARS_MAX} printable characters without spaces, a new one for each call.",
    )
    UNAUTHORIZED = _Kind(
        401, "unauthorized", "No valid API key", "Send Authorization: Bearer with a key of API_KEYS."
    )
    NOT_ALLOWED = _Kind(
        403,
        "destination-not-allowed",
        "This destination may not be called",
        "Add a prefix of it to OUTBOUND_ALLOWED on the gateway if it should be.",
    )
    IN_PROGRESS = _Kind(
        409,
        "in-progress",
        "A request with this Idempotency-Key is under way, or was cut off",
        "Ask again in some seconds. If it stays so, look in Twilio's call log before you use a new key.",
    )
    INVALID = _Kind(422, "invalid", "A field is not as it must be", "See the detail.")
    KEY_REUSED = _Kind(
        422, "idempotency-key-reused", "This Idempotency-Key was used for another call", "Use a new key."
    )
    TOO_MANY = _Kind(
        429,
        "too-many-calls",
        "Too many calls, to this number or in all",
        "Wait as long as Retry-After says; the same key may be used again.",
    )
    TWILIO_REFUSED = _Kind(
        502, "twilio-refused", "Twilio refused the call", "See Twilio's page on the error in the detail."
    )
    TWILIO_UNREACHED = _Kind(
        502,
        "twilio-unreached",
        "Twilio could not be asked",
        "No call was placed. Ask again in some seconds; the same key may be used.",
    )
    TWILIO_SILENT = _Kind(
        502,
        "twilio-silent",
        "Twilio did not answer, and may have placed the call",
        "Look in Twilio's call log before you ask again with a new key.",
    )
    NOT_READY = _Kind(
        503,
        "not-ready",
        "Requests cannot be told apart without NATS JetStream",
        "No call was placed. Ask again in some seconds; see /readyz of the gateway.",
    )

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def word(self) -> str:
        """The word for it in logs and metrics."""
        return self.value.word

    def body(self, detail: str = "") -> dict[str, Any]:
        """Return the problem details (RFC 9457, section 3.1)."""
        kind = self.value
        return {
            "type": f"urn:trunkline:problem:{kind.word}",
            "title": kind.title,
            "status": kind.status,
            "detail": " ".join(part for part in (detail, kind.what_to_do) if part),
        }


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """The request is answered with a problem."""

    def __init__(self, problem: Problem, detail: str = "", retry_after_s: float = 0) -> None:
        super().__init__(problem.word)
        self.problem = problem
        self.detail = detail
        self.retry_after_s = retry_after_s


class TwilioRefusedError(Exception):
    """Twilio said no; `code` is its error number."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class TwilioUnreachedError(Exception):
    """The request did not reach Twilio, or Twilio did not take it up: surely nothing happened."""


class TwilioSilentError(Exception):
    """Twilio may or may not have done what it was asked for."""


def read_request(body: bytes) -> CallRequest:
    """Return what the body asks for; raise `Refused` when it is malformed."""
    try:
        return msgspec.json.decode(body, type=CallRequest)
    except msgspec.ValidationError as error:
        raise Refused(Problem.INVALID, f"{error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Problem.BAD_REQUEST, "The body is not JSON.") from error


def check_key(key: str | None) -> str:
    """Return the Idempotency-Key; raise `Refused` when it is missing or malformed."""
    if not key or not _KEY.fullmatch(key):
        raise Refused(Problem.KEY_MISSING)
    return key


def claim_name(api_key: str, key: str) -> str:
    """Return under which name an Idempotency-Key of one holder of an API key is remembered."""
    return hashlib.sha256(f"{api_key}\0{key}".encode()).hexdigest()


def fingerprint(request: CallRequest, claim: str) -> str:
    """Return what tells one request under a claim from another, without its numbers."""
    return hashlib.sha256(claim.encode() + msgspec.json.encode(request)).hexdigest()


class OutboundLimits:
    """Which destinations may be called and how often: one token bucket for all calls, and one for each number."""

    def __init__(self, allowed: tuple[str, ...], per_minute: int, per_number_per_minute: int) -> None:
        """Take the allowed E.164 prefixes; none allows nothing."""
        self._allowed = allowed
        self._per_number = per_number_per_minute
        self._all = _TokenBucket(per_minute)
        self._numbers: OrderedDict[str, _TokenBucket] = OrderedDict()

    def allows(self, number: str) -> bool:
        """Tell whether this destination may be called at all."""
        return number.startswith(self._allowed)

    def wait_s(self, number: str, now: float) -> float:
        """Take a call from both buckets and return 0; or take nothing and return after how long there is one."""
        bucket = self._numbers.pop(number, None) or _TokenBucket(self._per_number)
        self._numbers[number] = bucket
        if len(self._numbers) > NUMBERS_MAX:
            self._numbers.popitem(last=False)
        wait_s = max(bucket.wait_s(now), self._all.wait_s(now))
        if not wait_s:
            bucket.take()
            self._all.take()
        return wait_s


class _TokenBucket:
    """Full at first; a minute's worth of calls at most may come at once."""

    def __init__(self, per_minute: int) -> None:
        self._tokens_max = self._tokens = float(per_minute)
        self._per_s = per_minute / 60
        self._filled_at: float | None = None

    def wait_s(self, now: float) -> float:
        if self._filled_at is not None:
            self._tokens = min(self._tokens + (now - self._filled_at) * self._per_s, self._tokens_max)
        self._filled_at = now
        return max(1 - self._tokens, 0) / self._per_s

    def take(self) -> None:
        self._tokens -= 1
