"""Shell: reads one call's event log back from JetStream, for the worker that goes on with the call.

It asks by direct get, in batches (NATS: ADR-31, "JetStream Direct Get"; server 2.11 or later). That creates no
consumer, so a reader that dies leaves nothing behind, and any replica answers, also while the stream has no leader.
A replica may be a moment behind: what was acknowledged in the last milliseconds may be missing.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import Final

from nats.aio.msg import Msg

from trunkline_common import call_events, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.call_events import Envelope, EventError
from trunkline_worker import metrics

EVENTS_MAX: Final = 10_000
"""Twice an hour's call with a turn every five seconds. Of a longer log the oldest events are left out and counted."""

BYTES_MAX: Final = 8 * 1024 * 1024
"""Ten times such a call. A worker reads many logs at once when another one died."""

PAGE_EVENTS_MAX: Final = 500
"""Most calls are one page."""

PAGE_BYTES_MAX: Final = 1024 * 1024
"""What the server may send in one go; far below the 64 MB at which it drops a slow client."""

PAGE_TIMEOUT_S: Final = 0.5
"""Then it is asked again, and another replica may answer: this one hangs, or died with the page half sent."""

RETRY_S: Final = 0.05
"""Between two tries when nobody answers: the stream comes back a moment after its server."""

_DIRECT_GET: Final = f"$JS.API.DIRECT.GET.{subjects.EVENT_STREAM}"

_END_OF_BATCH: Final = "204"
_NO_SUCH_MESSAGE: Final = "404"

_log = log.get(__name__)


class CallLogError(Exception):
    """JetStream did not tell the call's events; nothing is known about them."""


async def read(bus: Bus, call_id: str, limit_s: float) -> list[Envelope]:
    """Return every event of the call in the stream's order; an empty list when there are none.

    Events that cannot be read are left out and counted. Raises `CallLogError` when JetStream has not told all of
    them within `limit_s`, `subjects.InvalidTokenError` when `call_id` cannot be one.
    """
    reader, clock = _Reader(call_id), asyncio.get_running_loop()
    deadline = clock.time() + limit_s
    while not reader.is_done:
        timeout_s = min(PAGE_TIMEOUT_S, deadline - clock.time())
        try:
            page = await bus.request_page(
                _DIRECT_GET, reader.question(), timeout_s, _is_last, PAGE_EVENTS_MAX + 1
            )
            reader.take(page)
        except (NobodyListensError, NoAnswerError) as error:
            if clock.time() + RETRY_S >= deadline:
                raise CallLogError(
                    f"the log of {call_id} could not be read in {limit_s} s: {error!r}"
                ) from error
            await asyncio.sleep(RETRY_S)
    return reader.envelopes()


class _Reader:
    """What was read so far, within the limits."""

    def __init__(self, call_id: str) -> None:
        self.is_done = False
        self._call_id = call_id
        self._filter = subjects.every_event_of(call_id)
        self._next_seq = 1
        self._newest: deque[tuple[Envelope, int]] = deque()
        self._bytes = 0
        self._left_out = 0
        self._unreadable = 0

    def question(self) -> bytes:
        return json.dumps(
            {
                "next_by_subj": self._filter,
                "seq": self._next_seq,
                "batch": PAGE_EVENTS_MAX,
                "max_bytes": PAGE_BYTES_MAX,
            }
        ).encode()

    def take(self, page: Sequence[Msg]) -> None:
        """Add a page; raises `NoAnswerError` when a part of it was lost on the way."""
        *messages, last = page
        status = _text(last, "Status")
        if status not in (_END_OF_BATCH, _NO_SUCH_MESSAGE):
            raise CallLogError(f"JetStream answered {status} {_text(last, 'Description')}")
        _require_whole(messages, last if status == _END_OF_BATCH else None)
        for message in messages:
            self._add(message.data)
        if messages:
            self._next_seq = _number(messages[-1], "Nats-Sequence") + 1
        self.is_done = status == _NO_SUCH_MESSAGE or _number(last, "Nats-Num-Pending") == 0

    def envelopes(self) -> list[Envelope]:
        metrics.EVENTS_LEFT_OUT.inc(self._left_out)
        metrics.EVENTS_UNREADABLE.inc(self._unreadable)
        if self._left_out or self._unreadable:
            counts = {"left_out": self._left_out, "unreadable": self._unreadable}
            _log.warning("call-log-incomplete", call_id=self._call_id, read=len(self._newest), **counts)
        return [envelope for envelope, _ in self._newest]

    def _add(self, data: bytes) -> None:
        try:
            envelope = call_events.decode(data)
        except EventError:
            self._unreadable += 1
            return
        if envelope.call_id != self._call_id:
            self._unreadable += 1
            return
        self._newest.append((envelope, len(data)))
        self._bytes += len(data)
        while len(self._newest) > EVENTS_MAX or self._bytes > BYTES_MAX:
            self._bytes -= self._newest.popleft()[1]
            self._left_out += 1


def _require_whole(messages: Sequence[Msg], end: Msg | None) -> None:
    # Each message names the one before it. A link that broke and came back within one page leaves a hole.
    before = 0
    for message in (*messages, *([end] if end else [])):
        if _number(message, "Nats-Last-Sequence") != before:
            raise NoAnswerError("a part of the page was lost on the way")
        before = _number(message, "Nats-Sequence")


def _is_last(message: Msg) -> bool:
    return not message.data and bool(_text(message, "Status"))


def _number(message: Msg, header: str) -> int:
    return int(_text(message, header) or 0)


def _text(message: Msg, header: str) -> str:
    return (message.headers or {}).get(header, "")
