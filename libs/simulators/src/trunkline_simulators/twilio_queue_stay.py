"""One call's stays in queues, one after another, as its trace and its result tell them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from trunkline_simulators.twilio_program import Joined, NotJoined
from trunkline_simulators.twilio_queues import Place, QueueResult, Queues
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_trace import Trace


class QueueStay:
    """Whether the call is in a queue now, and where."""

    def __init__(self, queues: Queues, result: CallResult, trace: Trace) -> None:
        self._queues = queues
        self._result = result
        self._trace = trace
        self._place: Place | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the call is in a queue."""
        return self._place is not None

    def join(self, queue: str) -> Joined | NotJoined:
        """Go to the end of a queue."""
        self._result.queues.append(queue)
        self._place = self._queues.join(queue, self._result.call_sid, _now_s())
        self._trace.add("twiml", verb="Enqueue", queue=queue, joined=self._place is not None)
        return Joined() if self._place else NotJoined()

    def fields(self) -> Mapping[str, str]:
        """Return what `waitUrl` is told; nothing where the call is in no queue."""
        return self._place.wait_fields(_now_s()) if self._place else {}

    def leave(self, result: QueueResult) -> Mapping[str, str]:
        """Leave the queue, and return what `action` is told; nothing where the call is in no queue."""
        if self._place is None:
            return {}
        fields = self._place.leave(result, _now_s())
        self._place = None
        self._result.queue_results.append(result)
        self._trace.add("queue-left", result=result, waited_s=fields["QueueTime"])
        return fields


def _now_s() -> float:
    return asyncio.get_running_loop().time()
