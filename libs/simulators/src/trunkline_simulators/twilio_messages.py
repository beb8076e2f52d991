"""The wire of Media Streams seen from Twilio's side: writes Twilio's messages and judges the server's.

Rules (Twilio: Media Streams, WebSocket messages; errors 31950 and 31951):
- Twilio's numbers are strings, except in `mediaFormat`; `sequenceNumber` starts at 1 with `start`
  and has no holes, `chunk` starts at 1 with the first `media`.
- The server may send `media`, `mark` and `clear`, as text, for this stream, without any other field.
- A message that breaks a rule is ignored, and each error number is reported once per stream.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

MALFORMED = 31950
INVALID = 31951

MESSAGE_BYTES_MAX = 8 * 2**20  # ten minutes of audio in one message are 6.4 MB of base64
DETAIL_CHARACTERS_MAX = 200  # a report names the fault and does not repeat what was said


@dataclass(frozen=True, slots=True)
class Media:
    """Audio to play after everything that was sent before it."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A label to send back when everything before it has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget all audio that has not been played."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that Twilio does not act on; `first` says whether Twilio reports it."""

    code: int
    detail: str
    first: bool


class MessageWriter:
    """Writes one stream's messages; each call is the next message on the wire."""

    def __init__(self, stream_sid: str, call_sid: str, account_sid: str) -> None:
        self.stream_sid = stream_sid
        self._call_sid = call_sid
        self._account_sid = account_sid
        self._sequence_number = 0
        self._chunk = 0

    def connected(self) -> str:
        """Return the very first message, the only one without numbers."""
        return _json({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, custom_parameters: Mapping[str, str]) -> str:
        """Return the message that introduces the stream and carries TwiML's `<Parameter>`s."""
        start = {
            "accountSid": self._account_sid,
            "streamSid": self.stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(custom_parameters),
        }
        return self._numbered("start", start)

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """Return the caller's next μ-law bytes, the first of them spoken at `timestamp_ms` of the stream."""
        self._chunk += 1
        media = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str(timestamp_ms),
            "payload": base64.b64encode(payload).decode(),
        }
        return self._numbered("media", media)

    def mark(self, name: str) -> str:
        """Return the echo of one of the server's marks."""
        return self._numbered("mark", {"name": name})

    def dtmf(self, digit: str) -> str:
        """Return a key that the caller pressed: 0–9, `*` or `#`."""
        return self._numbered("dtmf", {"track": "inbound_track", "digit": digit})

    def stop(self) -> str:
        """Return the last message of a stream that Twilio ends."""
        return self._numbered("stop", {"accountSid": self._account_sid, "callSid": self._call_sid})

    def _numbered(self, event: str, body: dict[str, Any]) -> str:
        self._sequence_number += 1
        return _json(
            {
                "event": event,
                "sequenceNumber": str(self._sequence_number),
                "streamSid": self.stream_sid,
                event: body,
            }
        )


class MessageReader:
    """Judges what the server sends on one stream; `ignored` counts refused messages by error number."""

    def __init__(self, stream_sid: str) -> None:
        self.ignored: Counter[int] = Counter()
        self._stream_sid = stream_sid

    def read(self, message: str | bytes) -> Media | Mark | Clear | Ignored:
        """Return what the message asks for, or why Twilio would ignore it."""
        if isinstance(message, bytes):
            return self._ignore(MALFORMED, "binary frame; Media Streams are text")
        try:
            return self._checked(_DECODER.decode(message))
        except RecursionError:
            return self._ignore(INVALID, "nested too deeply")
        except (msgspec.DecodeError, ValueError) as error:
            return self._ignore(INVALID, str(error))

    def _checked(self, message: _MediaMessage | _MarkMessage | _ClearMessage) -> Media | Mark | Clear:
        if message.streamSid != self._stream_sid:
            raise ValueError(f"streamSid {message.streamSid!r} is not this stream's")
        match message:
            case _MediaMessage(media=media):
                return Media(_audio(media.payload))
            case _MarkMessage(mark=mark):
                return Mark(mark.name)
            case _ClearMessage():
                return Clear()

    def _ignore(self, code: int, detail: str) -> Ignored:
        self.ignored[code] += 1
        return Ignored(code, detail[:DETAIL_CHARACTERS_MAX], first=self.ignored[code] == 1)


class _Exact(msgspec.Struct, forbid_unknown_fields=True):
    """An object with these fields and no others."""


class _Payload(_Exact):
    payload: str


class _Name(_Exact):
    name: str


class _MediaMessage(_Exact, tag_field="event", tag="media"):
    streamSid: str  # noqa: N815 - the field's name on the wire
    media: _Payload


class _MarkMessage(_Exact, tag_field="event", tag="mark"):
    streamSid: str  # noqa: N815 - the field's name on the wire
    mark: _Name


class _ClearMessage(_Exact, tag_field="event", tag="clear"):
    streamSid: str  # noqa: N815 - the field's name on the wire


_DECODER = msgspec.json.Decoder(_MediaMessage | _MarkMessage | _ClearMessage)


def _audio(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise ValueError(f"media.payload is not base64: {error}") from error


def _json(message: dict[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
