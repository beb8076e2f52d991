"""Shell: one owner's part of a call's event log: its events are numbered, and held back until the call is its own."""

import time

import msgspec

from trunkline_common import call_events, log
from trunkline_common.call_events import (
    CallEnded,
    CallEvent,
    CallStarted,
    Envelope,
    ModelConnected,
    ModelLost,
    Redaction,
    TurnLatency,
)
from trunkline_common.control import AssignRequest
from trunkline_worker import metrics, realtime_refusals, usage_metrics
from trunkline_worker.agent import Agent
from trunkline_worker.event_log import EventLog
from trunkline_worker.model_access import ModelAccess

_log = log.get(__name__)


class CallRecord:
    """The events of one call under one owner."""

    def __init__(
        self, request: AssignRequest, agent: Agent, event_log: EventLog, access: ModelAccess
    ) -> None:
        self.session_in_use = 0
        """Whose loss says something of the model."""
        self._events = 0
        self._request = request
        self._agent = agent
        self._access = access
        self._log = _log.bind(call_id=request.call_id)
        self._event_log = event_log
        usage_metrics.begin(agent.name)
        self._line = request.called if Redaction.PHONE_NUMBERS in agent.redact else ""
        self._waiting: list[Envelope] | None = []
        """Until the first stream: a worker whose offer was not taken up leaves no trace."""

    def write(self, event: CallEvent) -> None:
        """Write an event, once the call is this worker's, and count what it tells."""
        match event:
            case ModelConnected(connect_ms=connect_ms, cause=cause):
                metrics.MODEL_CONNECT_SECONDS.labels(cause).observe(connect_ms / 1000)
                self._access.session_began()
            case ModelLost():
                self._report_lost_model(event)
            case CallStarted():
                event = msgspec.structs.replace(event, retention_days=self._agent.retention_days)
            case CallEnded():
                event = msgspec.structs.replace(event, events_expected=self._events + 1)
        usage_metrics.count(event, self._agent.name)
        self._append(event)

    def write_latency(self, latency: TurnLatency, worker_s: float) -> None:
        """Write the latency of a turn, `worker_s` of it in this process."""
        metrics.MODEL_SECONDS.observe(latency.model_ms / 1000)
        metrics.RESPONSE_SECONDS.observe(latency.response_ms / 1000)
        self.write(msgspec.structs.replace(latency, worker_ms=worker_s * 1000))

    def release(self) -> None:
        """The call is this worker's: what waited is written."""
        waiting, self._waiting = self._waiting, None
        for envelope in waiting or ():
            self._event_log.append(envelope)

    def forget(self) -> None:
        """The call is another worker's: what waits is not written."""
        self._waiting = None

    def _append(self, event: CallEvent) -> None:
        envelope = call_events.seal(
            event,
            call_id=self._request.call_id,
            call_started_at_ms=self._request.started_at_ms,
            # Of the owner, not of the stream: a call that Twilio attaches again goes on counting.
            fence=self._request.fence,
            n=self._events,
            at_ms=time.time_ns() // 1_000_000,
            redact=self._agent.redact,
            line=self._line,
        )
        self._events += 1
        if self._waiting is None:
            self._event_log.append(envelope)
        else:
            self._waiting.append(envelope)

    def _report_lost_model(self, lost: ModelLost) -> None:
        metrics.MODEL_LOST.labels("fatal" if lost.fatal else "passing").inc()
        self._access.session_lost(lost, self._agent.name, served=lost.session == self.session_in_use)
        advice = realtime_refusals.advice(lost.reason)
        if lost.fatal:
            self._log.error("model-refused", reason=lost.reason, do=advice)
        else:
            self._log.warning("model-lost", reason=lost.reason, do=advice)
