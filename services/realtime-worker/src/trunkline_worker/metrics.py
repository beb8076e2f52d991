"""Every metric that the worker exports; label values come from closed lists, never from a call.

Each value of a closed list exists from the start as 0, so that a rate over its first increment is right.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from trunkline_common.call_events import ToolOutcome
from trunkline_common.verdict import Verdict
from trunkline_worker.call_life import State
from trunkline_worker.commands import Measure
from trunkline_worker.realtime_notices import Notice

_SHORT_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_TURN_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)

CALLS_ACTIVE = Gauge("trunkline_worker_calls_active", "Calls that this worker holds.")
CALLS = Gauge(
    "trunkline_worker_calls",
    "Calls that this worker holds, by where they are in their life; `orphaned`: no stream carries them.",
    ["state"],
)
QUEUE_PLACES = Gauge(
    "trunkline_worker_queue_places",
    "Places of this worker in the queue group that takes calls, by its free room; 0: it takes none.",
)
CAPACITY = Gauge("trunkline_worker_capacity", "Calls that this worker takes at most.")
DRAINING = Gauge("trunkline_worker_draining", "1 while the worker takes no new call because it stops.")
AGENTS = Gauge("trunkline_worker_agents", "Agent profiles in use; 0 when only the built-in agent answers.")
AGENTS_OUTDATED = Gauge(
    "trunkline_worker_agents_outdated", "1 while the folder of profiles holds an edit that cannot be used."
)
AGENT_RELOADS = Counter("trunkline_worker_agent_reloads", "Edits of the folder of profiles.", ["result"])
for _result in ("loaded", "refused"):
    AGENT_RELOADS.labels(_result)  # an alert needs the 0 before the first edit
CALLS_TAKEN_OVER = Counter(
    "trunkline_worker_calls_taken_over",
    "Live calls that this worker went on with, by why their owner before did not.",
    ["cause"],
)
for _cause in ("worker-lost", "handover"):
    CALLS_TAKEN_OVER.labels(_cause)
TREATMENTS_TOLD = Counter(
    "trunkline_worker_treatments_told", "Answers to gateways that asked what callers get who get no agent."
)
CALLS_ENDED = Counter(
    "trunkline_worker_calls_ended",
    "Calls by verdict; `outcome` says whose doing the end was, `server` is ours.",
    ["outcome", "reason"],
)
for _verdict in Verdict:
    CALLS_ENDED.labels(_verdict.outcome, _verdict.reason)
LOGS_UNREAD = Counter(
    "trunkline_worker_call_logs_unread",
    "Calls that had an owner before and whose event log could not be read.",
)
LOG_READ_SECONDS = Histogram(
    "trunkline_worker_call_log_read_seconds",
    "From the request for a call's event log until all of it was read.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
)
CHECKPOINTS_UNREADABLE = Counter(
    "trunkline_worker_checkpoints_unreadable", "Checkpoints of another worker that this release cannot read."
)
CALLS_SUPERSEDED = Counter(
    "trunkline_worker_calls_superseded", "Calls given up because another worker owned them by then."
)
OWNER_REQUESTS_REFUSED = Counter(
    "trunkline_worker_owner_requests_refused",
    "Questions to the owner of a call that were refused: malformed, or an attach number that was used before.",
    ["reason"],
)
for _reason in ("malformed", "attach-used"):
    OWNER_REQUESTS_REFUSED.labels(_reason)
ASSIGNMENTS = Counter("trunkline_worker_assignments", "Answers to gateways that offered a call.", ["answer"])
for _answer in (
    "taken", "malformed", "bus", "owner", "taking", "draining", "no-audio-link", "budget-spent", "full", "model",
):  # fmt: skip
    ASSIGNMENTS.labels(_answer)

UP_SECONDS = Histogram(
    "trunkline_worker_up_seconds",
    "Our own work on a caller's frame: received from NATS until written to the model's socket, queues included.",
    buckets=_SHORT_S,
)
DOWN_SECONDS = Histogram(
    "trunkline_worker_down_seconds",
    "Our own work on an audio delta: received from the model until handed to NATS, queues included.",
    buckets=_SHORT_S,
)
MODEL_SECONDS = Histogram(
    "trunkline_turn_model_seconds",
    "The model's part of a turn: end of speech, as its VAD heard it, until its first audio.",
    buckets=_TURN_S,
)
RESPONSE_SECONDS = Histogram(
    "trunkline_turn_response_seconds",
    "End of speech until the first audio of the answer reached Twilio: all measured parts together.",
    buckets=_TURN_S,
)
MODEL_CONNECT_SECONDS = Histogram(
    "trunkline_model_connect_seconds",
    "First connect attempt, or the loss of the session before, until a session served.",
    ["cause"],
    buckets=_TURN_S,
)
for _cause in ("start", "restored", "rotated", "taken-over"):
    MODEL_CONNECT_SECONDS.labels(_cause)
MODEL_LOST = Counter(
    "trunkline_model_lost",
    "Model sessions refused or lost; `fatal`: trying again could not help.",
    ["kind"],
)
for _kind in ("fatal", "passing"):
    MODEL_LOST.labels(_kind)

MODEL_CONNECTS_DELAYED = Counter(
    "trunkline_model_connects_delayed", "Model sessions that waited because too many began at once."
)
MODEL_BREAKER_OPEN = Gauge(
    "trunkline_model_breaker_open",
    "1 while this worker takes no new call: its model sessions do not begin, or the account is refused.",
)

MODEL_EVENTS_IGNORED = Counter(
    "trunkline_model_events_ignored",
    "Events of the model that mean nothing to a call; text-part: it wrote where it should speak.",
    ["kind"],
)
for _notice in Notice:
    MODEL_EVENTS_IGNORED.labels(_notice.value)

_MEASURED: Final = {
    Measure.CALLER_AUDIO_DROPPED_MS: "Caller audio given up because no session was open for too long.",
    Measure.CALLER_AUDIO_REPEATED: "Frames of callers whose time had been heard already.",
    Measure.CALLER_GAP_PADDED_MS: "Silence put where Twilio sent nothing.",
    Measure.BARGE_IN: "Interruptions: the caller spoke, and the agent was cut off.",
    Measure.PLAYBACK_UNDERRUN: "Silences in the middle of what the agent says: the model was slower than speech.",
    Measure.LATE_DELTA: "Audio of an interrupted answer, which was ignored.",
    Measure.TOOL_LATE: "Answers of tools that had been given up.",
    Measure.STALE_MARK: "Echoes of marks that a clear caused, or of a generation that is gone.",
    Measure.STALE_SESSION: "Answers of abandoned model sessions.",
    Measure.MODEL_ERROR: "Errors that the model reported and went on.",
    Measure.RESPONSE_FAILED: "Answers of the model that failed.",
    Measure.RESPONSE_RETRIED: "Answers that were asked for again.",
    Measure.ANSWER_OVERDUE: "Sessions replaced because they owed an answer and were mute.",
    Measure.SHORT_SPEECH: "Speech over the agent's voice that was too short to stop it.",
    Measure.FILLER_MS: "Sound played because an answer did not come.",
    Measure.CONFIGURATION_DIFFERS: "Settings that the model echoed otherwise than it was asked.",
}


def name_of(measure: Measure) -> str:
    """Return the metric's name: times are in seconds, the base unit of Prometheus."""
    words = f"trunkline_call_{measure.replace('-', '_')}"
    return f"{words.removesuffix('_ms')}_seconds" if words.endswith("_ms") else words


