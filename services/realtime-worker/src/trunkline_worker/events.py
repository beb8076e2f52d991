"""The vocabulary of a call, first half: events are facts that happened (the other half is `commands`).

Whatever comes from a model session carries the number of that session, so that an answer from an abandoned
one is recognised and ignored.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trunkline_common.call_events import ToolOutcome, TranscriptionUsage, Usage
from trunkline_common.control import StopReason
from trunkline_worker.realtime_usage import LimitName

if TYPE_CHECKING:
    from trunkline_worker.checkpoint import Checkpoint

AudioPath = Literal["pcm24k", "pcmu"]
"""What the model's session hears and speaks: PCM16 24 kHz, or Twilio's own μ-law 8 kHz."""

# --- Events: from the gateway ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """Twilio's stream of this call is open at a gateway."""

    gateway: str
    stream_sid: str


@dataclass(frozen=True, slots=True)
class CallerAudio:
    """What the caller said, and when."""

    t_ms: int
    """Twilio's media timestamp of the first sample."""
    ulaw: bytes
    """G.711 μ-law, 8 kHz, 8 bytes a millisecond."""


@dataclass(frozen=True, slots=True)
class MarkPlayed:
    """Twilio echoed a mark: what was sent before it was played, or dropped by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller pressed a key (DTMF)."""

    digit: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """Twilio's stream is over."""

    reason: StopReason
    is_certain: bool = True
    """Its gateway said so; otherwise nobody heard of the gateway, which may only be slow."""


@dataclass(frozen=True, slots=True)
class LineMeasured:
    """Round trips outside the worker, in ms, as the gateway measured them."""

    twilio_rtt_ms: float | None
    bus_rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class PlaybackLost:
    """Of what was sent, everything behind this mark (empty: behind none) has not come to Twilio."""

    number: int
    """Of the gateway's request, for the answer."""
    mark: str


# --- Events: from the model ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionDelayed:
    """The connect waits: too many begin at once. Sent before it, and only then."""

    session: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The model accepted the socket; nothing is configured yet."""

    session: int
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionConfigured:
    """The model accepted `ConfigureSession`; `echo` is the configuration as it now stands."""

    session: int
    echo: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionLost:
    """The socket was refused, closed or broke."""

    session: int
    reason: str
    """An error code of the model, or `close-<code>`, `connect-<what>`."""
    fatal: bool
    """Trying again cannot help: the key, the model or the configuration is wrong."""


@dataclass(frozen=True, slots=True)
class SessionRoundTrip:
    """A websocket ping to the model came back."""

    session: int
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The model's VAD heard the caller start to speak."""

    session: int
    item_id: str
    """Already the id of the caller's future item."""
    audio_start_ms: int
    """Ms of audio appended in this session; includes the prefix padding."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The model's VAD heard the caller stop."""

    session: int
    item_id: str
    audio_end_ms: int
    """Ms of audio appended in this session; includes the silence that ended the turn."""


@dataclass(frozen=True, slots=True)
class SilenceCommitted:
    """The caller was silent for `idle_timeout_ms`: the model took the silence as a turn, and answers it.

    (OpenAI: input_audio_buffer.timeout_triggered.)
    """

    session: int
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item took its place in the model's conversation."""

    session: int
    item_id: str
    role: str


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """The model started to answer."""

    session: int
    response_id: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """A piece of the agent's speech, in the session's output format."""

    session: int
    response_id: str
    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioDone:
    """The item's audio is complete."""

    session: int
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class SpokenText:
    """Words of the agent: a piece to append, or (`final`) the whole text."""

    session: int
    item_id: str
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model called a tool; announced when its arguments are complete and again with its response's end."""

    session: int
    response_id: str
    item_id: str
    tool_call_id: str
    name: str
    arguments: str = field(repr=False)
    """JSON as the model wrote it; it may not be JSON at all."""


