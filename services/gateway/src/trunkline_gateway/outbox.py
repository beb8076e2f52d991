"""What waits to be written to one websocket: one writer, a limit, and `clear` that jumps the queue."""

import asyncio
from collections import deque
from typing import Final, NamedTuple

AUDIO_BYTES_MAX: Final = 60 * 8_000
"""A minute of agent audio that Twilio does not read: the socket is dead. Normally nothing waits here at all,
for Twilio itself is the jitter buffer."""

MESSAGES_MAX: Final = 4_096
"""Bounds small messages, too: a minute of audio in frames of 20 ms with a mark behind each third one."""


class Message(NamedTuple):
    """A text message to write."""

    text: str
    audio_bytes: int
    received_at: float
    """`time.perf_counter()` when its audio came over NATS; 0 for what is not measured."""


class Closing(NamedTuple):
    """The close frame to write; nothing follows it."""

    code: int
    reason: str


class Outbox:
    """Filled from anywhere in the loop without waiting, emptied by one writer."""

    def __init__(self) -> None:
        self._queue: deque[Message | Closing] = deque()
        self._audio_bytes = 0
        self._is_closing = False
        self._filled = asyncio.Event()

    def put(self, text: str, audio_bytes: int = 0, received_at: float = 0.0) -> bool:
        """Queue a message; False, and nothing queued, when the outbox is full or closing."""
        if (
            self._is_closing
            or self._audio_bytes + audio_bytes > AUDIO_BYTES_MAX
            or len(self._queue) >= MESSAGES_MAX
        ):
            return False
        self._audio_bytes += audio_bytes
        self._queue.append(Message(text, audio_bytes, received_at))
        self._filled.set()
        return True

    def put_instead(self, text: str) -> int:
        """Drop what is queued and put `text` in its place; return how many messages were dropped."""
        if self._is_closing:
            return 0
        dropped = self._drop_all()
        self.put(text)
        return dropped

    def close(self, code: int, reason: str, *, after_queued: bool) -> None:
        """Queue the close frame: behind what is queued, or instead of it."""
        if not after_queued:
            self._drop_all()
        self._is_closing = True
        self._queue.append(Closing(code, reason))
        self._filled.set()

    async def next(self) -> Message | Closing:
        """Wait for the next thing to write."""
        while not self._queue:
            self._filled.clear()
            await self._filled.wait()
        item = self._queue.popleft()
        if isinstance(item, Message):
            self._audio_bytes -= item.audio_bytes
        return item

    def _drop_all(self) -> int:
        dropped = len(self._queue)
        self._queue.clear()
        self._audio_bytes = 0
        return dropped
