"""How many events a second one transcripts process moves from JetStream into Postgres.

    python bench/store_rate.py --calls 2000

Fills the event log first, then starts one `trunkline transcripts` on it and measures from the first event stored
to the last. Postgres runs without fsync here: with it, each transaction of 500 events also waits for the disk.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from trunkline_common import call_events, subjects
from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallEnded,
    CallerTurn,
    CallEvent,
    CallStarted,
    Envelope,
    ModelConnected,
    TurnLatency,
    Usage,
)
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome
from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline

TURNS_PER_CALL: Final = 10
EVENTS_PER_CALL: Final = 4 + 5 * TURNS_PER_CALL
PUBLISH_WINDOW_EVENTS: Final = 500
PUBLISH_STALL_S: Final = 10
LOOK_INTERVAL_S: Final = 0.02
WORDS: Final = "A check up is sixty dollars. That includes an examination, a cleaning, and two small x rays."


@click.command()
@click.option("--calls", default=2_000, show_default=True, help=f"Calls of {EVENTS_PER_CALL} events each.")
def command(calls: int) -> None:
    """Measure events per second from JetStream into Postgres."""
    asyncio.run(_measure(calls))


async def _measure(calls: int) -> None:
    async with contextlib.AsyncExitStack() as at_the_end:
        folder = Path(at_the_end.enter_context(tempfile.TemporaryDirectory()))
        nats_server = await at_the_end.enter_async_context(NatsServer.start(folder / "nats"))
        postgres = await at_the_end.enter_async_context(PostgresServer.start(folder / "postgres"))
        client = await nats.connect(nats_server.url)
        at_the_end.push_async_callback(client.close)
        environment = {
            "NATS_URL": nats_server.url,
            "DATABASE_URL": postgres.url,
            "METRICS_PORT": str(free_port()),
        }
        async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
            await migrate.exited()

        jetstream = client.jetstream(publish_async_max_pending=PUBLISH_WINDOW_EVENTS)
        await jetstream.add_stream(StreamConfig(name=subjects.EVENT_STREAM, subjects=[subjects.EVERY_EVENT]))
        size_bytes = await _publish_calls(jetstream, calls)
        events = calls * EVENTS_PER_CALL
        click.echo(f"{events:,} events of {size_bytes // events} bytes are in the log")

        async with Process.start("transcripts", trunkline("transcripts"), folder, environment):
            began_left = await wait_until_left(jetstream, events - 1)
            began_at = time.monotonic()
            await wait_until_left(jetstream, 0)
            elapsed_s = time.monotonic() - began_at
        click.echo(f"{began_left:,} stored in {elapsed_s:.1f} s: {began_left / elapsed_s:,.0f} events/s")


async def wait_until_left(jetstream: JetStreamContext, events_max: int) -> int:
    """Wait until at most so many events are not stored yet, and return how many there are."""
    while True:
        with contextlib.suppress(NotFoundError):  # the service has not made its consumer yet
            consumer = await jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
            left = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            if left <= events_max:
                return left
        await asyncio.sleep(LOOK_INTERVAL_S)


async def _publish_calls(jetstream: JetStreamContext, calls: int) -> int:
    """Fill the log; return the bytes of all events."""
    size_bytes = 0
    for number in range(calls):
        for envelope in call_log(number):
            size_bytes += await publish(jetstream, envelope)
    await jetstream.publish_async_completed()
    return size_bytes


async def publish(jetstream: JetStreamContext, envelope: Envelope) -> int:
    """Write an event as a worker does, without waiting for its acknowledgement; return its bytes."""
    payload = call_events.encode(envelope)
    await jetstream.publish_async(
        subjects.event(envelope.call_id, envelope.kind),
        payload,
        wait_stall=PUBLISH_STALL_S,
        headers={"Nats-Msg-Id": envelope.message_id},
    )
    return len(payload)


def call_log(number: int) -> Iterator[Envelope]:
    """Yield the event log of one call."""
    for n, event in enumerate(_call()):
        yield call_events.seal(
            event,
            call_id=f"CA{number:032x}",
            call_started_at_ms=1_795_000_000_000 + number,
            fence=Fence(1, 1),
            n=n,
            at_ms=1_795_000_000_000 + number + 1_000 * n,
        )


def _call() -> Iterator[CallEvent]:
    yield CallStarted(caller="+15550001111", called="+15550002222", agent="desk", worker="w1")
    yield ModelConnected(session=1, model="gpt-realtime", session_id="sess_1", connect_ms=312.0)
    yield CallAttached(gateway="g1", stream_sid="MZ1")
    for turn in range(TURNS_PER_CALL):
        position, start_ms = 2 * turn, 10_000 * turn
        asked, answered = f"item_a{turn:020}", f"item_b{turn:020}"
        for revision, text in ((1, None), (2, "And what does a check up cost?")):
            yield CallerTurn(
                item_id=asked, position=position, start_ms=start_ms, end_ms=start_ms + 2_000,
                text=text, transcription="completed" if text else "missing", revision=revision,
            )  # fmt: skip
        yield TurnLatency(
            item_id=answered, position=position + 1, response_ms=431.5, twilio_to_gateway_ms=20.5,
            gateway_to_worker_ms=0.5, worker_to_model_ms=12.5, model_ms=390.5, model_to_worker_ms=12.5,
            worker_to_gateway_ms=0.5, gateway_to_twilio_ms=20.5, worker_ms=1.25,
        )  # fmt: skip
        yield AgentTurn(
            item_id=answered, position=position + 1, start_ms=start_ms + 3_000, end_ms=start_ms + 9_000,
            generated_text=WORDS, heard_text=WORDS[:40], generated_ms=6_000, heard_ms=2_500, interrupted=True,
        )  # fmt: skip
        yield Usage(
            response_id=f"resp_{turn}", input_tokens=900, input_text_tokens=200, input_audio_tokens=700,
            cached_tokens=640, output_tokens=240, output_text_tokens=60, output_audio_tokens=180,
        )  # fmt: skip
    yield CallEnded(
        outcome=Outcome.SUCCESS, reason="caller-hung-up", duration_ms=110_000, interruptions=10,
        events_expected=EVENTS_PER_CALL,
    )  # fmt: skip


if __name__ == "__main__":
    command()
