"""What can go wrong on Twilio's side of a call, and what it does to the caller's audio on its way. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from trunkline_simulators.twilio_player import FRAME_BYTES, FRAME_MS


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one call; by default there are none. Times `_at_ms` count from the answer."""

    jitter_ms: float = 0.0  # standard deviation of how late a frame leaves; order is kept
    stall_at_ms: int | None = None  # nothing leaves for `stall_ms`, then all of it at once
    stall_ms: int = 2_000
    dtx_after_ms: int | None = None  # a caller this long silent is not sent; the timestamps jump
    payload_bytes: tuple[int, ...] = (FRAME_BYTES,)  # sizes of media payloads, used in turn
    first_timestamp_ms: int = 0
    duplicate_at_ms: int | None = None  # a second websocket for the same call, token and all
    reset_at_ms: int | None = None  # the websocket's TCP connection is reset
    hang_up_at_ms: int | None = None  # the caller hangs up, whatever the script says
    websocket_signature: Literal["right", "trailing-slash", "wrong"] = "right"
    webhook_signature: Literal["right", "wrong"] = "right"
    tampered_token: bool = False  # one character of each `<Parameter>` is another one
    redirects_in_queue: Literal["told", "untold"] = "told"  # of the caller's place; Twilio documents neither
    no_start: bool = False  # after `connected` nothing is sent


@dataclass(frozen=True, slots=True)
class Packet:
    """One media message: its audio, its place in the stream, and the call's time at which it leaves."""

    payload: bytes
    timestamp_ms: int
    leaves_at_ms: float


class Uplink:
    """Turns the caller's 20 ms frames into one stream's media messages, each `late_ms()` late."""

    def __init__(self, faults: Faults, late_ms: Callable[[], float]) -> None:
        self._faults = faults
        self._late_ms = late_ms
        self._sizes = deque(faults.payload_bytes)
        self._waiting = bytearray()
        self._read_bytes = 0  # of the stream, including what was not sent
        self._silent_ms = 0
        self._last_leaves_at_ms = 0.0

    def add(self, frame: bytes, speaking: bool, t_ms: float) -> list[Packet]:
        """Take the frame of the call's time `t_ms`; return the messages that it completes."""
        self._silent_ms = 0 if speaking else self._silent_ms + FRAME_MS
        if self._faults.dtx_after_ms is not None and self._silent_ms > self._faults.dtx_after_ms:
            self._read_bytes += len(self._waiting) + len(frame)
            self._waiting.clear()
            return []
        self._waiting += frame
        packets = []
        while len(self._waiting) >= self._sizes[0]:
            packets.append(self._packet(self._sizes[0], t_ms))
            self._sizes.rotate(-1)
        return packets

    def _packet(self, size_bytes: int, t_ms: float) -> Packet:
        payload = bytes(self._waiting[:size_bytes])
        del self._waiting[:size_bytes]
        timestamp_ms = self._faults.first_timestamp_ms + self._read_bytes // 8
        self._read_bytes += size_bytes
        return Packet(payload, timestamp_ms, self._leaves_at_ms(t_ms))

    def _leaves_at_ms(self, t_ms: float) -> float:
        # TCP keeps the order: nothing overtakes what is late.
        leaves_at_ms = max(self._last_leaves_at_ms, t_ms + self._late_ms())
        stall_at_ms = self._faults.stall_at_ms
        if stall_at_ms is not None and stall_at_ms <= leaves_at_ms < stall_at_ms + self._faults.stall_ms:
            leaves_at_ms = stall_at_ms + self._faults.stall_ms
        self._last_leaves_at_ms = leaves_at_ms
        return leaves_at_ms