@dataclass(frozen=True, slots=True)
class McpCallEnded:
    """The model called a tool of an MCP server by itself, and has its answer or its failure."""

    session: int
    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """The model finished, or was cut off."""

    session: int
    response_id: str
    status: str
    """`completed`, `cancelled`, `incomplete` or `failed`."""
    reason: str
    usage: Usage | None
    retry_after_s: float | None = None
    """The wait that the model asks for, where a response failed for a passing reason and it says so."""
    tool_calls: tuple[ToolCalled, ...] = ()
    """All that it called, complete ones only."""


@dataclass(frozen=True, slots=True)
class CallerText:
    """The caller's words; None when the transcription failed."""

    session: int
    item_id: str
    text: str | None
    usage: TranscriptionUsage | None = None
    """What writing them down took, where the model says so; its model and cost are not known yet."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the account may use in a minute, and what of that is left."""

    name: LimitName
    limit: float
    remaining: float


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The model told the account's limits (OpenAI: Realtime, rate_limits.updated)."""

    session: int
    limits: tuple[RateLimit, ...]


@dataclass(frozen=True, slots=True)
class ModelError:
    """The model rejected something that we sent, or reported trouble of its own."""

    session: int
    code: str
    fatal: bool
    event_id: str | None = None
    """Our event that it is about, where the model says so."""
    param: str = ""
    """The field that it is about, where the model says so."""


# --- Events: from the shell ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `wake_at` asked for has come."""


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool that `RunTool` called answered, or failed to."""

    tool_call_id: str
    outcome: ToolOutcome
    output: str = field(repr=False)
    """What the model is told: JSON with `ok` and `result` or `error`."""
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Dialed:
    """Twilio dialled the target of a transfer."""

    status: str
    """Twilio's DialCallStatus."""


RedirectAnswer = Literal["taken", "silent", "nobody"]
"""A gateway asks Twilio now · perhaps one does · none does."""


@dataclass(frozen=True, slots=True)
class RedirectAnswered:
    """What came of `AskForRedirect`."""

    answer: RedirectAnswer


@dataclass(frozen=True, slots=True)
class OverAtTwilio:
    """Twilio says that the call is not in progress any more (Twilio: errors 21220 and 20404)."""


@dataclass(frozen=True, slots=True)
class WorkerStopping:
    """This process is about to end; the call cannot stay."""


ModelEvent = (
    SessionDelayed
    | SessionCreated
    | SessionConfigured
    | SessionLost
    | SessionRoundTrip
    | SpeechStarted
    | SpeechStopped
    | SilenceCommitted
    | ItemAdded
    | ResponseCreated
    | AudioDelta
    | AudioDone
    | SpokenText
    | ResponseDone
    | ToolCalled
    | McpCallEnded
    | CallerText
    | RateLimits
    | ModelError
)
LinkEvent = SessionDelayed | SessionCreated | SessionConfigured | SessionLost


@dataclass(frozen=True, slots=True)
class Owned:
    """A live call is this worker's from now on; its stream is open at a gateway."""

    gateway: str
    stream_sid: str
    known: "Checkpoint" = field(repr=False)
    """All that is known of the call so far."""
    cause: str
    """`worker-lost` or `handover`."""
    previous: str
    """Fence of the owner before."""
    generation: int
    mark_sent: str = ""
    mark_played: str = ""
    """The newest marks of the owner before, as Twilio was sent and has echoed them."""
    unplayed_ms: int = 0
    """Of the agent's audio, what Twilio still holds."""


@dataclass(frozen=True, slots=True)
class YieldAsked:
    """Another worker is ready to go on with the call."""


@dataclass(frozen=True, slots=True)
class BusChanged:
    """The link to NATS broke, or is there again: what is sent without one is lost."""

    is_up: bool


GatewayEvent = CallerAudio | Attached | MarkPlayed | KeyPressed | StreamStopped | LineMeasured | PlaybackLost
Event = (
    GatewayEvent
    | ModelEvent
    | ToolReturned
    | Dialed
    | RedirectAnswered
    | OverAtTwilio
    | Tick
    | WorkerStopping
    | Owned
    | YieldAsked
    | BusChanged
)
