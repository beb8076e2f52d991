"""The binary frames between gateway and worker: a packed header, then raw bytes.

No NATS headers (they cost a receiver 40 % more CPU), no base64, no JSON around audio. During a rollout old
and new processes talk to each other, so:

* `version` changes only when an old reader would misread the frame; it is then refused and counted.
* a newer writer may lengthen the header; `header_bytes` lets an older reader skip what it does not know.
* an unknown `kind` is ignored and counted.
"""

import struct
from enum import IntEnum
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

VERSION: Final = 1

CALLER_KEPT_MS_MAX: Final = 15_000
"""Of the caller's audio: what a gateway keeps for an owner that needs it again, and how late a worker takes it. Words are
not stale after a stall, only late: they are heard, in order."""

_HEADER: Final = struct.Struct("!BBBBHHIII")
HEADER_BYTES: Final = _HEADER.size

PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""A frame above this is refused: 32 s of μ-law audio, far beyond any delta, well below NATS' 1 MiB."""


class Fence(NamedTuple):
    """Who owns a call: compared lexicographically, raised only by the gateway with the live Twilio socket."""

    attach: Annotated[int, Meta(ge=0, le=0xFFFF)]
    """How often Twilio attached this CallSid to us: 1, 2, …"""
    assign: Annotated[int, Meta(ge=0, le=0xFFFF)]
    """How often a worker was assigned within this attach: 1, 2, …"""

    def __str__(self) -> str:
        return f"{self.attach}.{self.assign}"


class FrameKind(IntEnum):
    """What a frame carries. Up is gateway to worker, down is worker to gateway."""

    AUDIO = 1
    """Both ways: raw μ-law 8 kHz. Up: `t_ms` is Twilio's media timestamp of its first sample."""
    MARK = 2
    """Down: put this mark behind the audio sent so far. Up: Twilio echoed it. Payload: the name, ASCII."""
    CLEAR = 3
    """Down: drop everything that is not played yet; `generation` is the first that may play again."""
    DTMF = 4
    """Up: the caller pressed a key. Payload: one ASCII character."""
    STOP = 5
    """Up: Twilio's stream is over. Payload: why, a word from `StopReason`."""
    HANG_UP = 6
    """Down: close the stream. Payload: `control.HangUp` as JSON."""
    LINE = 7
    """Up: how long the hops outside the worker take. Payload: `control.LineReport` as JSON."""
    CHECKPOINT = 8
    """Down: what an owner after this one must know and the event log does not tell. Payload: `control.Checkpoint` as
    JSON; the gateway keeps the newest. With the flag `FINAL` the owner has let go of the call."""
    OWN = 9
    """Up, the first under its fence: the call is yours from now on. Payload: `control.Own` as JSON."""
    MOVE = 10
    """Down: this worker is about to stop; give the call to another. No payload."""
    READY = 11
    """Down, of a worker that was asked for a handover: it could go on with the call at once. No payload."""
    YIELD = 12
    """Up: another worker is ready; let go of the call at the next quiet moment, with a final checkpoint."""
    REVOKE = 13
    """Up, under the fence that is no more: another worker owns the call; say nothing any more."""
    RESUME = 14
    """Up: audio or marks were lost on their way down; send again what came behind the mark in the payload (ASCII, may be
    empty), the newest that Twilio was sent. Down, with the number of the frame that asked for it as ASCII digits: what
    follows does. Until then the gateway drops audio and marks."""


REPLAYED: Final = 1
"""Flag of AUDIO, up: kept back or sent again on purpose, so its lateness is no reason to drop it."""

FINAL: Final = 1
"""Flag of CHECKPOINT, down: see there."""


class Frame(NamedTuple):
    """One frame of a call."""

    kind: int
    fence: Fence
    seq: int
    """Counts the frames of one direction under one fence from 0, so that a receiver can tell loss."""
    t_ms: int
    """Up: media time, ms since the stream's first sample. Down: ms since the worker attached."""
    generation: int
    """Playback generation; each barge-in raises it and makes older audio stale."""
    payload: bytes
    flags: int = 0


class FrameError(ValueError):
    """The bytes are no frame that this version can read."""


def encode(frame: Frame) -> bytes:
    """Return header and payload as they cross NATS."""
    kind, fence, seq, t_ms, generation, payload, flags = frame
    return (
        _HEADER.pack(VERSION, kind, HEADER_BYTES, flags, fence[0], fence[1], seq, t_ms, generation) + payload
    )


def decode(data: bytes) -> Frame:
    """Return the frame in `data`; raise `FrameError` when it is too short, too long or of another version."""
    if len(data) < HEADER_BYTES:
        raise FrameError(f"{len(data)} bytes are shorter than a header")
    version, kind, header_bytes, flags, attach, assign, seq, t_ms, generation = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FrameError(f"frame version {version}, this process reads {VERSION}")
    if not HEADER_BYTES <= header_bytes <= len(data):
        raise FrameError(f"header of {header_bytes} bytes in a frame of {len(data)}")
    if len(data) - header_bytes > PAYLOAD_BYTES_MAX:
        raise FrameError(f"payload of {len(data) - header_bytes} bytes, at most {PAYLOAD_BYTES_MAX}")
    return Frame(kind, Fence(attach, assign), seq, t_ms, generation, data[header_bytes:], flags)


LATE_MS_MAX: Final = 2_000
"""Audio that took this much longer than the fastest frame is from an outage, not from the conversation."""


class Lateness:
    """How late a frame is, without comparing the clocks of two machines.

    The fastest frame so far defines zero. Its path is slowly forgotten (1 ms per second of stream), so a
    clock that drifts by less than 1,000 ppm, or a route that got longer, does not count as lateness for ever.
    """

    def __init__(self) -> None:
        self._fastest_ms: float | None = None
        self._last_t_ms = 0

    def of(self, t_ms: int, now: float) -> float:
        """Return the ms by which the frame stamped `t_ms` arrived later than the fastest one."""
        path_ms = now * 1000 - t_ms
        if self._fastest_ms is None:
            self._fastest_ms = path_ms
        else:
            self._fastest_ms += max(t_ms - self._last_t_ms, 0) / 1000
            self._fastest_ms = min(self._fastest_ms, path_ms)
        self._last_t_ms = t_ms
        return path_ms - self._fastest_ms
