"""Pure: the vocabulary of a media stream: events (facts) and commands (orders)."""

import msgspec

from trunkline_common.control import AssignKind
from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_gateway import twilio
from trunkline_gateway.reasons import Drop, Ending, HandoverResult, Loss, Rejection, TakeoverResult


class _Event(msgspec.Struct, frozen=True):
    """A fact."""


class BinaryReceived(_Event, frozen=True):
    """A binary websocket frame came; Media Streams are text."""


class Attached(_Event, frozen=True):
    """The call's owner took this stream."""

    fence: Fence
    worker: str = ""


class AttachFailed(_Event, frozen=True):
    """No owner for this stream; `rejection` where the `start` was at fault."""

    ending: Ending
    rejection: Rejection | None = None


class Pinged(_Event, frozen=True):
    """A worker answered a ping; `consumed` is the number of the newest frame that this call took there."""

    round_trip_ms: float
    worker: str = ""
    consumed: int | None = None


class WorkerLost(_Event, frozen=True):
    """A worker that this stream depends on, as its owner or as a candidate, is lost to it."""

    worker: str
    how: Loss


class LinkLost(_Event, frozen=True):
    """Frames to the worker may not have left: all from `first_seq` on, or nobody knows which."""

    first_seq: int | None = None
    since: float | None = None
    """When the first of them may have been sent, if that was before now."""


class Assigned(_Event, frozen=True):
    """A worker took what `AskWorkers` asked for."""

    fence: Fence
    worker: str


class NotAssigned(_Event, frozen=True):
    """No worker took it; `is_full` when none has room, which asking another one would not change."""

    fence: Fence
    is_full: bool


class EndDecided(_Event, frozen=True):
    """Something outside the stream ends it: a newer stream, a stopping gateway."""

    ending: Ending


class SocketClosed(_Event, frozen=True):
    """The websocket is gone, with this close code."""

    code: int


class Wake(_Event, frozen=True):
    """`wake_at` has passed."""


Event = (
    twilio.Message
    | twilio.Unreadable
    | Frame
    | BinaryReceived
    | Attached
    | AttachFailed
    | Pinged
    | WorkerLost
    | LinkLost
    | Assigned
    | NotAssigned
    | EndDecided
    | SocketClosed
    | Wake
)


class _Command(msgspec.Struct, frozen=True):
    """An order."""


class FindOwner(_Command, frozen=True):
    """Check the token in `start`, find the call's owner and attach; answer `Attached` or `AttachFailed`."""

    start: twilio.Start


class AskWorkers(_Command, frozen=True):
    """Ask the workers once to take the live call; answer `Assigned` or `NotAssigned`."""

    kind: AssignKind
    fence: Fence
    lost: str = ""
    """The owner, where its whole process seems lost."""


class Watch(_Command, frozen=True):
    """Tell of this worker's pings, and of its loss."""

    worker: str


class Unwatch(_Command, frozen=True):
    """Tell no more of this worker."""

    worker: str


class ChangeOwner(_Command, frozen=True):
    """Address what follows to another worker, watch it, and note the change."""

    before: str
    worker: str
    fence: Fence
    loss: Loss | None
    """None: it was handed over."""
    seconds: float
    """Since the loss was noticed, or since the candidate was ready."""
    frames: int
    """How many frames of the caller it is given again."""


class Revoke(_Command, frozen=True):
    """Send a frame to a worker that does not own the call any more, or that will not."""

    worker: str
    frame: bytes


class TakeoverOver(_Command, frozen=True):
    """Count what came of a lost owner."""

    loss: Loss
    result: TakeoverResult


class HandoverOver(_Command, frozen=True):
    """Count what came of an attempt to hand the call over."""

    result: HandoverResult


class AgentHeard(_Command, frozen=True):
    """Note how long after the loss of the owner the next one's first audio came."""

    seconds: float


class ComfortPlayed(_Command, frozen=True):
    """Note for how long the caller had comfort sound instead of the agent."""

    seconds: float


class Publish(_Command, frozen=True):
    """Send a frame to the owner; `LinkLost` follows when it cannot leave, and no frame behind it does."""

    kind: FrameKind
    frame: bytes
    is_replayed: bool = False
    """It was kept back, or is sent again."""


class Send(_Command, frozen=True):
    """Send a message to Twilio, behind what is queued."""

    text: str
    audio_bytes: int = 0


class SendClear(_Command, frozen=True):
    """Drop what is queued for Twilio and send this first."""

    text: str


class Close(_Command, frozen=True):
    """Close the websocket, once everything queued is written or at once."""

    code: int
    reason: str
    after_queued: bool


class Abandon(_Command, frozen=True):
    """The socket did not close in time: stop waiting for it."""


class Reject(_Command, frozen=True):
    """Count and log bad input; `is_first` of its kind on this stream."""

    rejection: Rejection
    is_first: bool


class DropFrame(_Command, frozen=True):
    """Count a frame that goes no further."""

    drop: Drop


class FramesLost(_Command, frozen=True):
    """Count frames of the worker that never arrived."""

    frames: int


class LineMeasured(_Command, frozen=True):
    """Note Twilio's round trip."""

    round_trip_s: float


class Ended(_Command, frozen=True):
    """The stream is over."""

    ending: Ending


OtherCommand = (
    FindOwner
    | AskWorkers
    | Watch
    | Unwatch
    | ChangeOwner
    | Revoke
    | TakeoverOver
    | HandoverOver
    | AgentHeard
    | ComfortPlayed
    | Send
    | SendClear
    | Close
    | Abandon
    | Reject
    | DropFrame
    | FramesLost
    | LineMeasured
    | Ended
)

Command = Publish | OtherCommand
