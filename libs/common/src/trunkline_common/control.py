"""The control messages between gateway and worker, as JSON.

Every message carries `v`. A reader ignores fields that it does not know, and a field added later has a
default, so an old and a new process understand each other during a rollout. `v` is raised only when that
rule cannot hold, as for a new word in a closed list; a reader then refuses with `ControlError`.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from trunkline_common.frames import Fence

VERSION: Final = 1


class StopReason(StrEnum):
    """Why Twilio's stream ended, as the gateway saw it."""

    CALLER_HUNG_UP = "caller-hung-up"
    """Twilio sent `stop`: the caller hung up, or the call was redirected."""
    STREAM_LOST = "stream-lost"
    """The socket broke without `stop`."""
    REPLACED = "replaced"
    """A newer stream of the same call took over."""
    BAD_STREAM = "bad-stream"
    """What came over the socket was not Media Streams; the gateway closed it."""
    GATEWAY_STOPPED = "gateway-stopped"
    """The gateway is shutting down."""


class NextStep(StrEnum):
    """What Twilio is told to do with the call once its stream is over."""

    HANG_UP = "hang-up"
    FALLBACK = "fallback"
    """Say sorry, or whatever else is configured for a call that we cannot serve."""
    TRANSFER = "transfer"
    """Dial `Transfer`; when nobody answers, the agent goes on."""
    SEND_DIGITS = "send-digits"
    """Play `digits` as DTMF, then attach the call again."""


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    v: int = VERSION


class AssignKind(StrEnum):
    """What a worker is asked to take."""

    NEW = "new"
    """A call that nobody owns; `OwnerRequest` attaches its stream."""
    TAKEOVER = "takeover"
    """A live call whose owner is lost; an OWN frame follows at once."""
    HANDOVER = "handover"
    """A live call whose owner is about to stop: get ready, say so, and an OWN frame follows."""


class AssignRequest(_Message, frozen=True, kw_only=True):
    """Gateway → queue group of workers: will one of you take this call?"""

    call_id: str
    fence: Fence
    started_at_ms: int
    """Unix ms when the call reached us; fixed for the whole call, part of every event's key."""
    caller: str
    """The caller's number as Twilio gave it; never logged."""
    called: str
    """The number that was called: it selects the agent."""
    kind: AssignKind = AssignKind.NEW
    gateway: str = ""
    """For a handover: where to say that one is ready."""
    lost: str = ""
    """For a takeover: the owner, where its whole process seems lost. One that hears of it itself is back, and goes on."""


class AssignReply(_Message, frozen=True, kw_only=True):
    """Worker → gateway: taken, or why not."""

    ok: bool
    worker: str
    reason: str = ""
    kind: AssignKind = AssignKind.NEW
    """As it was asked for; a worker that knows only new calls does not say so, and cannot go on with a live one."""


class Checkpoint(_Message, frozen=True, kw_only=True):
    """Worker → gateway, in a CHECKPOINT frame."""

    needed_from_ms: int
    """The caller's audio before this time, by the stream's timestamps, will not be asked for again."""
    consumed_seq: int = -1
    """The last frame up that it takes account of: a key that was pressed before is not told again."""
    state: bytes
    """For the next owner only; the gateway does not look into it."""


class Own(_Message, frozen=True, kw_only=True):
    """Gateway → worker, in an OWN frame: everything about a live call that its new owner cannot know."""

    gateway: str
    stream_sid: str
    generation: int
    """Of the playback; what is below it does not play any more."""
    mark_played: str = ""
    """The newest mark of the owner before that Twilio echoed."""
    mark_sent: str = ""
    """The newest mark of the owner before that Twilio was sent; its audio plays until it is echoed or cleared."""
    unplayed_ms: int = 0
    """Of the agent's audio, what Twilio still holds: by the clock, everything plays at its own pace since it was sent."""
    checkpoint: bytes = b""
    """`Checkpoint.state`, the newest; empty when the owner before never sent one."""
    is_final: bool = False
    """The owner before let go of the call with this checkpoint; nothing happened after it."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Whom Twilio should dial, and for how long."""

    number: str
    """E.164, from the agent profile and never from the model; never logged."""
    timeout_s: int
    """How long it may ring."""


class TreatmentKind(StrEnum):
    """What is done with a caller who gets no agent."""

    SAY = "say"
    """Say `Treatment.text`, then hang up."""
    DIAL = "dial"
    """Dial `Treatment.transfer`; when nobody answers, say `Treatment.text` and hang up."""
    BUSY = "busy"
    """Refuse the call, unless it has been answered: then SAY."""
    WAIT = "wait"
    """Hold the caller in a queue until a worker has room; after `Treatment.wait_s_max` do `LineTreatment.then`."""
    HANG_UP = "hang-up"


