"""Every metric of this service. Label values come from closed lists, and each exists from the start as 0."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from trunkline_common.control import TreatmentKind
from trunkline_common.frames import FrameKind
from trunkline_gateway.outbound import PARTIES, Problem
from trunkline_gateway.reasons import Drop, Ending, HandoverResult, Loss, Rejection, TakeoverResult

_HOP_BUCKETS_S: Final = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3)
_ROUND_TRIP_BUCKETS_S: Final = (
    0.2e-3,
    0.5e-3,
    1e-3,
    2e-3,
    5e-3,
    10e-3,
    20e-3,
    50e-3,
    100e-3,
    200e-3,
    500e-3,
    1,
)

_TAKEOVER_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)

WEBHOOKS = Counter("trunkline_gateway_webhooks", "Webhooks of Twilio answered.", ["webhook", "result"])
STREAM_CALLBACKS = Counter(
    "trunkline_gateway_stream_callbacks", "What Twilio reported about its media streams.", ["event"]
)
CALL_CALLBACKS = Counter(
    "trunkline_gateway_call_callbacks", "Calls that Twilio reported as over, by how they ended.", ["status"]
)
DIALS = Counter("trunkline_gateway_dials", "Transfers that ended, by Twilio's DialCallStatus.", ["status"])
OUTBOUND = Counter("trunkline_gateway_outbound_calls", "Requests for an outbound call.", ["result"])
ANSWERED_BY = Counter(
    "trunkline_gateway_outbound_answered_by", "Who answered, where machines are detected.", ["party"]
)
CALLS_ENDED = Counter(
    "trunkline_gateway_calls_ended_by_rest",
    "Calls that Twilio was asked to end, by what it said.",
    ["result"],
)
REDIRECTS = Counter(
    "trunkline_gateway_redirects",
    "Calls that a worker wanted to be attached again: what Twilio's REST API said, or why it was not asked.",
    ["result"],
)
TREATMENTS = Counter(
    "trunkline_gateway_callers_without_agent",
    "What callers got who got no agent: `full`, `waited` (for as long as one may), `failing`.",
    ["why", "treatment"],
)
WAITS_BEGUN = Counter(
    "trunkline_gateway_waits_begun", "Callers sent into a queue; less those of `waits_ended`, they wait now."
)
WAITS_ENDED = Counter("trunkline_gateway_waits_ended", "Callers that left a queue.", ["result"])
WAITED_SECONDS = Histogram(
    "trunkline_gateway_waited_seconds",
    "Time in a queue, by Twilio's QueueTime.",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600),
)
REJECTED = Counter("trunkline_gateway_rejected", "Refused requests, sockets and messages.", ["reason"])

STREAMS = Gauge("trunkline_gateway_streams_active", "Media streams that are open.")
STREAMS_MAX = Gauge("trunkline_gateway_streams_max", "Media streams that this process carries at most.")
STREAMS_ENDED = Counter("trunkline_gateway_streams_ended", "Media streams that ended.", ["reason"])

ASSIGNS = Counter("trunkline_gateway_assigns", "Requests to the workers to take a call.", ["result"])
ASSIGN_SECONDS = Histogram(
    "trunkline_gateway_assign_seconds",
    "From the first request for a worker until one took the call.",
    buckets=_ROUND_TRIP_BUCKETS_S,
)
ATTACHES = Counter("trunkline_gateway_attaches", "Streams offered to the owner of their call.", ["result"])
ATTACH_SECONDS = Histogram(
    "trunkline_gateway_attach_seconds",
    "From Twilio's `start` until the call's owner took the stream.",
    buckets=_ROUND_TRIP_BUCKETS_S,
)

FRAMES_UP = Counter("trunkline_gateway_frames_up", "Frames sent to workers.", ["kind"])
FRAMES_DOWN = Counter("trunkline_gateway_frames_down", "Frames of workers that were taken.", ["kind"])
FRAMES_DROPPED = Counter("trunkline_gateway_frames_dropped", "Frames that went no further.", ["reason"])
FRAMES_LOST = Counter(
    "trunkline_gateway_frames_lost", "Frames of workers that never arrived, told by holes in their numbers."
)
UP_SECONDS = Histogram(
    "trunkline_gateway_up_seconds",
    "Caller audio: from the websocket message in hand until it was handed to NATS.",
    buckets=_HOP_BUCKETS_S,
)
DOWN_SECONDS = Histogram(
    "trunkline_gateway_down_seconds",
    "Agent audio: from the NATS message in hand until it was handed to the websocket.",
    buckets=_HOP_BUCKETS_S,
)

MARK_ROUND_TRIP_SECONDS = Histogram(
    "trunkline_gateway_mark_round_trip_seconds",
    "A mark sent to Twilio with nothing to play before it, until its echo.",
    buckets=_ROUND_TRIP_BUCKETS_S,
)
PING_ROUND_TRIP_SECONDS = Histogram(
    "trunkline_gateway_ping_round_trip_seconds",
    "A ping to a worker over NATS, until its answer.",
    buckets=_ROUND_TRIP_BUCKETS_S,
)
WORKERS_WATCHED = Gauge("trunkline_gateway_workers_watched", "Workers that hold one of our streams.")
WORKERS_LOST = Counter("trunkline_gateway_workers_lost", "Workers that stopped answering pings.", ["how"])

TAKEOVERS = Counter(
    "trunkline_gateway_takeovers",
    "Live calls that lost their owner, by how, and what came of them.",
    ["cause", "result"],
)
HANDOVERS = Counter(
    "trunkline_gateway_handovers",
    "Attempts to move a live call from a worker that is about to stop.",
    ["result"],
)
TAKEOVER_SECONDS = Histogram(
    "trunkline_gateway_takeover_seconds",
    "From the moment a call's owner was found to be lost until another worker owned it.",
    buckets=_TAKEOVER_BUCKETS_S,
)
AGENT_BACK_SECONDS = Histogram(
    "trunkline_gateway_agent_back_seconds",
    "From the moment a call's owner was found to be lost until the next one's first audio.",
    buckets=_TAKEOVER_BUCKETS_S,
)
FRAMES_REPLAYED = Counter(
    "trunkline_gateway_frames_replayed", "Frames of callers that were kept back or sent again."
)
COMFORT_SECONDS = Counter(
    "trunkline_gateway_comfort_seconds", "Time in which callers had comfort sound instead of the agent."
)

WEBHOOK_RESULTS: Final = (
    "connect",
    "dial",
    "digits",
    "full",
    "fallback",
    "hang-up",
    "caller-limit",
    "hold",
    "leave",
    "noted",
    "rejected",
)
STREAM_EVENTS: Final = ("stream-started", "stream-stopped", "stream-error", "other")


def _start_at_zero(counter: Counter, *values: Iterable[str]) -> None:
    """Create the children of a counter, so that a rate over its first increment is right."""
    labels: list[tuple[str, ...]] = [()]
    for column in values:
        labels = [(*row, value) for row in labels for value in column]
    for row in labels:
        counter.labels(*row)


_start_at_zero(
    WEBHOOKS,
    ("voice", "reattach", "dialed", "wait", "waited", "overflowed", "machine", "status"),
    WEBHOOK_RESULTS,
)
_start_at_zero(TREATMENTS, ("full", "waited", "failing"), TreatmentKind)
_start_at_zero(WAITS_ENDED, ("taken", "not-taken", "again", "hung-up"))
_start_at_zero(CALL_CALLBACKS, ("completed", "busy", "failed", "no-answer", "canceled"))
_start_at_zero(DIALS, ("completed", "answered", "busy", "no-answer", "failed", "canceled"))
_start_at_zero(OUTBOUND, ("placed", "repeated", *(problem.word for problem in Problem)))
_start_at_zero(ANSWERED_BY, (*sorted(PARTIES), "other"))
_start_at_zero(CALLS_ENDED, ("ended", "already-over", "failed"))
_start_at_zero(REDIRECTS, ("redirected", "over", "failed", "not-needed", "busy", "malformed"))
_start_at_zero(STREAM_CALLBACKS, STREAM_EVENTS)
_start_at_zero(REJECTED, Rejection)
_start_at_zero(STREAMS_ENDED, (ending.label for ending in Ending))
_start_at_zero(ASSIGNS, ("taken", "refused", "no-answer", "full"))
_start_at_zero(ATTACHES, ("attached", "refused", "no-worker"))
_start_at_zero(FRAMES_UP, (kind.name.lower() for kind in FrameKind))
_start_at_zero(FRAMES_DOWN, (kind.name.lower() for kind in FrameKind))
_start_at_zero(FRAMES_DROPPED, Drop)
_start_at_zero(WORKERS_LOST, ("gone", "silent"))
_start_at_zero(TAKEOVERS, Loss, TakeoverResult)
_start_at_zero(HANDOVERS, HandoverResult)

FRAMES_UP_BY_KIND: Final = {kind: FRAMES_UP.labels(kind.name.lower()) for kind in FrameKind}
FRAMES_DOWN_BY_KIND: Final = {int(kind): FRAMES_DOWN.labels(kind.name.lower()) for kind in FrameKind}
"""Looked up once: a label lookup per frame costs as much as parsing it."""
