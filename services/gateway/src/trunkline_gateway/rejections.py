"""Why input from outside was refused: a closed list, counted always, logged once per cause and with restraint."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from trunkline_common import log
from trunkline_gateway import metrics

LOG_LINES_MAX: Final = 10
LOG_PERIOD_S: Final = 60
"""At most ten lines a minute for each reason: a scanner must not be able to fill a disk."""

_log = log.get(__name__)


class Rejection(StrEnum):
    """One reason to refuse a request, a socket or a message."""

    MISSING_SIGNATURE = "missing-signature"
    BAD_SIGNATURE = "bad-signature"
    BAD_REQUEST = "bad-request"
    WRONG_ACCOUNT = "wrong-account"
    WRONG_PATH = "wrong-path"
    STREAMS_FULL = "streams-full"
    NOT_READY = "not-ready"

    BINARY_FRAME = "binary-frame"
    NOT_JSON = "not-json"
    UNKNOWN_EVENT = "unknown-event"
    BAD_BASE64 = "bad-base64"
    MALFORMED_MESSAGE = "malformed-message"
    MEDIA_BEFORE_START = "media-before-start"
    WRONG_STREAM_SID = "wrong-stream-sid"
    SECOND_START = "second-start"
    OVERSIZE_MESSAGE = "oversize-message"
    TOO_MANY_BAD_MESSAGES = "too-many-bad-messages"
    FLOOD = "flood"

    NO_START = "no-start"
    BAD_START = "bad-start"
    WRONG_MEDIA_FORMAT = "wrong-media-format"
    TOKEN_MISSING = "token-missing"  # noqa: S105 - a label, not a secret
    TOKEN_FOREIGN = "token-foreign"  # noqa: S105
    TOKEN_EXPIRED = "token-expired"  # noqa: S105
    TOKEN_USED = "token-used"  # noqa: S105


EXPLANATIONS: Final = {
    Rejection.MISSING_SIGNATURE: "no X-Twilio-Signature: this did not come from Twilio",
    Rejection.BAD_SIGNATURE: (
        "check that TWILIO_AUTH_TOKEN belongs to this account and that PUBLIC_URL is the address Twilio was given"
    ),
    Rejection.BAD_REQUEST: "a field of Twilio's request is missing or malformed",
    Rejection.WRONG_ACCOUNT: "AccountSid is not TWILIO_ACCOUNT_SID",
    Rejection.WRONG_PATH: "media streams are served at /media-stream only",
    Rejection.STREAMS_FULL: "GATEWAY_STREAMS_MAX calls are live; start another gateway",
    Rejection.NOT_READY: "this gateway is starting, stopping or without NATS; see /readyz",
    Rejection.BINARY_FRAME: "Media Streams are text frames",
    Rejection.NOT_JSON: "the message is not JSON",
    Rejection.UNKNOWN_EVENT: "Media Streams have no such event; it was ignored",
    Rejection.BAD_BASE64: "media.payload is not base64",
    Rejection.MALFORMED_MESSAGE: "a field of the message is missing or of the wrong type",
    Rejection.MEDIA_BEFORE_START: "a message came before `start`",
    Rejection.WRONG_STREAM_SID: "streamSid is not this stream's",
    Rejection.SECOND_START: "`start` came twice on one socket",
    Rejection.OVERSIZE_MESSAGE: "the message is larger than 64 KiB",
    Rejection.TOO_MANY_BAD_MESSAGES: "the socket was closed after several bad messages",
    Rejection.FLOOD: "the socket was closed: far more messages than a phone line sends",
    Rejection.NO_START: "no `start` within its deadline",
    Rejection.BAD_START: "streamSid or callSid in `start` is malformed",
    Rejection.WRONG_MEDIA_FORMAT: "only audio/x-mulaw, 8000 Hz, 1 channel is served",
    Rejection.TOKEN_MISSING: "`start` carries no token: the TwiML did not come from POST /voice",
    Rejection.TOKEN_FOREIGN: "the token was not made by us for this call and account",
    Rejection.TOKEN_EXPIRED: "the token is older than its lifetime",
    Rejection.TOKEN_USED: "the token, or its attach number, has opened a stream before",
}
"""What a person reading the log should know or do."""


class Rejections:
    """Counts each rejection and logs it as one line, with `suppressed` telling what was not logged before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._period_ends_at = dict.fromkeys(Rejection, 0.0)
        self._lines = dict.fromkeys(Rejection, 0)

    def note(self, rejection: Rejection, **fields: Any) -> None:
        """Count `rejection`; `fields` go into the line and hold no secrets and no numbers."""
        metrics.REJECTED.labels(rejection).inc()
        now = self._clock()
        suppressed = 0
        if now >= self._period_ends_at[rejection]:
            suppressed = max(self._lines[rejection] - LOG_LINES_MAX, 0)
            self._period_ends_at[rejection] = now + LOG_PERIOD_S
            self._lines[rejection] = 0
        self._lines[rejection] += 1
        if self._lines[rejection] > LOG_LINES_MAX:
            return
        if suppressed:
            fields["suppressed"] = suppressed
        _log.warning("input-rejected", reason=rejection.value, why=EXPLANATIONS[rejection], **fields)
