"""The event log of a call: what the owner writes, and what takeover, Postgres and the console read.

Each event is one JetStream message on `ev.v1.<call>.<kind>`: the `Envelope` as JSON. Its key
`(call_started_at_ms, call_id, fence, n)` is unique, and `message_id` repeats it for JetStream, so a retry is
never stored twice. `n` counts from 0 under each fence, so a hole is visible.
"""

from enum import StrEnum
from typing import Final, get_args

import msgspec

from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome

VERSION: Final = 1

DATA_BYTES_MAX: Final = 128 * 1024
"""Of an event without its envelope; JetStream refuses messages of 256 KiB (`bus.EVENT_BYTES_MAX`), for ever."""

CUT_TEXT_CHARACTERS: Final = 8_000
"""What is left of each text in a larger event: ten minutes of speech."""


class Redaction(StrEnum):
    """What the transcripts service takes out of a call's texts before it stores them."""

    CARD_NUMBERS = "card-numbers"
    EMAILS = "emails"
    PHONE_NUMBERS = "phone-numbers"


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Common to the kinds below: the tag is the kind."""


class CallStarted(_Event, frozen=True, kw_only=True, tag="call_started"):
    """A worker took the call."""

    caller: str
    called: str
    agent: str
    """Name of the agent profile that answers."""
    worker: str
    retention_days: int | None = None
    """How long the call is kept in Postgres; None: until somebody deletes it."""


class CallAttached(_Event, frozen=True, kw_only=True, tag="call_attached"):
    """Twilio's stream reached the worker."""

    gateway: str
    stream_sid: str


class CallTakenOver(_Event, frozen=True, kw_only=True, tag="taken_over"):
    """Another worker goes on with the call: the first event of a new owner that had one before it."""

    worker: str
    """The new owner."""
    cause: str
    """`worker-lost`, `handover` or `resumed` (Twilio attached the call again, and its owner was gone)."""
    previous_fence: str = ""
    """The fence of the owner before, as `str(Fence)`; empty when nobody knows it."""
    items: int = 0
    """Items of the conversation so far that were known."""
    lost_ms: float | None = None
    """From the loss of the owner before until this; None when that is not known, or nothing was lost."""


class ModelConnected(_Event, frozen=True, kw_only=True, tag="model_connected"):
    """The model accepted the session's configuration."""

    session: int
    model: str
    session_id: str
    connect_ms: float
    """From the first connect attempt of this session to `session.updated`."""
    media_start_ms: int | None = None
    """Media time of the first caller sample this session was sent, where any was waiting."""
    cause: str = "start"
    """`start`, `restored` (the session before it was lost) or `rotated` (it was about to expire)."""
    items: int = 0
    """Items of the conversation so far that this session was given."""


class ModelLost(_Event, frozen=True, kw_only=True, tag="model_lost"):
    """The model's socket was refused or lost."""

    session: int
    reason: str
    fatal: bool = False
    """Trying again could not help."""


class CallerTurn(_Event, frozen=True, kw_only=True, tag="turn_caller"):
    """The caller spoke. A later revision fills in a transcript that came late."""

    item_id: str
    position: int
    """Place in the conversation, fixed when the item was added, not when its transcript arrived."""
    start_ms: int
    """Media time at which speech began."""
    end_ms: int
    text: str | None
    """None when no transcript came."""
    transcription: str
    """`completed`, `failed` or `missing`."""
    revision: int = 1


class AgentTurn(_Event, frozen=True, kw_only=True, tag="turn_agent"):
    """The agent spoke, and this is what of it was heard."""

    item_id: str
    position: int
    start_ms: int
    """Media time at which its first audio was sent."""
    end_ms: int
    """Media time at which its last heard audio was played."""
    generated_text: str
    heard_text: str
    generated_ms: int
    heard_ms: int
    interrupted: bool