MEASURES = {measure: Counter(name_of(measure), told) for measure, told in _MEASURED.items()}
BARGE_IN_REACTION_SECONDS = Histogram(
    "trunkline_call_barge_in_reaction_seconds",
    "From the first word of a caller who interrupts until the agent's voice was taken back, in the caller's media"
    " time: the model's detection of speech, both ways to it, and our own part.",
    buckets=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1, 2, 5),
)

GATEWAYS_LOST = Counter(
    "trunkline_worker_gateways_lost",
    "Gateways with calls of this worker that stopped answering pings.",
    ["how"],
)
for _how in ("gone", "silent"):
    GATEWAYS_LOST.labels(_how)
REDIRECTS = Counter(
    "trunkline_worker_redirects",
    "Requests to the gateways to have Twilio attach a call again, by whether one took it.",
    ["answer"],
)
for _answer in ("taken", "silent", "nobody"):
    REDIRECTS.labels(_answer)
ORPHAN_SECONDS = Histogram(
    "trunkline_worker_orphan_seconds",
    "How long no stream carried a call that had lost its own, by what ended that.",
    ["end"],
    buckets=(0.1, 0.2, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30),
)
for _end in ("attached", "heard-again", "over"):
    ORPHAN_SECONDS.labels(_end)

FRAMES_REFUSED = Counter(
    "trunkline_worker_frames_refused", "Frames from gateways that were not used.", ["reason"]
)
for _reason in ("unreadable", "unknown-call", "old-fence", "future-fence", "repeated", "late", "unowned"):
    FRAMES_REFUSED.labels(_reason)
