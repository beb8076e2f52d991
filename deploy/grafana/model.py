"""The dashboard *Model & cost*: sessions, answers, tools and money."""

from deploy.grafana.panels import BAD, DOUBTFUL, GOOD, Dashboard, Query, lines, per_minute, quantiles, stat

HERE = 'instance=~"$instance"'
PART = "trunkline_turn_part_seconds"

MODEL = Dashboard(
    "trunkline-model",
    "Model & cost",
    "OpenAI's side: whether sessions begin and last, how fast it answers, what it takes and what it costs.",
    "worker",
    [
        stat(
            "Workers without a model",
            "Workers whose sessions do not begin, or whose account is refused: they take no new call.",
            f"sum(trunkline_model_breaker_open{{{HERE}}})",
            "short",
            [(None, GOOD), (1, BAD)],
            "TrunklineModelBreakerOpen",
        ),
        stat(
            "Cost per hour",
            "By the price list, at the pace of the last 15 minutes.",
            "sum(trunkline:cost_usd_per_hour:rate15m)",
            "currencyUSD",
            [(None, GOOD)],
        ),
        stat(
            "Cost of a minute",
            "Of a call, over the last hour: responses and transcriptions.",
            "sum(increase(trunkline_cost_usd_total[1h])) / sum(increase(trunkline_call_seconds_total[1h])) * 60",
            "currencyUSD",
            [(None, GOOD)],
        ),
        stat(
            "Budget of the day, spent",
            "Of `DAILY_BUDGET_USD`; 0 without a budget.",
            "max(trunkline_spend_usd_today) / (max(trunkline_budget_usd) > 0) or vector(0)",
            "percentunit",
            [(None, GOOD), (0.8, DOUBTFUL), (1, BAD)],
            "TrunklineBudgetSpent",
        ),
        lines(
            "The model's part of an answer",
            "From the end of speech, as its turn detection heard it, until its first audio.",
            quantiles("trunkline_turn_model_seconds", where=HERE),
            "s",
            steps=[(None, GOOD), (1, BAD)],
            alert="TrunklineAnswersLate",
        ),
        lines(
            "The network to the model",
            "One way: half of a websocket ping.",
            quantiles(PART, where=f'part="worker_to_model", {HERE}'),
            "s",
        ),
        lines(
            "Beginning a session, p95",
            "`start`: a new call. `restored`: after a loss. `rotated`: before the 60 minutes are over. `taken-over`: another"
            " worker's call.",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le, cause)"
                    f" (rate(trunkline_model_connect_seconds_bucket{{{HERE}}}[$__rate_interval]))) >= 0",
                    "{{cause}}",
                )
            ],
            "s",
            steps=[(None, GOOD), (2, BAD)],
            alert="TrunklineModelConnectSlow",
        ),
        lines(
            "Sessions per minute",
            "Begun by cause, lost or refused by kind, and those that waited for `MODEL_CONNECTS_PER_S`.",
            [
                per_minute(
                    "trunkline_model_connect_seconds_count", by="cause", where=HERE, legend="begun: {{cause}}"
                ),
                per_minute("trunkline_model_lost_total", by="kind", where=HERE, legend="lost: {{kind}}"),
                per_minute("trunkline_model_connects_delayed_total", where=HERE, legend="had to wait"),
            ],
            "short",
            alert="TrunklineModelConnectsFail",
            colours={"lost": BAD, "had to wait": DOUBTFUL},
            names_zeros=False,
        ),
        lines(
            "Trouble with answers, per minute",
            "Errors that the model reported, answers that failed or were asked for again, sessions that were mute.",
            [
                per_minute("trunkline_call_model_error_total", where=HERE, legend="errors"),
                per_minute("trunkline_call_response_failed_total", where=HERE, legend="failed"),
                per_minute("trunkline_call_response_retried_total", where=HERE, legend="asked for again"),
                per_minute("trunkline_call_answer_overdue_total", where=HERE, legend="mute sessions"),
                per_minute(
                    "trunkline_call_configuration_differs_total", where=HERE, legend="settings changed"
                ),
            ],
            "short",
            alert="TrunklineModelRefused",
            names_zeros=False,
        ),
        lines(
            "Left of the account's rate limits",
            "As the model last told.",
            [
                Query(
                    f"min by (model, name) (trunkline_model_rate_limit_remaining{{{HERE}}}"
                    f" / (trunkline_model_rate_limit{{{HERE}}} > 0))",
                    "{{model}} {{name}}",
                )
            ],
            "percentunit",
            steps=[(None, BAD), (0.1, GOOD)],
            alert="TrunklineRateLimitLow",
            top=1,
        ),
        lines(
            "Tokens per minute",
            "By kind; what was cached costs a fraction.",
            [per_minute("trunkline_tokens_total", by="kind", where=HERE)],
            "short",
            stacked=True,
            names_zeros=False,
        ),
        lines(
            "Cost per hour by agent",
            "Responses and transcriptions.",
            [
                Query(
                    f"sum by (agent, kind) (rate(trunkline_cost_usd_total{{{HERE}}}[$__rate_interval])) * 3600",
                    "{{agent}}, {{kind}}",
                )
            ],
            "currencyUSD",
            alert="TrunklineBudgetSoonSpent",
            stacked=True,
        ),
        lines(
            "Tool calls per minute",
            "By how they went; retries of their requests.",
            [
                per_minute("trunkline_tool_calls_total", by="outcome", where=HERE),
                per_minute("trunkline_tool_retries_total", where=HERE, legend="retries"),
            ],
            "short",
            alert="TrunklineToolsFail",
            colours={"ok": GOOD, "failed|timeout": BAD, "retries": DOUBTFUL},
            names_zeros=False,
        ),
        lines(
            "Requests of tools under way",
            "As many as the time that tools take, times how often they are called.",
            [Query(f"sum(trunkline_tools_running{{{HERE}}})", "under way")],
            "short",
            alert="TrunklineToolsFail",
        ),
    ],
)
