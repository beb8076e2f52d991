"""Every metric that the transcripts service exports; label values come from closed lists and begin at 0."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from trunkline_transcripts.database import Trouble
from trunkline_transcripts.tables import metadata

EVENTS_STORED: Final = Counter(
    "trunkline_transcripts_events_stored", "Events that became a row of `events` and were committed."
)
EVENTS_DUPLICATE: Final = Counter(
    "trunkline_transcripts_events_duplicate", "Events that were there already: retries and redeliveries."
)
EVENTS_REDELIVERED: Final = Counter(
    "trunkline_transcripts_events_redelivered", "Events that JetStream delivered again."
)
EVENTS_UNKNOWN: Final = Counter(
    "trunkline_transcripts_events_unknown",
    "Events of a kind that this version does not know: kept in `events` and in no other table.",
)
EVENTS_SUPERSEDED: Final = Counter(
    "trunkline_transcripts_events_superseded",
    "Events that an owner wrote after another one had gone on with the call: kept in `events`, and marked.",
)
CALLS_REBUILT: Final = Counter(
    "trunkline_transcripts_calls_rebuilt",
    "Times that the rows of a call with several owners were made anew from its events.",
)
NULS_REPLACED: Final = Counter(
    "trunkline_transcripts_nuls_replaced",
    "NUL characters replaced by U+FFFD, because Postgres cannot store them.",
)
DEAD_LETTERS: Final = Counter(
    "trunkline_transcripts_dead_letters",
    "Events copied to the dead letters because they cannot be stored: `unreadable` or `refused` by Postgres.",
    ["reason"],
)
ROWS_WRITTEN: Final = Counter(
    "trunkline_transcripts_rows_written",
    "Rows inserted or completed, once per row and batch.",
    ["table"],
)
BATCH_EVENTS: Final = Histogram(
    "trunkline_transcripts_batch_events",
    "Events in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
BATCH_SECONDS: Final = Histogram(
    "trunkline_transcripts_batch_seconds",
    "Time of one transaction that was committed.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
EVENT_AGE_SECONDS: Final = Histogram(
    "trunkline_transcripts_event_age_seconds",
    "Age of a batch's oldest event when it was committed, by the clocks of the worker and of this process.",
    buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 72 * 3600),
)
STORE_RATE: Final = Gauge(
    "trunkline_transcripts_events_per_second", "Events that this process stored a second, over the last five."
)
LAG_EVENTS: Final = Gauge(
    "trunkline_transcripts_lag_events", "Events in the log that no process of this service has fetched yet."
)
UNSETTLED_EVENTS: Final = Gauge(
    "trunkline_transcripts_unsettled_events",
    "Events fetched by any process of this service and not acknowledged yet.",
)
EVENT_LOG_BYTES: Final = Gauge(
    "trunkline_transcripts_event_log_bytes", "What the event log in JetStream holds; read every 15 s."
)
EVENT_LOG_BYTES_MAX: Final = Gauge(
    "trunkline_transcripts_event_log_bytes_max",
    "What the event log takes; then it refuses events. 0 where it has no limit.",
)
STORE_UP: Final = Gauge(
    "trunkline_transcripts_store_up",
    "1 when the last transaction was committed, 0 while Postgres is awaited.",
)
STORE_FAILURES: Final = Counter(
    "trunkline_transcripts_store_failures", "Transactions that failed and are tried again.", ["trouble"]
)
MONTHS_FAILURES: Final = Counter(
    "trunkline_transcripts_months_failures", "Times that the coming months' partitions could not be made."
)
WORDS_FAILURES: Final = Counter(
    "trunkline_transcripts_words_failures", "Times that the words of the last calls could not be learned."
)
STRAY_ROWS: Final = Gauge(
    "trunkline_transcripts_stray_rows",
    "Rows in the default partition, because their month has none of its own; looked at once a day.",
    ["table"],
)
CALLS_END_UNKNOWN: Final = Counter(
    "trunkline_transcripts_calls_end_unknown",
    "Calls closed because nothing was heard of them any more: nobody wrote their end down.",
)
CALLS_REOPENED: Final = Counter(
    "trunkline_transcripts_calls_reopened", "Calls closed like that which turned out to live."
)
CALLS_WITH_HOLES: Final = Gauge(
    "trunkline_transcripts_calls_with_holes",
    "Calls of the last 24 hours that are over and lack events; looked at every ten minutes.",
)
CALLS_EXPIRED: Final = Counter(
    "trunkline_transcripts_calls_expired", "Calls deleted because their agent profile keeps them no longer."
)
CALLERS_MOVED: Final = Counter(
    "trunkline_transcripts_callers_moved",
    "Calls whose caller's number a service of the release before had left outside the table `callers`.",
)
RETENTION_FAILURES: Final = Counter(
    "trunkline_transcripts_retention_failures",
    "Times that calls could not be looked at for the end of their keeping.",
)
AUDIT_FAILURES: Final = Counter(
    "trunkline_transcripts_audit_failures", "Times that calls could not be looked at for their end and holes."
)

for _reason in ("unreadable", "refused"):
    DEAD_LETTERS.labels(_reason)
for _trouble in Trouble:
    STORE_FAILURES.labels(_trouble)
for _table in metadata.tables:
    ROWS_WRITTEN.labels(_table)
    STRAY_ROWS.labels(_table)