FRAMES_LOST = Counter("trunkline_worker_frames_lost", "Caller frames that never arrived, by their numbers.")
DOWN_DROPPED = Counter(
    "trunkline_worker_down_dropped", "Frames to gateways dropped because the outbox was full."
)
SESSION_OUTBOX_OVERFLOWS = Counter(
    "trunkline_worker_session_outbox_overflows", "Model sockets given up because they took no more data."
)
EVENTS_RECORDED = Counter("trunkline_worker_events_recorded", "Events acknowledged by JetStream.")
EVENTS_RETRIED = Counter("trunkline_worker_events_retried", "Publishes that JetStream did not acknowledge.")
EVENTS_DROPPED = Counter("trunkline_worker_events_dropped", "Events lost because too many were waiting.")
EVENTS_WAITING = Gauge("trunkline_worker_events_waiting", "Events not acknowledged by JetStream yet.")
EVENTS_UNREADABLE = Counter(
    "trunkline_worker_events_unreadable", "Events of a call taken over that could not be read back."
)
EVENTS_LEFT_OUT = Counter(
    "trunkline_worker_events_left_out", "Oldest events of calls taken over whose log was too long."
)
CALL_ERRORS = Counter("trunkline_worker_call_errors", "Calls ended by a fault of ours; each is logged.")

TOOL_CALLS = Counter("trunkline_tool_calls", "Tool calls of the model, by how they went.", ["outcome"])
for _outcome in ToolOutcome:
    TOOL_CALLS.labels(_outcome)
TOOL_SECONDS = Histogram(
    "trunkline_tool_seconds", "Time that HTTP tools took, retries included.", ["outcome"], buckets=_TURN_S
)
for _outcome in ToolOutcome:
    TOOL_SECONDS.labels(_outcome)
TOOLS_RUNNING = Gauge("trunkline_tools_running", "Requests of tools under way.")
TOOL_RETRIES = Counter("trunkline_tool_retries", "Requests of tools sent again.")
TURN_PART_SECONDS = Histogram(
    "trunkline_turn_part_seconds",
    "Where the time of an answer went, by part; `own` is what our processes and the bus between them took.",
    ["part"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
for _part in (
    "twilio_to_gateway", "gateway_to_worker", "worker_to_model", "model", "model_to_worker", "worker_to_gateway",
    "gateway_to_twilio", "own",
):  # fmt: skip
    TURN_PART_SECONDS.labels(_part)

TOKENS = Counter(
    "trunkline_tokens",
    "Tokens of the model's responses; input that was cached is counted as cached only.",
    ["agent", "kind"],
)
TRANSCRIPTION_TOKENS = Counter(
    "trunkline_transcription_tokens", "Tokens of transcriptions that are billed by tokens.", ["agent", "kind"]
)
TRANSCRIPTION_SECONDS = Counter(
    "trunkline_transcription_billed_seconds", "Speech of transcriptions that are billed by time.", ["agent"]
)
COST_USD = Counter(
    "trunkline_cost_usd",
    "What calls cost by the price list, in USD: responses and transcriptions.",
    ["agent", "kind"],
)
UNPRICED = Counter(
    "trunkline_unpriced",
    "Responses and transcriptions of a model without a price: what they cost is unknown.",
    ["kind"],
)
for _kind in ("response", "transcription"):
    UNPRICED.labels(_kind)
CALL_SECONDS = Counter(
    "trunkline_call_seconds",
    "Time that callers and agent were connected, counted when a call ends.",
    ["agent"],
)
RATE_LIMIT = Gauge(
    "trunkline_model_rate_limit",
    "What the account may use in a minute, as the model last told.",
    ["model", "name"],
)
RATE_LIMIT_REMAINING = Gauge(
    "trunkline_model_rate_limit_remaining", "What was left of it when the model last told.", ["model", "name"]
)

BUDGET_USD = Gauge(
    "trunkline_budget_usd", "What all calls of a day (UTC) may cost together; 0 without a budget."
)
SPEND_USD_TODAY = Gauge(
    "trunkline_spend_usd_today",
    "What all calls of the fleet have cost since midnight UTC; known to workers with a budget.",
)
BUDGET_SPENT = Gauge(
    "trunkline_budget_spent", "1 while the worker takes no new call because the budget is spent."
)
BUDGET_READ_AGAIN = Counter(
    "trunkline_budget_read_again",
    "Times that reading the event log for the budget began anew where it had stopped.",
)

TRACE_EVENTS_DROPPED = Counter(
    "trunkline_trace_events_dropped", "Events that became no part of a trace, because too many waited."
)
TRACE_SPANS_LOST = Counter(
    "trunkline_trace_spans_lost", "Spans of traces that the OpenTelemetry collector did not take."
)


def count(measure: Measure, amount: float) -> None:
    """Add to a measure of the calls, or take it as one measurement where that is what it is."""
    amount = amount / 1000 if measure.endswith("-ms") else amount
    if measure is Measure.BARGE_IN_REACTION_MS:
        BARGE_IN_REACTION_SECONDS.observe(amount)
    else:
        MEASURES[measure].inc(amount)


def tell_states(states: Callable[[], list[State]]) -> None:
    """Let `CALLS` tell the states of the calls at the moment at which it is read."""

    def number_in(state: State) -> Callable[[], float]:
        return lambda: states().count(state)

    for state in State:
        if state is not State.ENDED:
            CALLS.labels(state.value).set_function(number_in(state))
