"""The dashboard *Workers*: what to scale, and whether processes are well."""

from deploy.grafana.panels import BAD, DOUBTFUL, GOOD, Dashboard, Query, lines, per_minute, quantiles, stat

HERE = 'instance=~"$instance"'
OURS = "and on (job, instance) trunkline_ready"
"""Every program exports what the operating system knows of it, and somebody else's job may have the name of ours."""

WORKERS = Dashboard(
    "trunkline-workers",
    "Workers",
    "What to scale: calls against capacity, the load of each process, and calls that move between processes.",
    "gateway|worker|transcripts",
    [
        stat(
            "Capacity in use",
            "Calls against what workers may take; workers that are about to stop are not counted.",
            "trunkline:capacity_used:ratio",
            "percentunit",
            [(None, GOOD), (0.7, DOUBTFUL), (0.85, BAD)],
            "TrunklineCapacityLow",
        ),
        stat(
            "Calls that can still come",
            "Free capacity of all workers together.",
            "trunkline:capacity:sum - trunkline:calls_active:sum",
            "short",
            [(None, BAD), (5, DOUBTFUL), (20, GOOD)],
            "TrunklineCapacityGoneSoon",
        ),
        stat(
            "Workers that take calls",
            "Those with a place in the queue group.",
            "count(trunkline_worker_queue_places > 0) or vector(0)",
            "short",
            [(None, BAD), (1, DOUBTFUL), (2, GOOD)],
            "TrunklineNoWorkerTakesCalls",
        ),
        stat(
            "Processes about to stop",
            "Gateways and workers that were asked to stop and still have calls.",
            "count(trunkline_draining_seconds > 0) or vector(0)",
            "short",
            [(None, GOOD)],
            "TrunklineDrainOverdue",
        ),
        lines(
            "Calls against capacity",
            "All workers together: where the two lines meet, callers are turned away.",
            [Query("trunkline:calls_active:sum", "calls"), Query("trunkline:capacity:sum", "capacity")],
            "short",
            alert="TrunklineCapacityGoneSoon",
        ),
        lines(
            "Calls by worker",
            "Places in the queue group follow free room, so the load should be even.",
            [Query(f"trunkline_worker_calls_active{{{HERE}}}", "{{instance}}")],
            "short",
            stacked=True,
        ),
        lines(
            "CPU by process",
            "Cores in use. Each process can use one.",
            [
                Query(
                    f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]) {OURS}",
                    "{{job}} {{instance}}",
                )
            ],
            "short",
            steps=[(None, GOOD), (0.8, BAD)],
            alert="TrunklineLoopLag",
        ),
        lines(
            "Lag of the event loops, p99",
            "How late a process wakes up; above 20 ms callers hear it.",
            [
                Query(
                    "histogram_quantile(0.99, sum by (job, instance, le)"
                    f" (rate(trunkline_loop_lag_seconds_bucket{{{HERE}}}[$__rate_interval])))",
                    "{{job}} {{instance}}",
                )
            ],
            "s",
            steps=[(None, GOOD), (0.02, DOUBTFUL), (0.05, BAD)],
            alert="TrunklineLoopLag",
        ),
        lines(
            "Memory by process",
            "Resident memory.",
            [
                Query(
                    f"process_resident_memory_bytes{{{HERE}}} {OURS}",
                    "{{job}} {{instance}}",
                )
            ],
            "bytes",
        ),
        lines(
            "Gateways: how full",
            "Media streams of each, of those that it takes at most.",
            [
                Query(
                    f"trunkline_gateway_streams_active{{{HERE}}} / trunkline_gateway_streams_max{{{HERE}}}",
                    "{{instance}}",
                )
            ],
            "percentunit",
            steps=[(None, GOOD), (0.9, BAD)],
            alert="TrunklineGatewayNearlyFull",
            top=1,
        ),
        lines(
            "Finding a worker",
            "From the first request for a worker until one took the call.",
            quantiles("trunkline_gateway_assign_seconds", where=HERE),
            "s",
            alert="TrunklineNoWorkerTakesCalls",
        ),
        lines(
            "Answers of workers to offered calls, per minute",
            "`full` and `model` send the offer to the next worker.",
            [per_minute("trunkline_worker_assignments_total", by="answer", where=HERE)],
            "short",
            stacked=True,
            colours={"taken": GOOD, "full": DOUBTFUL},
            names_zeros=False,
        ),
        lines(
            "Calls that change hands, per minute",
            "Hand-overs by result (deploys), workers and gateways lost.",
            [
                per_minute(
                    "trunkline_gateway_handovers_total",
                    by="result",
                    where=HERE,
                    legend="hand-over: {{result}}",
                ),
                per_minute(
                    "trunkline_gateway_workers_lost_total",
                    by="how",
                    where=HERE,
                    legend="worker lost: {{how}}",
                ),
                per_minute(
                    "trunkline_worker_gateways_lost_total",
                    by="how",
                    where=HERE,
                    legend="gateway lost: {{how}}",
                ),
                per_minute("trunkline_worker_calls_superseded_total", where=HERE, legend="calls superseded"),
            ],
            "short",
            alert="TrunklineHandoversFail",
            names_zeros=False,
        ),
        lines(
            "Trouble with NATS, per minute",
            "Broken links, messages dropped by those who did not keep up, frames not sent, bugs in handlers.",
            [
                per_minute(
                    "trunkline_bus_disconnects_total", by="job", where=HERE, legend="{{job}}: links broken"
                ),
                per_minute(
                    "trunkline_bus_slow_consumer_total", by="job", where=HERE, legend="{{job}}: too slow"
                ),
                per_minute(
                    "trunkline_bus_frames_dropped_total",
                    by="job",
                    where=HERE,
                    legend="{{job}}: frames not sent",
                ),
                per_minute(
                    "trunkline_bus_handler_errors_total",
                    by="job",
                    where=HERE,
                    legend="{{job}}: handlers failed",
                ),
            ],
            "short",
            alert="TrunklineBusDisconnects",
            names_zeros=False,
        ),
        lines(
            "HTTP requests per minute",
            "Twilio's webhooks by route and class of status; health checks are left out.",
            [
                per_minute(
                    "trunkline_http_requests_total",
                    by="route, status",
                    where=f'route!~"/livez|/readyz|/metrics", job="gateway", {HERE}',
                )
            ],
            "short",
            alert="TrunklineWebhooksFail",
            colours={".* 2xx": GOOD, ".* 4xx": DOUBTFUL, ".* 5xx": BAD},
            names_zeros=False,
        ),
        lines(
            "Time of webhooks",
            "While a worker is looked for, Twilio lets the phone ring.",
            quantiles("trunkline_http_request_seconds", where=f'job="gateway", route=~"/voice.*", {HERE}'),
            "s",
            steps=[(None, GOOD), (1, BAD)],
            alert="TrunklineWebhooksSlow",
        ),
    ],
)
