"""Drives one `Stream` without a socket, and makes what both of its sides send."""

import base64
import json
from typing import Final

from trunkline_common.frames import Fence, Frame, FrameKind, decode
from trunkline_gateway import events, twilio
from trunkline_gateway.reasons import Drop, Rejection
from trunkline_gateway.stream import Stream

SID: Final = "MZ" + "a" * 32
FENCE: Final = Fence(2, 1)
ULAW: Final = bytes(range(160))
"""20 ms."""


class Line:
    """Drives one stream and keeps what followed."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stream = Stream(self.now)

    def feed(self, event: events.Event) -> list[events.Command]:
        return self.stream.handle(event, self.now)

    def twilio(self, message: dict[str, object]) -> list[events.Command]:
        return self.feed(twilio.decode(json.dumps(message)))

    def start(self, **changes: object) -> list[events.Command]:
        body = {
            "accountSid": "AC1",
            "callSid": "CA1",
            "streamSid": SID,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        } | changes
        return self.twilio({"event": "start", "streamSid": SID, "start": body})

    def attach(self, fence: Fence = FENCE) -> list[events.Command]:
        return self.feed(events.Attached(fence))

    def wake(self) -> list[events.Command]:
        wake_at = self.stream.wake_at()
        assert wake_at is not None
        self.now = max(self.now, wake_at)
        return self.feed(events.Wake())

    def close(self, code: int = 1005) -> list[events.Command]:
        return self.feed(events.SocketClosed(code))


def active_line() -> Line:
    line = Line()
    line.start()
    line.twilio({"event": "mark", "streamSid": SID, "mark": {"name": "probe:1"}})
    line.attach()
    return line


def media(t_ms: int = 0, payload: bytes = ULAW, sid: str = SID) -> dict[str, object]:
    return {
        "event": "media",
        "streamSid": sid,
        "media": {"timestamp": str(t_ms), "payload": base64.b64encode(payload).decode()},
    }


def parsed_media(t_ms: int = 0, payload: bytes = ULAW, sid: str = SID) -> twilio.Media:
    message = twilio.decode(json.dumps(media(t_ms, payload, sid)))
    assert isinstance(message, twilio.Media)
    return message


def agent(
    kind: FrameKind = FrameKind.AUDIO,
    *,
    seq: int = 0,
    fence: Fence = FENCE,
    t_ms: int = 0,
    generation: int = 0,
    payload: bytes = ULAW,
) -> Frame:
    return Frame(kind, fence, seq, t_ms, generation, payload)


def published(commands: list[events.Command]) -> list[Frame]:
    return [decode(command.frame) for command in commands if isinstance(command, events.Publish)]


def rejections(commands: list[events.Command]) -> list[Rejection]:
    return [command.rejection for command in commands if isinstance(command, events.Reject)]


def closes(commands: list[events.Command]) -> list[int]:
    return [command.code for command in commands if isinstance(command, events.Close)]


def drops(commands: list[events.Command]) -> list[Drop]:
    return [command.drop for command in commands if isinstance(command, events.DropFrame)]


def sent(commands: list[events.Command]) -> list[dict[str, object]]:
    return [
        json.loads(command.text)
        for command in commands
        if isinstance(command, events.Send | events.SendClear)
    ]
