"""Twilio's call queues: who waits in which, since when, and what its webhooks are told of it. Pure.

(Twilio: TwiML Enqueue; Queue resource)
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

QUEUE_SIZE_MAX = 1000  # unless the REST API has set another (Twilio: TwiML Enqueue)

QueueResult = Literal["hangup", "leave", "queue-full", "error", "redirected"]
"""Why a call has left its queue, or did not get in; of these only what is simulated (Twilio: TwiML Enqueue)."""


@dataclass(slots=True)
class _Queue:
    sid: str
    waiting_since_s: dict[str, float]  # by CallSid, in order of arrival


@dataclass(slots=True)
class Queues:
    """All queues of an account; calls that are to wait in one share it."""

    size_max: int = QUEUE_SIZE_MAX
    _by_name: dict[str, _Queue] = field(default_factory=dict)

    def join(self, name: str, call_sid: str, now_s: float) -> Place | None:
        """Return the call's place, or nothing if the queue is full; a queue is made by whoever needs it first."""
        queue = self._by_name.setdefault(name, _Queue(f"QU{secrets.token_hex(16)}", {}))
        if len(queue.waiting_since_s) >= self.size_max:
            return None
        queue.waiting_since_s[call_sid] = now_s
        return Place(queue, call_sid)

    def waiting(self, name: str) -> list[str]:
        """Return the CallSids in a queue, the first in line first."""
        queue = self._by_name.get(name)
        return list(queue.waiting_since_s) if queue else []


@dataclass(frozen=True, slots=True)
class Place:
    """One call in its queue."""

    _queue: _Queue
    _call_sid: str

    def wait_fields(self, now_s: float) -> dict[str, str]:
        """Return what a request to `waitUrl` carries besides the call's own fields."""
        waiting = self._queue.waiting_since_s
        times_s = [now_s - since_s for since_s in waiting.values()]
        return {
            "AvgQueueTime": str(int(sum(times_s) / len(times_s))),
            "CurrentQueueSize": str(len(waiting)),
            "MaxQueueSize": str(QUEUE_SIZE_MAX),
            "QueuePosition": str(list(waiting).index(self._call_sid) + 1),
            "QueueSid": self._queue.sid,
            "QueueTime": str(int(now_s - waiting[self._call_sid])),
        }

    def leave(self, result: QueueResult, now_s: float) -> Mapping[str, str]:
        """Give the place up, and return what the request to `action` carries besides the call's own fields."""
        since_s = self._queue.waiting_since_s.pop(self._call_sid)
        return {
            "QueueResult": result,
            "QueueSid": self._queue.sid,
            "QueueTime": str(int(now_s - since_s)),
        }