class TurnLatency(_Event, frozen=True, kw_only=True, tag="turn_latency"):
    """Where the time of one answer went, in ms. `None`: not measured in this turn.

    `response_ms` runs from the end of speech as the model's VAD heard it to the first audio sent to Twilio.
    """

    item_id: str
    """The agent's item."""
    position: int
    response_ms: float
    twilio_to_gateway_ms: float | None
    gateway_to_worker_ms: float | None
    worker_to_model_ms: float | None
    model_ms: float
    model_to_worker_ms: float | None
    worker_to_gateway_ms: float | None
    gateway_to_twilio_ms: float | None
    worker_ms: float
    """Our own work in the worker on the way back: delta received until frame published."""


class ToolCalled(_Event, frozen=True, kw_only=True, tag="tool_called"):
    """The model called a tool."""

    tool_call_id: str
    """The model's `call_id`."""
    item_id: str
    name: str
    arguments: str
    """JSON as the model wrote it; it may not fit the tool's schema."""
    at_ms: int
    """Media time."""


class ToolOutcome(StrEnum):
    """How a tool call went."""

    OK = "ok"
    FAILED = "failed"
    """The tool answered with an error, or with something that is no answer."""
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """It was never called: unknown tool, arguments that do not fit, a target that is not allowed, too many calls."""
    CANCELLED = "cancelled"
    """The caller interrupted, or the call ended."""


class ToolReturned(_Event, frozen=True, kw_only=True, tag="tool_returned"):
    """A tool's answer, as the model was given it."""

    tool_call_id: str
    name: str
    outcome: ToolOutcome
    output: str
    duration_ms: float
    http_status: int | None = None


class TransferChanged(_Event, frozen=True, kw_only=True, tag="transfer"):
    """The caller is being put through, or that ended."""

    target: str
    """The name of the target in the agent profile; never its number."""
    status: str
    """`dialing`, `answered`, `no-answer`, `busy`, `failed` or `canceled`, Twilio's words where it has some."""
    at_ms: int


class LimitReached(_Event, frozen=True, kw_only=True, tag="limit"):
    """One of the profile's limits was reached."""

    limit: str
    """`minutes`, `silence`, `cost` or `tools`."""
    at_ms: int


class Usage(_Event, frozen=True, kw_only=True, tag="usage"):
    """Tokens of one response, by modality, as the model counted them."""

    response_id: str
    input_tokens: int
    input_text_tokens: int
    input_audio_tokens: int
    cached_tokens: int
    output_tokens: int
    output_text_tokens: int
    output_audio_tokens: int
    cached_text_tokens: int = 0
    cached_audio_tokens: int = 0
    reasoning_tokens: int = 0
    """Part of the output that was never spoken."""
    model: str = ""
    cost_usd: float | None = None
    """By the price file that `price_date` names; None when it has no price for the model."""
    price_date: str = ""


class TranscriptionUsage(_Event, frozen=True, kw_only=True, tag="transcription_usage"):
    """What writing down one turn of the caller's cost: billed apart from the responses, by time or by tokens."""

    item_id: str
    model: str
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    price_date: str = ""


class DtmfReceived(_Event, frozen=True, kw_only=True, tag="dtmf"):
    """The caller pressed a key. The digit itself may be a card number and is not logged."""

    at_ms: int


class CallEnded(_Event, frozen=True, kw_only=True, tag="call_ended"):
    """The last event under a fence."""

    outcome: Outcome
    reason: str
    duration_ms: int
    """Media time of the call."""
    interruptions: int
    events_expected: int
    """How many events this fence wrote, this one included: an audit finds holes by it."""


CallEvent = (
    CallStarted
    | CallAttached
    | CallTakenOver
    | ModelConnected
    | ModelLost
    | CallerTurn
    | AgentTurn
    | TurnLatency
    | ToolCalled
    | ToolReturned
    | TransferChanged
    | LimitReached
    | Usage
    | TranscriptionUsage
    | DtmfReceived
    | CallEnded
)


