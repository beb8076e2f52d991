"""Pure: the closed lists of reasons, as they stand in metric labels and log lines."""

from enum import Enum, StrEnum
from typing import Final, NamedTuple

from trunkline_common.control import StopReason


class Rejection(StrEnum):
    """Why a request, a socket or a message from outside was refused."""

    MISSING_SIGNATURE = "missing-signature"
    BAD_SIGNATURE = "bad-signature"
    BAD_REQUEST = "bad-request"
    WRONG_ACCOUNT = "wrong-account"
    WRONG_PATH = "wrong-path"
    STREAMS_FULL = "streams-full"
    NOT_READY = "not-ready"

    BAD_TRANSFER_NUMBER = "bad-transfer-number"
    BAD_DIGITS = "bad-digits"
    BAD_DIAL_STATUS = "bad-dial-status"
    BAD_QUEUE_RESULT = "bad-queue-result"

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
        "check that TWILIO_AUTH_TOKEN is this account's and that PUBLIC_URL is the address Twilio was given"
    ),
    Rejection.BAD_REQUEST: "a field of Twilio's request is missing or malformed",
    Rejection.WRONG_ACCOUNT: "AccountSid is not TWILIO_ACCOUNT_SID",
    Rejection.WRONG_PATH: "media streams are served at /media-stream only",
    Rejection.STREAMS_FULL: "GATEWAY_STREAMS_MAX calls are live; start another gateway",
    Rejection.NOT_READY: "this gateway is starting, stopping or without NATS; see /readyz",
    Rejection.BAD_TRANSFER_NUMBER: "the worker named a transfer target that is not E.164; it was not dialled",
    Rejection.BAD_DIGITS: "the worker asked for DTMF other than 1 to 32 of 0-9 * # w; nothing was played",
    Rejection.BAD_DIAL_STATUS: "DialCallStatus is missing or unknown; it was taken for `failed`",
    Rejection.BAD_QUEUE_RESULT: "QueueResult is unknown; the caller was taken to have left the queue",
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


class Drop(StrEnum):
    """Why a frame went no further."""

    UNREADABLE = "unreadable"
    UNKNOWN_CALL = "unknown-call"
    UNKNOWN_KIND = "unknown-kind"
    STALE_FENCE = "stale-fence"
    FUTURE_FENCE = "future-fence"
    CLEARED_GENERATION = "cleared-generation"
    LATE = "late"
    BEHIND_LOST = "behind-lost"
    REPEATED = "repeated"
    BAD_MARK_NAME = "bad-mark-name"
    STREAM_ENDING = "stream-ending"
    ATTACH_BUFFER_FULL = "attach-buffer-full"
    OUTBOX_FULL = "outbox-full"
    RING_FULL = "ring-full"
    BAD_CHECKPOINT = "bad-checkpoint"
    CHECKPOINT_TOO_LARGE = "checkpoint-too-large"


REFUSALS: Final = frozenset(
    {Drop.STALE_FENCE, Drop.FUTURE_FENCE, Drop.UNKNOWN_KIND, Drop.BAD_MARK_NAME}
    | {Drop.BAD_CHECKPOINT, Drop.CHECKPOINT_TOO_LARGE}
)
"""What a sound owner does not send: told in the log, once for each stream."""


class Loss(StrEnum):
    """How a live call lost its owner."""

    GONE = "gone"
    """Its process listens no more, or it let go of the call while nobody else was ready."""
    SILENT = "silent"
    """Its process hangs, or is cut off from NATS."""
    STUCK = "stuck"
    """Its process answers, but this call consumes nothing of what it is sent."""


class TakeoverResult(StrEnum):
    """What came of a call that had lost its owner."""

    TAKEN = "taken"
    RETURNED = "returned"
    """The owner was back before another worker had room."""
    GIVEN_UP = "given-up"
    ENDED = "ended"
    """The stream ended first."""


class HandoverResult(StrEnum):
    """What came of an attempt to hand a call over."""

    MOVED = "moved"
    NO_WORKER = "no-worker"
    NOT_READY = "not-ready"
    CANDIDATE_LOST = "candidate-lost"
    OWNER_LOST = "owner-lost"
    """Before it had let go; the candidate took the call over."""
    OVERDUE = "overdue"
    """The owner did not let go in time; the candidate took the call over."""
    ENDED = "ended"


class _Ending(NamedTuple):
    label: str
    close_code: int
    """How we close the socket, where it is ours to close (RFC 6455, section 7.4.1)."""
    stop: StopReason | None
    """What the worker is told; nothing where it knows already or none was attached."""


class Ending(Enum):
    """How a media stream ended."""

    CALLER_HUNG_UP = _Ending("caller-hung-up", 1000, StopReason.CALLER_HUNG_UP)
    AGENT_HUNG_UP = _Ending("agent-hung-up", 1000, None)
    STREAM_LOST = _Ending("stream-lost", 1011, StopReason.STREAM_LOST)
    REPLACED = _Ending("replaced", 1000, StopReason.REPLACED)
    BAD_STREAM = _Ending("bad-stream", 1008, StopReason.BAD_STREAM)
    NEVER_STARTED = _Ending("never-started", 1008, None)
    REFUSED = _Ending("refused", 1008, None)
    NO_WORKER = _Ending("no-worker", 1013, None)
    WORKER_LOST = _Ending("worker-lost", 1011, StopReason.STREAM_LOST)
    GATEWAY_ERROR = _Ending("gateway-error", 1011, StopReason.STREAM_LOST)
    GATEWAY_STOPPED = _Ending("gateway-stopped", 1001, StopReason.GATEWAY_STOPPED)

    @property
    def label(self) -> str:
        """The word for it in logs and metrics."""
        return self.value.label

    @property
    def close_code(self) -> int:
        """The websocket close code."""
        return self.value.close_code

    @property
    def stop(self) -> StopReason | None:
        """What the worker is told."""
        return self.value.stop
