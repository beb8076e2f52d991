"""Pure: the vocabulary of a media stream: events (facts) and commands (orders)."""

import msgspec

from trunkline_common.frames import Fence, Frame, FrameKind
from trunkline_gateway import twilio
from trunkline_gateway.reasons import Drop, Ending, Rejection


class _Event(msgspec.Struct, frozen=True):
    """A fact."""


class BinaryReceived(_Event, frozen=True):
    """A binary websocket frame came; Media Streams are text."""


class Attached(_Event, frozen=True):
    """The call's owner took this stream."""

    fence: Fence


class AttachFailed(_Event, frozen=True):
    """No owner for this stream; `rejection` where the `start` was at fault."""

    ending: Ending
    rejection: Rejection | None = None


class Pinged(_Event, frozen=True):
    """The worker answered a ping."""

    round_trip_ms: float


class EndDecided(_Event, frozen=True):
    """Something outside the stream ends it: a newer stream, a lost worker, a stopping gateway."""

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
    | EndDecided
    | SocketClosed
    | Wake
)


class _Command(msgspec.Struct, frozen=True):
    """An order."""


class FindOwner(_Command, frozen=True):
    """Check the token in `start`, find the call's owner and attach; answer `Attached` or `AttachFailed`."""

    start: twilio.Start


class Publish(_Command, frozen=True):
    """Send a frame to the worker."""

    kind: FrameKind
    frame: bytes


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


Command = (
    FindOwner
    | Publish
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
