"""How long it takes to read one call's events out of the log, by direct get and by an ordered consumer.

    python -m bench.call_log --reads 300

Fills the stream as live calls do, many at a time, and goes on writing to it while calls of 50 to 200 events are read
again. Direct get is what the worker uses (`trunkline_worker.call_log`); the consumers are what it could use instead.
"""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Final

import click
import nats
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from bench.placed_calls import table
from trunkline_common import call_events, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import AgentTurn
from trunkline_common.frames import Fence
from trunkline_common.service import Life
from trunkline_common.settings import CommonSettings
from trunkline_local.nats_server import NatsServer
from trunkline_worker import call_log

CALL_EVENTS: Final = (10, 20, 20, 40, 50, 10, 200)
"""Lengths of the calls in turn, 50 on average; those of 50 and 200 are read."""
READ_EVENTS_MIN: Final = 50
LIMIT_S: Final = 5.0
PUBLISH_WINDOW_EVENTS: Final = 500
PUBLISH_STALL_S: Final = 10
WORDS: Final = "A check up is sixty dollars. That includes an examination, a cleaning, and two small x rays."

Read = Callable[[str], Awaitable[int]]


@click.command()
@click.option(
    "--calls", default=2_000, show_default=True, help="Calls in the stream, of 50 events on average."
)
@click.option("--at-once", default=100, show_default=True, help="Calls whose events lie mixed in the stream.")
@click.option("--reads", default=300, show_default=True, help="Calls read with each method.")
@click.option("--writes-per-s", default=500, show_default=True, help="Events written meanwhile.")
@click.option("--parallel", default=1, show_default=True, help="Reads at the same time.")
@click.option("--seed", default=1, show_default=True, help="Draws which calls are read.")
def command(calls: int, at_once: int, reads: int, writes_per_s: int, parallel: int, seed: int) -> None:
    """Measure how long the log of a call takes to be read."""
    asyncio.run(_measure(calls, at_once, reads, writes_per_s, parallel, seed))


async def _measure(calls: int, at_once: int, reads: int, writes_per_s: int, parallel: int, seed: int) -> None:
    async with contextlib.AsyncExitStack() as at_the_end:
        folder = Path(at_the_end.enter_context(tempfile.TemporaryDirectory()))
        server = await at_the_end.enter_async_context(NatsServer.start(folder))
        settings = await asyncio.to_thread(CommonSettings, nats_url=server.url)
        bus = await Bus.connect(settings, Life("bench", drain_deadline_s=1))
        at_the_end.push_async_callback(bus.close)
        client = await nats.connect(server.url)
        at_the_end.push_async_callback(client.close)
        await bus.ensure_event_stream()
        jetstream = client.jetstream(publish_async_max_pending=PUBLISH_WINDOW_EVENTS)
        lengths = {_call_id(number): CALL_EVENTS[number % len(CALL_EVENTS)] for number in range(calls)}
        for events in _as_they_happen(lengths, at_once):
            await _publish(jetstream, events)
        await jetstream.publish_async_completed()
        click.echo(
            f"seed {seed}, {sum(lengths.values()):,} events of {calls:,} calls, {at_once:,} calls mixed"
        )

        long_calls = [call_id for call_id, length in lengths.items() if length >= READ_EVENTS_MIN]
        chosen = random.Random(seed).choices(long_calls, k=reads)  # noqa: S311 - nothing here is a secret
        rows = []
        async with _writing(jetstream, writes_per_s):
            for name, read in _methods(bus, client.jetstream()).items():
                took_ms, wrong = await _read_all(read, chosen, lengths, parallel)
                rows.append((name, f"{_spread(took_ms)}  wrong {wrong}"))
        table(rows)