class Treatment(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with a caller, and the words for it; a field that the kind does not name is not used."""

    kind: TreatmentKind = TreatmentKind.SAY
    text: str = ""
    """For SAY and DIAL, and for WAIT before the music; where SAY and DIAL have none, the gateway's own sentence."""
    language: str = ""
    """Of the words, such as `en-US`; empty: the gateway's."""
    transfer: Transfer | None = None
    position_text: str = ""
    """For WAIT, with `{position}`; empty: callers are not told."""
    hold_music: str = ""
    """For WAIT: the address of a sound file; empty: the gateway's own."""
    wait_s_max: int = 0


class LineTreatmentRequest(_Message, frozen=True, kw_only=True):
    """Gateway → any worker, full or not: what do callers of this line get who get no agent?"""

    called: str
    """The number that was called; never logged."""


class LineTreatment(_Message, frozen=True, kw_only=True):
    """Worker → gateway: as the line's agent profile has it."""

    worker: str
    queue: str
    """Name of the queue at Twilio in which the line's callers wait; 1–64 characters."""
    full: Treatment = Treatment()
    """No worker has room."""
    then: Treatment = Treatment()
    """After `full` has kept the caller waiting for as long as it may; neither BUSY nor WAIT."""
    failing: Treatment = Treatment()
    """The call cannot be served, or not any more; neither BUSY nor WAIT."""


class OwnerRequest(_Message, frozen=True, kw_only=True):
    """Gateway → the worker that owns a call."""

    op: Literal["attach", "who", "dialed", "over", "owned", "owner"]
    """`dialed`: Twilio dialled the target of a transfer, with this `dial_status`. `over`: Twilio says that the call is
    not in progress any more; nobody waits for an answer.

    Two pass between workers, unanswered. `owned`: `worker` owns the call under `fence`; whoever held it under a lower
    one gives it up. `owner`: `worker` was away and wants to hear that, if it is so.
    """
    worker: str = ""
    """For `attach`: the owner that is meant. Any other worker that holds the call gives it up silently: it took
    an offer whose answer came too late."""
    fence: Fence = Fence(0, 0)
    """For `attach`: the attach number of the new stream; its assign part is ignored."""
    gateway: str = ""
    """For `attach`: the gateway that now holds Twilio's socket."""
    stream_sid: str = ""
    dial_status: str = ""
    """For `dialed`: Twilio's DialCallStatus (`completed`, `answered`, `no-answer`, `busy`, `failed`, `canceled`)."""


OwnerState = Literal["offered", "active", "leaving", "ended"]
"""No stream yet · a stream came · Twilio is told to do `next` first · over, and only the answer to `next` is left."""


class OwnerReply(_Message, frozen=True, kw_only=True):
    """The owner → gateway."""

    ok: bool
    """For `attach`: this stream now carries the call. False: its attach number was used already."""
    worker: str
    fence: Fence
    """The fence that frames must carry from now on (or the newest known, when refused)."""
    state: OwnerState
    next: NextStep = NextStep.HANG_UP
    """For an ended call, or one whose agent asked for it: what Twilio should be told."""
    transfer: Transfer | None = None
    """With `next` TRANSFER."""
    digits: str = ""
    """With `next` SEND_DIGITS: `0`–`9`, `*`, `#`, and `w` for half a second of silence."""
    started_at_ms: int = 0
    """Unix ms when the call reached us, as the owner was told first; 0 from a worker that does not say."""


class Redirect(_Message, frozen=True, kw_only=True):
    """Worker → queue group of gateways: no stream carries this call any more; have Twilio ask for another one."""

    call_id: str
    attach: Annotated[int, msgspec.Meta(ge=2, le=0xFFFF)]
    """Of the stream that is to come. Once one with this number came, nothing is to be done."""
    started_at_ms: Annotated[int, msgspec.Meta(ge=0)]
    detours: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] = 0
    """How many streams ended for a transfer or for DTMF; these do not count as lost."""
    worker: str = ""
    """Who asks. Once another one owns the call, it was asked by mistake, after a pause; empty: a worker that does not say."""


class RedirectReply(_Message, frozen=True, kw_only=True):
    """Gateway → worker, at once: Twilio is being asked, or `ok` is False and this gateway has too much to do."""

    ok: bool


class PingReply(_Message, frozen=True, kw_only=True):
    """Worker → gateway: alive; for each call the seq of the last upward frame it consumed."""

    worker: str
    consumed: dict[str, int]


class Heartbeat(_Message, frozen=True, kw_only=True):
    """Worker → whoever looks: load."""

    worker: str
    active: int
    capacity: int
    draining: bool
    region: str = ""


class HangUp(_Message, frozen=True, kw_only=True):
    """Worker → gateway, in a HANG_UP frame."""

    next: NextStep


class LineReport(_Message, frozen=True, kw_only=True):
    """Gateway → worker, in a LINE frame: round trips measured by the gateway. `None`: not measured yet."""

    twilio_rtt_ms: float | None = None
    """A mark sent to Twilio on an empty buffer until its echo."""
    bus_rtt_ms: float | None = None
    """A ping to the worker over NATS until its answer."""


class ControlError(ValueError):
    """The bytes are no control message that this version can read."""


_encoder = msgspec.json.Encoder()

M = TypeVar("M", bound=_Message)


def encode(message: _Message) -> bytes:
    """Return the message as JSON."""
    return _encoder.encode(message)


def decode(data: bytes, message_type: type[M]) -> M:
    """Return the message in `data`; raise `ControlError` when it is malformed or of a newer version."""
    try:
        # First of all the version: a newer message may have another shape, and that is not what is wrong with it.
        version = msgspec.json.decode(data, type=_Message).v
        if version > VERSION:
            raise ControlError(f"{message_type.__name__} version {version}, this process reads {VERSION}")
        return msgspec.json.decode(data, type=message_type)
    except RecursionError:
        raise ControlError(f"no {message_type.__name__}: nested too deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlError(f"no {message_type.__name__}: {error}") from error
