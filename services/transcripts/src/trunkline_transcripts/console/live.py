"""Calls as they go on: what a listener is told, read from the event log.

Each listener has a short-lived JetStream consumer of its own. So it goes at its own pace, begins anywhere in the log
that is still kept, and one that is slow holds nobody up. An event's id is its place in the log. What is told is
what may be stored: without what the agent's profile wants to be redacted.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from trunkline_common import log, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import AgentTurn, CallEnded, CallerTurn, CallStarted, EventError
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.console import metrics
from trunkline_transcripts.console.problems import RETRY_BUSY_S, Kind, ProblemError
from trunkline_transcripts.entry import read

KINDS: Final = ("call_started", "turn_caller", "turn_agent", "call_ended")
"""What listeners are told of; latency, usage and tools are for those who read the call afterwards."""
HEARTBEAT_S: Final = 15
"""Proxies close what is silent for a minute, some for 30 s."""
FETCH_EVENTS_MAX: Final = 64
FETCH_WAIT_S: Final = 0.5
"""How long one question to JetStream may wait; an event that comes meanwhile is told at once."""
REOPEN_WAIT_S: Final = 1
CONSUMER_IDLE_S: Final = 30
"""JetStream removes the consumer of a listener that went away without a word."""

_BUS_ERRORS: Final = (nats.errors.Error, OSError, RuntimeError)
"""What nats-py raises while the link is down; uvloop calls a socket that is gone a RuntimeError."""

_NO_KEY: Final = CallerKey(secrets.token_bytes(32))
"""Listeners are told no hash: the log has the number, and the database's key is the writer's."""

_log = log.get(__name__)


class LiveCalls:
    """The listeners of one process."""

    def __init__(self, listeners_max: int) -> None:
        self._listeners_max = listeners_max
        self._listeners = 0
        self._bus: Bus | None = None
        self._closing = asyncio.Event()

    def open(self, bus: Bus) -> None:
        """Take listeners from now on."""
        self._bus = bus

    def close(self) -> None:
        """Send every listener away; they come back to another process by themselves."""
        self._bus = None
        self._closing.set()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._listeners >= self._listeners_max:
            raise ProblemError(Kind.BUSY, "Somebody else has to stop listening first.", RETRY_BUSY_S)
        self._listeners += 1
        metrics.LISTENERS.inc()
        try:
            yield
        finally:
            self._listeners -= 1
            metrics.LISTENERS.dec()

    async def listen(
        self, call_id: str | None, after: int | None, with_numbers: bool
    ) -> AsyncGenerator[bytes]:
        """Yield server-sent events: of all calls or one, from now on or from behind the event `after`.

        The first piece comes once the log is open. Raises `ProblemError` before that, and nothing later.
        """
        bus = self._bus
        if bus is None or not bus.is_connected:
            raise ProblemError(Kind.LOG_AWAY, "NATS is away.", RETRY_BUSY_S)
        with self._place():
            listener = _Listener(bus, call_id, after)
            try:
                await listener.open()
            except _BUS_ERRORS as error:
                raise ProblemError(Kind.LOG_AWAY, "JetStream does not answer.", RETRY_BUSY_S) from error
            try:
                # The retry is for EventSource: how long to wait before it comes back (WHATWG: Server-sent events).
                yield f"retry: {1000 * REOPEN_WAIT_S}\n: listening\n\n".encode()
                async for piece in self._follow(listener, with_numbers):
                    yield piece
            finally:
                await listener.close()

    async def _follow(self, listener: "_Listener", with_numbers: bool) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        told_at = loop.time()
        while not self._closing.is_set():
            pieces = [piece for message in await listener.fetch() if (piece := _told(message, with_numbers))]
            if pieces:
                metrics.LIVE_EVENTS.inc(len(pieces))
                yield b"".join(pieces)
                told_at = loop.time()
            elif loop.time() >= told_at + HEARTBEAT_S:
                yield b": still here\n\n"
                told_at = loop.time()


class _Listener:
    """One consumer of the event log, found again where it is lost."""

    def __init__(self, bus: Bus, call_id: str | None, after: int | None) -> None:
        self._bus = bus
        self._subjects = [
            subjects.event(call_id, kind) if call_id else subjects.every_event_of_kind(kind) for kind in KINDS
        ]
        self._last = after
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._reconnects = 0

    async def open(self) -> None:
        """Create the consumer; raises one of `_BUS_ERRORS`."""
        if self._last is None:
            # Remembered at once: a consumer that is lost before its first event must not skip any.
            info = await self._bus.jetstream.stream_info(subjects.EVENT_STREAM)
            self._last = info.state.last_seq
        config = ConsumerConfig(
            filter_subjects=self._subjects,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._last + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=CONSUMER_IDLE_S,
            mem_storage=True,
            num_replicas=1,
        )
        self._reconnects = self._bus.reconnects
        self._subscription = await self._bus.jetstream.pull_subscribe(
            "", stream=subjects.EVENT_STREAM, config=config
        )

    async def fetch(self) -> list[Msg]:
        """Return what came within `FETCH_WAIT_S`; empty when nothing did, or the log is away."""
        try:
            if self._bus.reconnects != self._reconnects:
                # Its consumer lives in the memory of a server, which may not be the same any more.
                metrics.LIVE_REOPENED.inc()
                await self.close()
            if self._subscription is None:
                await self.open()
            assert self._subscription is not None, "set by open"
            messages = await self._subscription.fetch(FETCH_EVENTS_MAX, timeout=FETCH_WAIT_S)
        except TimeoutError:  # nats-py's is one, too
            return []
        except _BUS_ERRORS as error:
            metrics.LIVE_REOPENED.inc()
            _log.info("live-reopened", why=str(error) or type(error).__name__)
            await self.close()
            await asyncio.sleep(REOPEN_WAIT_S)
            return []
        # A busy process may find its time over before it has looked: nats-py returns nothing then.
        if messages:
            self._last = messages[-1].metadata.sequence.stream
        return messages

    async def close(self) -> None:
        """Give the consumer up; JetStream removes it by itself when it cannot be told."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(*_BUS_ERRORS):
                await subscription.unsubscribe()


