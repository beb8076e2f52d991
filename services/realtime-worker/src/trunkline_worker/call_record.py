"""Shell: one owner's part of a call's event log: its events are numbered, and held back until the call is its own."""

import time

from trunkline_common import call_events
from trunkline_common.call_events import CallEvent, Envelope
from trunkline_common.control import AssignRequest
from trunkline_worker.event_log import EventLog


class CallRecord:
    """The events of one call under one owner."""

    def __init__(self, request: AssignRequest, event_log: EventLog) -> None:
        self.events = 0
        """How many there are so far."""
        self._request = request
        self._event_log = event_log
        self._waiting: list[Envelope] | None = []
        """Until the first stream: a worker whose offer was not taken up leaves no trace."""

    def append(self, event: CallEvent) -> None:
        """Write an event, once the call is this worker's."""
        envelope = call_events.seal(
            event,
            call_id=self._request.call_id,
            call_started_at_ms=self._request.started_at_ms,
            # Of the owner, not of the stream: a call that Twilio attaches again goes on counting.
            fence=self._request.fence,
            n=self.events,
            at_ms=time.time_ns() // 1_000_000,
        )
        self.events += 1
        if self._waiting is None:
            self._event_log.append(envelope)
        else:
            self._waiting.append(envelope)

    def release(self) -> None:
        """The call is this worker's: what waited is written."""
        waiting, self._waiting = self._waiting, None
        for envelope in waiting or ():
            self._event_log.append(envelope)

    def forget(self) -> None:
        """The call is another worker's: what waits is not written."""
        self._waiting = None
