"""The dashboard *Transcripts*: the way of the events into Postgres."""

from deploy.grafana.panels import (
    BAD,
    DOUBTFUL,
    GOOD,
    Dashboard,
    Query,
    lines,
    mean,
    per_minute,
    quantiles,
    stat,
)

HERE = 'instance=~"$instance"'

TRANSCRIPTS = Dashboard(
    "trunkline-transcripts",
    "Transcripts",
    "Events of calls: from the workers through JetStream into Postgres. None of this is heard by callers.",
    "worker|transcripts",
    [
        stat(
            "Postgres takes rows",
            "Yes while the last transaction was committed.",
            "max(trunkline_transcripts_store_up)",
            "short",
            [(None, BAD), (1, GOOD)],
            "TrunklineStoreDown",
            words=("no", "yes"),
        ),
        stat(
            "Events that wait to be stored",
            "In JetStream, which keeps them for 72 hours.",
            "max(trunkline_transcripts_lag_events)",
            "short",
            [(None, GOOD), (1000, DOUBTFUL), (100_000, BAD)],
            "TrunklineStoreBehind",
        ),
        stat(
            "Events that wait for JetStream",
            "In the workers, which keep 50,000 each.",
            "sum(trunkline_worker_events_waiting)",
            "short",
            [(None, GOOD), (500, DOUBTFUL), (5000, BAD)],
            "TrunklineEventLogStalled",
        ),
        stat(
            "Dead letters, 24 h",
            "Events that can never be stored.",
            "round(sum(increase(trunkline_transcripts_dead_letters_total[24h])))",
            "short",
            [(None, GOOD), (1, BAD)],
            "TrunklineDeadLetters",
        ),
        lines(
            "Events per second",
            "Written by workers, stored in Postgres: the same, but for a moment.",
            [
                Query("sum(rate(trunkline_worker_events_recorded_total[$__rate_interval]))", "written"),
                Query(
                    f"sum(rate(trunkline_transcripts_events_stored_total{{{HERE}}}[$__rate_interval]))",
                    "stored",
                ),
            ],
            "short",
        ),
        lines(
            "Waiting",
            "Not fetched yet, fetched and not acknowledged yet, and still in the workers.",
            [
                Query("max(trunkline_transcripts_lag_events)", "in the log"),
                Query("max(trunkline_transcripts_unsettled_events)", "being stored"),
                Query("sum(trunkline_worker_events_waiting)", "in workers"),
            ],
            "short",
            alert="TrunklineStoreBehind",
        ),
        lines(
            "Age of events when they are stored",
            "Of the oldest in each batch, by the clocks of worker and transcripts.",
            quantiles("trunkline_transcripts_event_age_seconds", where=HERE),
            "s",
            alert="TrunklineStoreBehind",
        ),
        lines(
            "Time of a transaction",
            "Of those that were committed.",
            quantiles("trunkline_transcripts_batch_seconds", where=HERE),
            "s",
            steps=[(None, GOOD), (1, BAD)],
            alert="TrunklineStoreBehind",
        ),
        lines(
            "Events in a transaction",
            "Batches grow when there is more to do: 500 at most.",
            [
                mean("trunkline_transcripts_batch_events", where=HERE),
                *quantiles("trunkline_transcripts_batch_events", where=HERE, shown=(0.99,)),
            ],
            "short",
        ),
        lines(
            "Rows per minute by table",
            "Inserted or completed.",
            [per_minute("trunkline_transcripts_rows_written_total", by="table", where=HERE)],
            "short",
            stacked=True,
            names_zeros=False,
        ),
        lines(
            "Trouble with Postgres, per minute",
            "Transactions that failed and are tried again. `conflict` now and then is normal.",
            [per_minute("trunkline_transcripts_store_failures_total", by="trouble", where=HERE)],
            "short",
            alert="TrunklineStoreDown",
            stacked=True,
            names_zeros=False,
        ),
        lines(
            "Trouble with JetStream, per minute",
            "Publishes that were not acknowledged, and events that were lost because too many waited.",
            [
                per_minute("trunkline_worker_events_retried_total", legend="tried again"),
                per_minute("trunkline_worker_events_dropped_total", legend="lost"),
                per_minute(
                    "trunkline_transcripts_events_redelivered_total", where=HERE, legend="delivered again"
                ),
            ],
            "short",
            alert="TrunklineEventsLost",
            names_zeros=False,
        ),
        lines(
            "Odd events, per minute",
            "There already; of a kind that this release does not know; of an owner that was superseded; set aside.",
            [
                per_minute("trunkline_transcripts_events_duplicate_total", where=HERE, legend="duplicate"),
                per_minute("trunkline_transcripts_events_unknown_total", where=HERE, legend="unknown"),
                per_minute("trunkline_transcripts_events_superseded_total", where=HERE, legend="superseded"),
                per_minute(
                    "trunkline_transcripts_dead_letters_total",
                    by="reason",
                    where=HERE,
                    legend="dead letter: {{reason}}",
                ),
            ],
            "short",
            alert="TrunklineDeadLetters",
            names_zeros=False,
        ),
        lines(
            "Size of the event log",
            "What it holds of the last 72 hours, and what it takes; full, it refuses events.",
            [
                Query("max(trunkline_transcripts_event_log_bytes)", "holds"),
                Query("max(trunkline_transcripts_event_log_bytes_max)", "takes"),
            ],
            "bytes",
            alert="TrunklineEventLogFilling",
        ),
        lines(
            "Rows without a month",
            "They lie in a default partition until their month is made.",
            [Query("max by (table) (trunkline_transcripts_stray_rows)", "{{table}}")],
            "short",
            alert="TrunklineStrayRows",
            names_zeros=False,
        ),
    ],
)
