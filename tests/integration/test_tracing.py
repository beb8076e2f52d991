"""Traces at a tiny OpenTelemetry collector: what arrives, and what a collector that is away costs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from trunkline_common import call_events
from trunkline_common.call_events import CallEnded, CallEvent, CallStarted, Envelope, TurnLatency
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome
from trunkline_local.processes import free_port
from trunkline_worker import metrics, tracing
from trunkline_worker.spans import trace_of
from trunkline_worker.tracing import Traces

TURN = TurnLatency(
    item_id="item_1",
    position=2,
    response_ms=600,
    twilio_to_gateway_ms=None,
    gateway_to_worker_ms=1,
    worker_to_model_ms=30,
    model_ms=300,
    model_to_worker_ms=30,
    worker_to_gateway_ms=1,
    gateway_to_twilio_ms=None,
    worker_ms=2,
)
CALL: tuple[CallEvent, ...] = (
    CallStarted(caller="+12025550143", called="+12025550199", agent="desk", worker="wk-1"),
    TURN,
    CallEnded(
        outcome=Outcome.SUCCESS, reason="caller-hung-up", duration_ms=9, interruptions=0, events_expected=3
    ),
)


def sealed(event: CallEvent) -> Envelope:
    return call_events.seal(
        event,
        call_id="CA1",
        call_started_at_ms=1_700_000_000_000,
        fence=Fence(1, 1),
        n=0,
        at_ms=1_700_000_009_000,
    )


class Collector(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Answer(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_call_arrives_as_one_trace(collector: Collector) -> None:
    traces = Traces(collector.url, {"service.name": "trunkline-worker"})
    for event in CALL:
        traces.offer(sealed(event))
    traces.close()

    assert set(collector.paths) == {"/v1/traces"}
    by_name = {span.name: span for span in collector.spans}
    trace_id, call_id = trace_of(sealed(TURN))
    assert {int.from_bytes(span.trace_id) for span in collector.spans} == {trace_id}
    assert int.from_bytes(by_name["call"].span_id) == call_id
    assert by_name["call"].parent_span_id == b""
    assert by_name["turn"].parent_span_id == by_name["answer"].parent_span_id == by_name["call"].span_id
    assert by_name["model"].parent_span_id == by_name["turn"].span_id
    assert by_name["model"].end_time_unix_nano - by_name["model"].start_time_unix_nano == 300_000_000
    assert b"+1202555" not in b"".join(collector.bodies)


def test_a_collector_that_is_away_costs_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_S_MAX", 0.2)
    before = metrics.TRACE_SPANS_LOST._value.get()

    traces = Traces(f"http://127.0.0.1:{free_port()}", {})
    traces.offer(sealed(TURN))
    traces.close()

    assert metrics.TRACE_SPANS_LOST._value.get() == before + 7


def test_events_that_do_not_fit_are_dropped_and_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()

    def wait(*_: Any) -> None:
        held.wait(10)

    monkeypatch.setattr(tracing, "EVENTS_WAITING_MAX", 2)
    monkeypatch.setattr(tracing, "span_of", wait)
    before = metrics.TRACE_EVENTS_DROPPED._value.get()

    traces = Traces(collector.url, {})
    for _ in range(5):
        traces.offer(sealed(TURN))
    held.set()
    traces.close()

    # Two wait, and one may be in the thread's hands.
    assert metrics.TRACE_EVENTS_DROPPED._value.get() - before in {2, 3}
