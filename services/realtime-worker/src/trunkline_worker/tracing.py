"""Shell: sends calls as traces to an OpenTelemetry collector (OTLP over HTTP), when one is named; off by default.

Events are offered from the event loop, which costs an append; a thread of its own makes spans of them, and the SDK's
own thread sends those. Both queues have a limit: what does not fit, or is not taken by the collector, is lost and
counted. No call waits for any of it.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any, Final

from trunkline_common import call_events, log
from trunkline_common.call_events import Envelope
from trunkline_common.settings import SettingsError
from trunkline_worker import metrics
from trunkline_worker.spans import Span, span_of, trace_of

EVENTS_WAITING_MAX: Final = 2_048
"""Ten seconds of 200 busy calls; the thread takes some 0.2 ms for one."""
SPANS_WAITING_MAX: Final = 4_096
SPANS_PER_EXPORT: Final = 512
EXPORT_INTERVAL_MS: Final = 2_000
EXPORT_S_MAX: Final = 5.0
"""For one request to the collector and its repetitions."""
CLOSE_S_MAX: Final = 6.0
"""For what is left when the worker stops."""

_log = log.get(__name__)


class Traces:
    """Takes the events of every call of a worker."""

    def __init__(self, endpoint: str, resource: dict[str, str]) -> None:
        """Start the threads; raise `SettingsError` where the exporter is not installed.

        `endpoint` is the collector's base address; `resource` names this process (OpenTelemetry: resource attributes).
        """
        self._provider, self._tracer, self._ids = _sdk(endpoint, resource)
        self._events: queue.Queue[Envelope | None] = queue.Queue(EVENTS_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def offer(self, envelope: Envelope) -> None:
        """Take an event, or drop it when too many wait; never blocks."""
        try:
            self._events.put_nowait(envelope)
        except queue.Full:
            metrics.TRACE_EVENTS_DROPPED.inc()

    def close(self) -> None:
        """Send what waits; blocks for up to `CLOSE_S_MAX`, then it is lost."""
        try:
            self._events.put(None, timeout=CLOSE_S_MAX / 2)
        except queue.Full:
            return
        self._thread.join(CLOSE_S_MAX)

    def _run(self) -> None:
        while (envelope := self._events.get()) is not None:
            try:
                event = call_events.open_envelope(envelope)
            except call_events.EventError:
                continue
            if event is not None and (span := span_of(envelope, event)) is not None:
                self._record(envelope, span)
        self._provider.shutdown()

    def _record(self, envelope: Envelope, span: Span) -> None:
        from opentelemetry import trace  # noqa: PLC0415  # an extra: there only where it is asked for
        from opentelemetry.context import Context  # noqa: PLC0415

        trace_id, call_span_id = trace_of(envelope)
        if span.is_call:
            # A root without a parent, under ids that its children know already.
            self._ids.next_trace_id, self._ids.next_span_id = trace_id, call_span_id
            started = self._tracer.start_span(
                span.name, Context(), attributes=span.attributes, start_time=span.start_ns
            )
            started.end(span.end_ns)
            return
        call = trace.SpanContext(trace_id, call_span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        self._record_below(trace.NonRecordingSpan(call), span)

    def _record_below(self, parent: Any, span: Span) -> None:
        from opentelemetry import trace  # noqa: PLC0415  # an extra
        from opentelemetry.context import Context  # noqa: PLC0415

        context = trace.set_span_in_context(parent, Context())
        started = self._tracer.start_span(
            span.name, context, attributes=span.attributes, start_time=span.start_ns
        )
        for child in span.children:
            self._record_below(started, child)
        started.end(span.end_ns)


def _sdk(endpoint: str, resource: dict[str, str]) -> tuple[Any, Any, Any]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
            BatchSpanProcessor,
            SpanExportResult,
        )
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: is set, but the exporter is not installed: install trunkline-worker[otel], "
            "or unset it"
        ) from None

    class Ids(RandomIdGenerator):
        """Random, but for the ids that are told beforehand."""

        next_trace_id: int | None = None
        next_span_id: int | None = None

        def generate_trace_id(self) -> int:
            told, self.next_trace_id = self.next_trace_id, None
            return told or super().generate_trace_id()

        def generate_span_id(self) -> int:
            told, self.next_span_id = self.next_span_id, None
            return told or super().generate_span_id()

    class Exporter(OTLPSpanExporter):
        """Counts what the collector did not take."""

        def export(self, spans: Sequence[Any]) -> Any:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS:
                metrics.TRACE_SPANS_LOST.inc(len(spans))
            return result

    # It logs each failure as an error, with a traceback; the counter tells it better.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    ids = Ids()
    provider = TracerProvider(resource=Resource.create(resource), id_generator=ids, shutdown_on_exit=False)
    exporter = Exporter(endpoint=f"{endpoint}/v1/traces", timeout=EXPORT_S_MAX)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=SPANS_WAITING_MAX,
            max_export_batch_size=SPANS_PER_EXPORT,
            schedule_delay_millis=EXPORT_INTERVAL_MS,
        )
    )
    _log.info("traces-on", collector=endpoint)
    return provider, provider.get_tracer("trunkline"), ids