def _told(message: Msg, with_numbers: bool) -> bytes | None:
    """Return the event as a listener is told it, or None when it cannot be read; the store sets that aside."""
    sequence = message.metadata.sequence.stream
    try:
        entry = read(message.data, sequence, _NO_KEY)
    except EventError:
        metrics.LIVE_UNREADABLE.inc()
        return None
    match entry.event:
        case CallStarted(called=called, agent=agent):
            name = "call_started"
            known: dict[str, Any] = {
                "agent": agent,
                "called": called,
                "caller": entry.caller_number if with_numbers else None,
            }
        case CallerTurn(item_id=item_id, position=position, text=text, revision=revision):
            name = "turn"
            known = {"speaker": "caller", "item_id": item_id, "position": position, "text": text}
            known["revision"] = revision
        case AgentTurn(item_id=item_id, position=position, generated_text=text, heard_text=heard):
            name = "turn"
            known = {"speaker": "agent", "item_id": item_id, "position": position, "text": text}
            known |= {"heard_text": heard, "interrupted": entry.event.interrupted, "revision": 1}
        case CallEnded(outcome=outcome, reason=reason, duration_ms=duration_ms):
            name = "call_ended"
            known = {"outcome": outcome, "reason": reason, "duration_ms": duration_ms}
        case _:
            return None
    # JSON has no raw line breaks, so one data line is enough.
    moments = {"call_started_at": entry.call_started_at, "at": entry.at}
    data = msgspec.json.encode({"call_id": entry.envelope.call_id, **moments, **known})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, name.encode(), data)
