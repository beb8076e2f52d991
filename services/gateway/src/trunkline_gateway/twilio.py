"""Pure codec: Media Streams JSON to typed messages, and the three messages that Twilio accepts to JSON.

Twilio sends numbers as strings and adds fields without notice, so both are tolerated; a message that we know
must parse. What we send holds exactly the fields that are documented: Twilio answers any other with warning
31951 (Twilio: Media Streams, WebSocket messages; Error 31951).
"""

import re
from binascii import b2a_base64
from enum import Enum
from typing import Annotated, Final

import msgspec

from trunkline_gateway.reasons import Rejection

MESSAGE_BYTES_MAX: Final = 64 * 1024
"""Twilio's are below 1 KiB; audio of 4 s in one message would still fit."""

TIMESTAMP_MS_MAX: Final = 7 * 24 * 3600 * 1000
"""No call lasts a week; the bound keeps a timestamp inside a frame's 32 bits."""

MARK_NAME_CHARS_MAX: Final = 256
BYTES_PER_MS: Final = 8
"""μ-law at 8 kHz."""

_STREAM_SID: Final = re.compile("MZ[0-9a-f]{32}")
_TimestampMs = Annotated[int, msgspec.Meta(ge=0, le=TIMESTAMP_MS_MAX)]
_MarkName = Annotated[str, msgspec.Meta(max_length=MARK_NAME_CHARS_MAX, pattern="^[ -~]*$")]
_Digit = Annotated[str, msgspec.Meta(pattern="^[0-9*#A-DW]$")]


class _Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An object inside a message."""


class MediaFormat(_Part, frozen=True):
    """What the payloads are."""

    encoding: str
    sample_rate: int
    channels: int


MEDIA_FORMAT: Final = MediaFormat("audio/x-mulaw", 8000, 1)
"""The only one that is documented and served."""


class StartBody(_Part, frozen=True):
    """Which call the stream belongs to."""

    account_sid: str
    call_sid: str
    stream_sid: str
    media_format: MediaFormat
    custom_parameters: dict[str, str] = {}
    """The TwiML's `<Parameter>`s."""


class MediaBody(_Part, frozen=True):
    """A piece of the caller's audio, usually 20 ms."""

    timestamp: _TimestampMs
    """Presentation time of the first sample, ms since the stream's start."""
    payload: bytes
    """Raw μ-law 8 kHz, of any length."""


class DtmfBody(_Part, frozen=True):
    """A key that the caller pressed."""

    digit: _Digit


class MarkBody(_Part, frozen=True):
    """A mark that came back."""

    name: _MarkName


class _Message(msgspec.Struct, frozen=True, rename="camel", tag_field="event", gc=False):
    """Common to the messages below: the tag is the event."""


class Connected(_Message, frozen=True, tag="connected"):
    """The socket is up; no stream yet."""


class Start(_Message, frozen=True, tag="start"):
    """The stream begins."""

    stream_sid: str
    start: StartBody


class Media(_Message, frozen=True, tag="media"):
    """Caller audio."""

    stream_sid: str
    media: MediaBody


class Dtmf(_Message, frozen=True, tag="dtmf"):
    """The caller pressed a key."""

    stream_sid: str
    dtmf: DtmfBody


class Mark(_Message, frozen=True, tag="mark"):
    """Everything sent before our mark of this name was played, or cleared."""

    stream_sid: str
    mark: MarkBody


class Stop(_Message, frozen=True, tag="stop"):
    """The stream or the call has ended."""

    stream_sid: str


class Unreadable(Enum):
    """What `decode` could not make a message of; the value is why."""

    NOT_JSON = Rejection.NOT_JSON
    UNKNOWN_EVENT = Rejection.UNKNOWN_EVENT
    BAD_BASE64 = Rejection.BAD_BASE64
    MALFORMED = Rejection.MALFORMED_MESSAGE


Message = Connected | Start | Media | Dtmf | Mark | Stop


def is_stream_sid(value: str) -> bool:
    """Tell whether `value` is formed like a stream's id (Twilio: SIDs)."""
    return _STREAM_SID.fullmatch(value) is not None


def mark_name(payload: bytes) -> str | None:
    """Return the name of a mark that a worker asks for, or None when Twilio should not see it."""
    if not payload.isascii() or len(payload) > MARK_NAME_CHARS_MAX:
        return None
    name = payload.decode("ascii")
    return name if name and name.isprintable() else None


class _AnyEvent(msgspec.Struct, gc=False):
    event: str


# Not strict: Twilio writes its numbers as strings.
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message, strict=False)
_event_decoder: Final = msgspec.json.Decoder(_AnyEvent)
_EVENTS: Final = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})


def decode(text: str) -> Message | Unreadable:
    """Return the message in a text frame, or why it holds none; base64 is checked strictly on the way."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        return _diagnose(text, error)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return Unreadable.NOT_JSON
    except RecursionError:
        # msgspec's guard against input that is nested thousands deep.
        return Unreadable.MALFORMED


def _diagnose(text: str, error: msgspec.ValidationError) -> Unreadable:
    if "base64" in str(error):
        return Unreadable.BAD_BASE64
    try:
        event = _event_decoder.decode(text).event
    except msgspec.ValidationError:
        return Unreadable.MALFORMED
    except (msgspec.DecodeError, RecursionError):
        # The typed decoder stops at the first wrong field, so it may not have seen the end.
        return Unreadable.NOT_JSON
    return Unreadable.MALFORMED if event in _EVENTS else Unreadable.UNKNOWN_EVENT


class Outgoing:
    """Writes messages to one stream, as text ready for the websocket."""

    def __init__(self, stream_sid: str) -> None:
        sid = msgspec.json.encode(stream_sid).decode()
        self._media_head = f'{{"event":"media","streamSid":{sid},"media":{{"payload":"'
        self._mark_head = f'{{"event":"mark","streamSid":{sid},"mark":{{"name":'
        self.clear = f'{{"event":"clear","streamSid":{sid}}}'
        """Drop all audio that was not played yet; every mark among it is echoed at once."""

    def media(self, payload: bytes) -> str:
        """Play raw μ-law 8 kHz behind what was sent before."""
        return self._media_head + b2a_base64(payload, newline=False).decode("ascii") + '"}}'

    def mark(self, name: str) -> str:
        """Ask for an echo once everything sent before was played."""
        return self._mark_head + msgspec.json.encode(name).decode() + "}}"
