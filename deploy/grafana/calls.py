"""The dashboard *Calls*: what callers feel."""

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


def _part(legend: str, *parts: str) -> Query:
    """Return how long these parts of an answer took together; each is measured as often as the first."""
    summed = f'part=~"{"|".join(parts)}", {HERE}'
    counted = f'part="{parts[0]}", {HERE}'
    return mean("trunkline_turn_part_seconds", where=summed, per=counted, legend=legend)


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
            decimals=2,
        ),
        stat(
            "Answers within 1.5 s, 1 h",
            "From the end of the caller's words until the first audio of the answer reached Twilio.",
            "1 - trunkline:answers_late:ratio_rate1h",
            "percentunit",
            [(None, BAD), (0.9, DOUBTFUL), (0.95, GOOD)],
            "TrunklineAnswersLate",
            decimals=1,
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
            colours={"talking": GOOD, "offered": "blue", "standing-by": "purple", "orphaned": BAD},
            names_zeros=False,
        ),
        lines(
            "How calls end, per minute",
            "The verdict of each call, and whose doing it was: `server` is ours, `upstream` the model's.",
            [per_minute("trunkline_worker_calls_ended_total", by="outcome, reason", where=HERE)],
            "short",
            alert="TrunklineCallsCutByUs",
            stacked=True,
            colours={"success": GOOD, "caller": "blue", "upstream": DOUBTFUL, "server": BAD},
            names_zeros=False,
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
            "Mean of each part, there and back. `ours`: our processes and the bus between them. `model`: the vendor's.",
            [
                _part("ours", "own"),
                _part("network to Twilio", "twilio_to_gateway", "gateway_to_twilio"),
                _part("network to the model", "worker_to_model", "model_to_worker"),
                _part("model", "model"),
            ],
            "s",
            alert="TrunklineOwnPartLate",
            stacked=True,
        ),
        lines(
            "Callers without the agent, per minute",
            "`full`: no room; `waited`: no room for too long; `failing`: something broke. And what they got instead.",
            [per_minute("trunkline_gateway_callers_without_agent_total", by="why, treatment", where=HERE)],
            "short",
            alert="TrunklineCallersTurnedAway",
            stacked=True,
            names_zeros=False,
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
            "short",
            alert="TrunklineSpeechStutters",
            names_zeros=False,
        ),
        lines(
            "Round trips",
            "Twilio: a mark until its echo. NATS: a ping from gateway to worker.",
            [
                *[
                    Query(query.expr, f"Twilio {query.legend}")
                    for query in quantiles(
                        "trunkline_gateway_mark_round_trip_seconds", where=HERE, shown=(0.5, 0.99)
                    )
                ],
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
            "short",
            alert="TrunklineFramesLost",
            names_zeros=False,
        ),
        lines(
            "Calls in trouble, per minute",
            "Live calls that lost their owner, by what came of it; seconds of comfort sound.",
            [
                per_minute("trunkline_gateway_takeovers_total", by="result", where=HERE),
                per_minute("trunkline_gateway_comfort_seconds_total", where=HERE, legend="comfort sound, s"),
            ],
            "short",
            alert="TrunklineTakeoversGivenUp",
            colours={"taken": GOOD, "returned": "blue", "given-up": BAD},
            names_zeros=False,
        ),
    ],
)