EVENT_TYPES: Final[tuple[type[msgspec.Struct], ...]] = get_args(CallEvent)


class _Versioned(msgspec.Struct, frozen=True, kw_only=True):
    v: int = VERSION


class Envelope(_Versioned, frozen=True, kw_only=True):
    """One event as it lies in the log."""

    call_id: str
    call_started_at_ms: int
    """Unix ms, fixed for the whole call."""
    fence: Fence
    n: int
    at_ms: int
    """Unix ms when it happened; for people, never for order."""
    kind: str
    data: msgspec.Raw
    redact: tuple[str, ...] = ()
    """Values of `Redaction`: what must not be stored of the texts inside. Each event tells it, so that whoever stores
    it needs to know nothing else of the call; words that a reader does not know are a newer worker's."""
    line: str = ""
    """The number that was called, where `redact` needs to know how phone numbers are written there."""

    @property
    def message_id(self) -> str:
        """Value of `Nats-Msg-Id`: the same for every retry."""
        return f"{self.call_id}-{self.fence}-{self.n}"


class EventError(ValueError):
    """The bytes are no event that this version can read."""


def kind_of(event: CallEvent) -> str:
    """Return the event's kind, the last token of its subject."""
    tag = type(event).__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def seal(
    event: CallEvent,
    *,
    call_id: str,
    call_started_at_ms: int,
    fence: Fence,
    n: int,
    at_ms: int,
    redact: tuple[str, ...] = (),
    line: str = "",
) -> Envelope:
    """Return the event in its envelope; the texts of one above `DATA_BYTES_MAX` are cut."""
    return Envelope(
        call_id=call_id,
        call_started_at_ms=call_started_at_ms,
        fence=fence,
        n=n,
        at_ms=at_ms,
        kind=kind_of(event),
        data=msgspec.Raw(_fitting(event)),
        redact=redact,
        line=line,
    )


def _fitting(event: CallEvent) -> bytes:
    data = msgspec.json.encode(event)
    if len(data) <= DATA_BYTES_MAX:
        return data
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    cut = {name: text[:CUT_TEXT_CHARACTERS] for name, text in fields.items() if isinstance(text, str)}
    return msgspec.json.encode(msgspec.structs.replace(event, **cut))


def encode(envelope: Envelope) -> bytes:
    """Return the envelope as JSON."""
    return msgspec.json.encode(envelope)


def decode(data: bytes) -> Envelope:
    """Return the envelope in `data`, its inside unread; raise `EventError` when that is not possible."""
    try:
        # First of all the version: a newer event may have another shape, and that is not what is wrong with it.
        version = msgspec.json.decode(data, type=_Versioned).v
        if version > VERSION:
            raise EventError(f"event version {version}, this process reads {VERSION}")
        return msgspec.json.decode(data, type=Envelope)
    except RecursionError:
        raise EventError("no event: nested too deep") from None
    except _UNREADABLE as error:
        raise EventError(f"no event: {error}") from error


def open_envelope(envelope: Envelope) -> CallEvent | None:
    """Return the typed event inside, or None for a kind that this version does not know.

    Raises `EventError` when a known kind does not have its fields, or another kind's.
    """
    if envelope.kind not in _KINDS:
        return None
    try:
        event = _decoder.decode(envelope.data)
    except RecursionError:
        raise EventError(f"no {envelope.kind}: nested too deep") from None
    except _UNREADABLE as error:
        raise EventError(f"no {envelope.kind}: {error}") from error
    if kind_of(event) != envelope.kind:
        raise EventError(f"a {envelope.kind} that holds a {kind_of(event)}")
    return event


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
_decoder: Final[msgspec.json.Decoder[CallEvent]] = msgspec.json.Decoder(CallEvent)
_KINDS: Final = frozenset(event_type.__struct_config__.tag for event_type in EVENT_TYPES)
