"""The dashboard *Calls*: what callers feel."""

from deploy.grafana.panels import BAD, DOUBTFUL, GOOD, Dashboard, Query, lines, per_minute, quantiles, stat

HERE = 'instance=~"$instance"'

CALLS = Dashboard(
    "trunkline-calls",
    "Calls",
    "What callers feel: are calls answered and kept, how soon does the agent speak, and what is heard of trouble.",
    "gateway|worker",
    [
        stat(
            "Calls now",
            "Calls that workers hold at this moment.",
            f"sum(trunkline_worker_calls_active{{{HERE}}})",
            "short",
            [(None, GOOD)],
        ),
        stat(
            "Calls kept, 24 h",
            "Calls that had their agent to the end. The rest got the fallback, busy, another number or nothing.",
            "1 - trunkline:calls_lost:ratio_rate1d",
            "percentunit",
            [(None, BAD), (0.99, DOUBTFUL), (0.999, GOOD)],
            "TrunklineCallsLost",
        ),
        stat(
            "Answers within 1.5 s, 1 h",
            "From the end of the caller's words until the first audio of the answer reached Twilio.",
            "1 - trunkline:answers_late:ratio_rate1h",
            "percentunit",
            [(None, BAD), (0.9, DOUBTFUL), (0.95, GOOD)],
            "TrunklineAnswersLate",
        ),
        stat(
            "Our own part, up, p99",
            "Caller's audio: what gateway and worker add to a frame on its way to the model. The budget is 5 ms at load.",
            "trunkline:own_up_seconds:p99_5m",
            "s",
            [(None, GOOD), (0.01, DOUBTFUL), (0.02, BAD)],
            "TrunklineOwnPartLate",
        ),
        lines(
            "Calls by state",
            "`orphaned`: no stream carries the call, Twilio has to attach it again. `standing-by`: about to take a call over.",
            [Query(f"sum by (state) (trunkline_worker_calls{{{HERE}}})", "{{state}}")],
            "short",
            stacked=True,
        ),
        lines(
            "How calls end, per minute",
            "The verdict of each call, and whose doing it was: `server` is ours, `upstream` the model's.",
            [per_minute("trunkline_worker_calls_ended_total", by="outcome, reason", where=HERE)],
            "cpm",
            alert="TrunklineCallsCutByUs",
            stacked=True,
        ),
        lines(
            "From the caller's last word to the first sound",
            "The whole silence before an answer, as far as it can be measured.",
            quantiles("trunkline_turn_response_seconds", where=HERE),
            "s",
            steps=[(None, GOOD), (1.5, BAD)],
            alert="TrunklineAnswersLate",
        ),
        lines(
            "Where the time of an answer goes",
            "Mean of each part. `model` is the vendor's; `own` is what our processes and the bus between them take.",
            [
                Query(
                    f"sum by (part) (rate(trunkline_turn_part_seconds_sum{{{HERE}}}[$__rate_interval]))"
                    f" / sum by (part) (rate(trunkline_turn_part_seconds_count{{{HERE}}}[$__rate_interval]))",
                    "{{part}}",
                )
            ],
            "s",
            alert="TrunklineOwnPartLate",
        ),
        lines(
            "Callers without the agent, per minute",
            "`full`: no room; `waited`: no room for too long; `failing`: something broke. And what they got instead.",
            [per_minute("trunkline_gateway_callers_without_agent_total", by="why, treatment", where=HERE)],
            "cpm",
            alert="TrunklineCallersTurnedAway",
            stacked=True,
        ),
        lines(
            "Reaction to interruptions",
            "From the caller's first word over the agent's until the agent's voice was taken back, in media time.",
            quantiles("trunkline_call_barge_in_reaction_seconds", where=HERE),
            "s",
            steps=[(None, GOOD), (1, BAD)],
            alert="TrunklineBargeInSlow",
        ),
        lines(
            "Who speaks over whom, and silences, per minute",
            "Interruptions; coughs that were none; silences in the middle of what the agent says.",
            [
                per_minute("trunkline_call_barge_in_total", where=HERE, legend="interruptions"),
                per_minute("trunkline_call_short_speech_total", where=HERE, legend="too short to interrupt"),
                per_minute("trunkline_call_playback_underrun_total", where=HERE, legend="silences in speech"),
                per_minute("trunkline_call_response_failed_total", where=HERE, legend="answers that failed"),
            ],
            "cpm",
            alert="TrunklineSpeechStutters",
        ),
        lines(
            "Round trips",
            "Twilio: a mark until its echo. NATS: a ping from gateway to worker.",
            [
                *quantiles("trunkline_gateway_mark_round_trip_seconds", where=HERE, shown=(0.5, 0.99)),
                *[
                    Query(query.expr, f"NATS {query.legend}")
                    for query in quantiles(
                        "trunkline_gateway_ping_round_trip_seconds", where=HERE, shown=(0.5, 0.99)
                    )
                ],
            ],
            "s",
        ),
        lines(
            "Audio lost, late or twice: frames per minute",
            "Between gateway and worker. `cleared-generation` is no loss: audio that an interruption took back.",
            [
                per_minute("trunkline_worker_frames_lost_total", where=HERE, legend="lost on the way up"),
                per_minute("trunkline_gateway_frames_lost_total", where=HERE, legend="lost on the way down"),
                per_minute(
                    "trunkline_worker_frames_refused_total",
                    by="reason",
                    where=HERE,
                    legend="worker: {{reason}}",
                ),
                per_minute(
                    "trunkline_gateway_frames_dropped_total",
                    by="reason",
                    where=HERE,
                    legend="gateway: {{reason}}",
                ),
            ],
            "cpm",
            alert="TrunklineFramesLost",
        ),
        lines(
            "Calls in trouble",
            "Live calls that lost their owner, by what came of it, per minute; seconds of comfort sound per minute.",
            [
                per_minute("trunkline_gateway_takeovers_total", by="result", where=HERE),
                per_minute("trunkline_gateway_comfort_seconds_total", where=HERE, legend="comfort sound, s"),
            ],
            "cpm",
            alert="TrunklineTakeoversGivenUp",
        ),
    ],
)
