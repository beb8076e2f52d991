"""The vocabulary of a call, second half: commands are orders to the shell (the other half is `events`)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from trunkline_common.call_events import CallEvent, TurnLatency
from trunkline_common.control import NextStep, Transfer
from trunkline_common.verdict import Verdict
from trunkline_worker.agent_tools import HttpRequest

if TYPE_CHECKING:
    from trunkline_worker.checkpoint import Checkpoint

# --- What the model is told ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigureSession:
    """Set every field of the session (OpenAI: session.update)."""

    event_id: str
    session: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """The caller's audio in the session's input format."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Ask the model to speak; `instructions` replace the session's for this one response."""

    event_id: str
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the model in mid-answer, where its own VAD has no reason to."""

    event_id: str
    response_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the model how much of its speech was heard."""

    event_id: str
    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Take an item out of the conversation: nothing of it was heard."""

    event_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class SetTurnDetection:
    """Let the model find the caller's turns from now on, or (None) leave them alone."""

    event_id: str
    turn_detection: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CreateMessage:
    """Add a message to the conversation, as text."""

    event_id: str
    item_id: str
    role: Literal["user", "assistant", "system"]
    text: str
    after: str | None = None
    """Id of the item that it follows; None: it is the last one."""


@dataclass(frozen=True, slots=True)
class CreateCallerAudio:
    """Add a message of the caller's to the conversation, as audio in the session's input format."""

    event_id: str
    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class CreateFunctionCall:
    """Add a function call of the model's to the conversation, as in the session before."""

    event_id: str
    item_id: str
    tool_call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CreateFunctionOutput:
    """Give the model what a function returned."""

    event_id: str
    item_id: str
    tool_call_id: str
    output: str


CreateItem = CreateMessage | CreateCallerAudio | CreateFunctionCall | CreateFunctionOutput

ClientEvent = (
    AppendAudio
    | ConfigureSession
    | SetTurnDetection
    | CreateResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | CreateItem
)

# --- Commands ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Connect to the model; the session in use, if any, stays so."""

    session: int


@dataclass(frozen=True, slots=True)
class UseSession:
    """From now on this session is the one that is spoken to."""

    session: int


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Close the socket; whatever it still says is ignored."""

    session: int


@dataclass(frozen=True, slots=True)
class SendToModel:
    """Send one event to the session in use, or to the one that is named."""

    event: ClientEvent
    session: int | None = None


@dataclass(frozen=True, slots=True)
class Play:
    """Send μ-law 8 kHz audio to the caller."""

    generation: int
    ulaw: bytes


@dataclass(frozen=True, slots=True)
class PutMark:
    """Put a mark behind the audio sent so far."""

    generation: int
    name: str


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Drop everything that the caller has not heard; `generation` is the first that may play again."""

    generation: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close Twilio's stream; what Twilio does next is `next`."""

    next: NextStep
    transfer: Transfer | None = field(default=None, repr=False)
    digits: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RunTool:
    """Send the request of a tool; its answer comes as `events.ToolReturned`."""

    tool_call_id: str
    request: HttpRequest


@dataclass(frozen=True, slots=True)
class CancelTool:
    """Give up a tool's request; nothing more is said of it."""

    tool_call_id: str


@dataclass(frozen=True, slots=True)
class SendCheckpoint:
    """Tell the gateway what the next owner of the call would have to know."""

    checkpoint: "Checkpoint" = field(repr=False)
    needed_from_ms: int
    """The caller's audio before this time, by the stream's timestamps, is not needed any more."""
    is_final: bool = False
    """This worker lets go of the call with it."""


@dataclass(frozen=True, slots=True)
class TellReady:
    """Tell the gateway that this worker could own the call from now on."""


@dataclass(frozen=True, slots=True)
class TellResumed:
    """Tell the gateway that what follows begins where its request of this number said."""

    number: int


@dataclass(frozen=True, slots=True)
class LetGo:
    """The call is not this worker's any more, or never came to be: nothing follows, and nothing is recorded."""

    why: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write an event to the call's log."""

    event: CallEvent


@dataclass(frozen=True, slots=True)
class RecordLatency:
    """Write the latency of this turn; the shell fills in its own part, `worker_ms`."""

    latency: TurnLatency


class Measure(StrEnum):
    """What the core counts; each is a metric."""

    CALLER_AUDIO_DROPPED_MS = "caller-audio-dropped-ms"
    """Older than the backlog may hold while no session is open."""
    CALLER_AUDIO_REPEATED = "caller-audio-repeated"
    CALLER_GAP_PADDED_MS = "caller-gap-padded-ms"
    BARGE_IN = "barge-in"
    BARGE_IN_REACTION_MS = "barge-in-reaction-ms"
    """How much of the caller's words was there when the agent was cut off; measured, not added up."""
    PLAYBACK_UNDERRUN = "playback-underrun"
    """The caller had heard all that was sent before the model sent more of the same item."""
    LATE_DELTA = "late-delta"
    """Audio of an interrupted response."""
    TOOL_LATE = "tool-late"
    """An answer of a tool that was given up."""
    STALE_MARK = "stale-mark"
    """An echo that a clear caused, or of a generation that is gone."""
    STALE_SESSION = "stale-session"
    """An answer from an abandoned model session."""
    MODEL_ERROR = "model-error"
    RESPONSE_FAILED = "response-failed"
    RESPONSE_RETRIED = "response-retried"
    ANSWER_OVERDUE = "answer-overdue"
    """A session owed an answer, stayed connected, and was mute."""
    SHORT_SPEECH = "short-speech"
    """Speech over the agent's voice that was too short to stop it."""
    FILLER_MS = "filler-ms"
    """Sound played because an answer did not come."""
    CONFIGURATION_DIFFERS = "configuration-differs"
    """The model's echo of the configuration is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Count:
    """Add to a counter; `detail` goes to the debug log."""

    measure: Measure
    amount: float = 1
    detail: str = ""

    @staticmethod
    def barge_in(reaction_ms: float) -> tuple["Count", "Count"]:
        """Return what counts an interruption that took effect so many ms of media time after the caller began."""
        return Count(Measure.BARGE_IN), Count(Measure.BARGE_IN_REACTION_MS, max(reaction_ms, 0))


@dataclass(frozen=True, slots=True)
class AskForRedirect:
    """Have a gateway ask Twilio to attach the call again; the answer comes as `events.RedirectAnswered`."""


OrphanEnd = Literal["attached", "heard-again", "over"]
"""Another stream · the same one, whose gateway was only slow · the call ended without one."""


@dataclass(frozen=True, slots=True)
class RecordOrphan:
    """Measure how long no stream carried the call."""

    seconds: float
    end: OrphanEnd


@dataclass(frozen=True, slots=True)
class Finish:
    """The call is over; nothing follows."""

    verdict: Verdict
    next: NextStep


Command = (
    SendToModel
    | Play
    | PutMark
    | ClearPlayback
    | HangUp
    | OpenSession
    | UseSession
    | CloseSession
    | RunTool
    | CancelTool
    | SendCheckpoint
    | TellReady
    | TellResumed
    | LetGo
    | Record
    | RecordLatency
    | Count
    | AskForRedirect
    | RecordOrphan
    | Finish
)