def _methods(bus: Bus, jetstream: JetStreamContext) -> dict[str, Read]:
    async def direct_get(call_id: str) -> int:
        return len(await call_log.read(bus, call_id, LIMIT_S))

    async def ordered_consumer(call_id: str) -> int:
        subscription = await jetstream.subscribe(subjects.every_event_of(call_id), ordered_consumer=True)
        count, left = 0, 1
        while left:
            message = await subscription.next_msg(LIMIT_S)
            call_events.decode(message.data)
            count, left = count + 1, message.metadata.num_pending
        await subscription.unsubscribe()
        return count

    async def pull_consumer(call_id: str) -> int:
        subscription = await jetstream.pull_subscribe(
            subjects.every_event_of(call_id),
            config=ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=LIMIT_S),
        )
        count, left = 0, (await subscription.consumer_info()).num_pending or 0
        while count < left:
            for message in await subscription.fetch(left - count, LIMIT_S):
                call_events.decode(message.data)
                count += 1
        await subscription.unsubscribe()
        return count

    return {
        "direct get": direct_get,
        "ordered consumer": ordered_consumer,
        "pull consumer": pull_consumer,
    }


async def _read_all(
    read: Read, chosen: Sequence[str], lengths: dict[str, int], parallel: int
) -> tuple[list[float], int]:
    """Return how long each read took, and how many did not bring the right number of events."""
    took_ms: list[float] = []
    wrong, waiting = 0, iter(chosen)

    async def reader() -> None:
        nonlocal wrong
        for call_id in waiting:
            began_at = time.perf_counter()
            count = await read(call_id)
            took_ms.append((time.perf_counter() - began_at) * 1000)
            wrong += count != lengths[call_id]

    await asyncio.gather(*(reader() for _ in range(parallel)))
    return took_ms, wrong


@contextlib.asynccontextmanager
async def _writing(jetstream: JetStreamContext, writes_per_s: int) -> AsyncIterator[None]:
    """Write events of other calls the whole time."""

    async def write() -> None:
        number, started_at = 0, time.monotonic()
        while True:
            await _publish(jetstream, [(f"CAlive{number // 50:028}", number % 50)])
            number += 1
            await asyncio.sleep(max(0, started_at + number / writes_per_s - time.monotonic()))

    writer = asyncio.create_task(write())
    try:
        yield
    finally:
        writer.cancel()
        await asyncio.wait([writer])
        if not writer.cancelled():
            writer.result()
        with contextlib.suppress(nats.errors.Error):
            await jetstream.publish_async_completed()


def _as_they_happen(lengths: dict[str, int], at_once: int) -> list[list[tuple[str, int]]]:
    """Return rounds of (call id, number of its event): each round brings an event of every call that is live."""
    rounds = []
    waiting = list(reversed(lengths))
    live: dict[str, int] = {}
    while waiting or live:
        while waiting and len(live) < at_once:
            live[waiting.pop()] = 0
        rounds.append(list(live.items()))
        live = {call_id: n + 1 for call_id, n in live.items() if n + 1 < lengths[call_id]}
    return rounds


async def _publish(jetstream: JetStreamContext, events: Sequence[tuple[str, int]]) -> None:
    for call_id, n in events:
        turn = AgentTurn(
            item_id=f"item_{n:020}", position=n, start_ms=n * 3_000, end_ms=n * 3_000 + 2_500,
            generated_text=WORDS, heard_text=WORDS, generated_ms=2_500, heard_ms=2_500, interrupted=False,
        )  # fmt: skip
        envelope = call_events.seal(
            turn, call_id=call_id, call_started_at_ms=1_795_000_000_000, fence=Fence(1, 1), n=n,
            at_ms=1_795_000_000_000 + n * 3_000,
        )  # fmt: skip
        await jetstream.publish_async(
            subjects.event(call_id, envelope.kind),
            call_events.encode(envelope),
            wait_stall=PUBLISH_STALL_S,
            headers={"Nats-Msg-Id": envelope.message_id},
        )


def _spread(took_ms: Sequence[float]) -> str:
    steps = quantiles(took_ms, n=100, method="inclusive")
    return f"n {len(took_ms)}  p50 {steps[49]:.1f}  p95 {steps[94]:.1f}  p99 {steps[98]:.1f}  max {max(took_ms):.1f} ms"


def _call_id(number: int) -> str:
    return f"CA{number:032x}"


if __name__ == "__main__":
    command()
