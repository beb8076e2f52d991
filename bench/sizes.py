"""What so many calls at once need: cores, NATS, Postgres, bandwidth, OpenAI's limits and money. Arithmetic, no measuring.

    python -m bench.sizes --calls 1000

Each figure that goes in is a constant below, with where it comes from; docs/scaling.md has what comes out.
"""

import math
from dataclasses import dataclass
from typing import Final

import click

from bench.autoscaling import BY_HOUR, TALK_MEAN_S
from trunkline_worker.price_file import price_list

TARGET: Final = 0.6
"""How full pods are meant to be, see docs/scaling.md, headroom."""
WORKER_CAPACITY: Final = 100
GATEWAY_STREAMS: Final = 200
WORKER_MS: Final = 3.75
GATEWAY_MS: Final = 2.3
NATS_MS: Final = 0.6
"""CPU of one call in a second, transcoding to 24 kHz, near capacity: measured on a prototype of the same shape."""
NOT_IN_PROTOTYPE: Final = 1.5
"""Turns, events, metrics, ownership. Assumed."""

MESSAGES_PER_S: Final = 100
"""Frames of one call on the bus, both ways."""
CALLS_PER_CELL: Final = 2_500
"""So 250,000 messages/s for one NATS cluster. Assumed; measure yours."""

TURNS: Final = 10
"""Of each side in a call of `TALK_MEAN_S`. Assumed."""
EVENTS_PER_CALL: Final = 54
STREAM_BYTES_PER_EVENT: Final = 556
POSTGRES_ROWS_PER_CALL: Final = 86
POSTGRES_BYTES_PER_CALL: Final = 46_000
"""Measured: 1,500 calls of `bench/store_rate.py`, ten turns each side, with indexes."""
EVENT_DAYS_KEPT: Final = 3
EVENTS_PER_S_STORED: Final = 1_700
"""By one transcripts process: measured on two cores at a load average of 15; a quiet machine does several times that."""

CALLER_SPEAKS: Final = 0.40
AGENT_SPEAKS: Final = 0.45
"""Share of a call. Assumed."""
CALLER_TOKENS_PER_S: Final = 10
AGENT_TOKENS_PER_S: Final = 20
INSTRUCTION_TOKENS: Final = 1_000
WORDS_TOKENS_PER_TURN: Final = 40

TWILIO_KBIT: Final = (154, 122)
"""Base64 in JSON in frames of 20 ms, without TLS: in, out."""
OPENAI_KBIT: Final = {"pcm24k": (536, 512), "pcmu": (110, 85)}
"""To the model all the time; from it while the agent speaks."""
BUS_KBIT: Final = 2 * 100
"""160 bytes, header, subject and protocol, 100 a second: into the server and out again."""

DAYS_PER_MONTH: Final = 30


@dataclass(frozen=True, slots=True)
class CallCost:
    """One average call at one model: USD, and tokens that count against the limit per minute."""

    usd: float
    tokens: float


def call_cost(model: str, transcription: str = "gpt-realtime-whisper") -> CallCost:
    """Return what an average call costs: every response reads the whole conversation again, mostly cached."""
    prices = price_list(None)
    price, minute = prices.models[model], prices.transcription[transcription].minute
    assert minute is not None, "billed by the minute"
    heard = CALLER_SPEAKS * TALK_MEAN_S * CALLER_TOKENS_PER_S
    spoken = AGENT_SPEAKS * TALK_MEAN_S * AGENT_TOKENS_PER_S
    again = (heard + spoken) / TURNS * TURNS * (TURNS - 1) / 2
    words = TURNS * WORDS_TOKENS_PER_TURN
    millionths = (
        heard * price.audio.input
        + again * price.audio.cached
        + spoken * price.audio.output
        + INSTRUCTION_TOKENS * (price.text.input + (TURNS - 1) * price.text.cached)
        + words * price.text.output
    )
    usd = millionths / 1_000_000 + CALLER_SPEAKS * TALK_MEAN_S / 60 * minute
    return CallCost(usd, heard + again + spoken + TURNS * INSTRUCTION_TOKENS + words)


def calls_per_day(calls: int) -> float:
    """Return the calls of a day whose busiest minute has so many at once."""
    return calls * sum(BY_HOUR) * 3600 / TALK_MEAN_S


def needs(calls: int) -> dict[str, str]:
    """Return the column of the table for so many calls at once."""
    begun = calls / TALK_MEAN_S
    of_month = calls_per_day(calls) * DAYS_PER_MONTH
    workers, gateways = (math.ceil(calls / room / TARGET) for room in (WORKER_CAPACITY, GATEWAY_STREAMS))
    busy = [calls * ms * NOT_IN_PROTOTYPE / 1000 for ms in (WORKER_MS, GATEWAY_MS, NATS_MS)]
    dear, cheap = call_cost("gpt-realtime-2.1"), call_cost("gpt-realtime-2.1-mini")
    events = begun * EVENTS_PER_CALL
    to_model, from_model = OPENAI_KBIT["pcm24k"]
    return {
        "worker pods, gateway pods (a core each)": f"{workers:,}, {gateways:,}",
        "cores busy: workers, gateways, NATS": ", ".join(f"{cores:,.1f}" for cores in busy),
        "NATS messages/s; cells": f"{calls * MESSAGES_PER_S:,}; {math.ceil(calls / CALLS_PER_CELL)}",
        "Twilio, Mbit/s in / out": " / ".join(f"{calls * kbit / 1000:,.0f}" for kbit in TWILIO_KBIT),
        "bus, Mbit/s": f"{calls * BUS_KBIT / 1000:,.0f}",
        "model, Mbit/s to / from (pcm24k)": (
            f"{calls * to_model / 1000:,.0f} / {calls * from_model * AGENT_SPEAKS / 1000:,.0f}"
        ),
        "new calls/s": f"{begun:,.1f}",
        "events/s; rows/s": f"{events:,.0f}; {begun * POSTGRES_ROWS_PER_CALL:,.0f}",
        "transcripts processes": f"{max(2, math.ceil(events / EVENTS_PER_S_STORED)):,}",
        f"stream EV, GB for {EVENT_DAYS_KEPT} days, each replica": (
            f"{calls_per_day(calls) * EVENT_DAYS_KEPT * EVENTS_PER_CALL * STREAM_BYTES_PER_EVENT / 1e9:,.0f}"
        ),
        "calls a month": f"{of_month:,.0f}",
        "Postgres, GB a month": f"{of_month * POSTGRES_BYTES_PER_CALL / 1e9:,.0f}",
        "OpenAI, million tokens a minute": f"{calls * dear.tokens / TALK_MEAN_S * 60 / 1e6:,.1f}",
        "OpenAI, USD a month: 2.1 / 2.1-mini": f"{of_month * dear.usd:,.0f} / {of_month * cheap.usd:,.0f}",
    }


@click.command()
@click.option("--calls", multiple=True, type=int, help="Calls at once.  [default: 100 to 100,000]")
def command(calls: tuple[int, ...]) -> None:
    """Print the table of docs/scaling.md."""
    chosen = calls or (100, 1_000, 10_000, 100_000)
    columns = [needs(each) for each in chosen]
    click.echo(f"| calls at once | {' | '.join(f'{each:,}' for each in chosen)} |")
    click.echo(f"| --- |{' --- |' * len(chosen)}")
    for name in columns[0]:
        click.echo(f"| {name} | {' | '.join(column[name] for column in columns)} |")
    for model in ("gpt-realtime-2.1", "gpt-realtime-2.1-mini"):
        cost = call_cost(model)
        click.echo(
            f"{model}: {cost.usd:.3f} USD a call, {cost.usd / TALK_MEAN_S * 60:.3f} a minute, {cost.tokens:,.0f} tokens"
        )


if __name__ == "__main__":
    command()
