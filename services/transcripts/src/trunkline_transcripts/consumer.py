"""From the event log into Postgres: fetch, store, and only then acknowledge.

* A crash at any point delivers the events again, and the store takes them again without a trace.
* While Postgres is away nothing is given up: the batch in hand is kept alive and tried again until it is stored.
* The next batch is fetched while Postgres writes this one, and kept alive like it.
* An event that can never be stored is halved out of its batch, copied to the dead letters and terminated, so that
  it stops nobody else. `max_deliver` stays infinite: JetStream would skip events in a long outage otherwise.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from trunkline_common import log, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import EventError
from trunkline_common.service import Life, ServiceError
from trunkline_common.settings import EventLogSettings
from trunkline_transcripts import dead_letters, metrics
from trunkline_transcripts.caller_hash import CallerKey
from trunkline_transcripts.catch_up import CAUGHT_UP_EVENTS_MAX, CatchUp, CaughtUp
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.entry import Entry, read
from trunkline_transcripts.projection import project
from trunkline_transcripts.rows import EventRow
from trunkline_transcripts.store import Store, StoreError, Written

BATCH_EVENTS_MAX: Final = 500
"""Larger batches store hardly more events a second, and lose more work when one fails."""
BATCH_BYTES_MAX: Final = 4 * 1024**2
"""Events are 0.5 KB as a rule and 256 KiB at most; a batch of the largest would take 128 MB several times over."""
BATCH_WAIT_S: Final = 0.2
"""How old an event may get while others join it in one transaction."""

ACK_WAIT_S: Final = 30
"""How long a killed process keeps its events from the others. Whoever waits for Postgres says so three times as often."""
ACK_PENDING_MAX: Final = 5_000
"""Ten full batches, in all processes together."""

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 5
QUIET_CONFLICTS_MAX: Final = 3
"""Conflicts are over at the second try, as a rule. One that is not is a lock that somebody holds."""
WATCH_INTERVAL_S: Final = 2
"""How often the lag is read, and whether the consumer still exists."""

DEAD_LETTER_RETRY_S: Final = 5

BUS_ERRORS: Final = (nats.errors.Error, OSError, RuntimeError)
"""What nats-py raises while the link is down; uvloop calls a socket that is gone a RuntimeError."""

_log = log.get(__name__)


class _StopRequestedError(Exception):
    """The service is asked to stop while Postgres is away."""


class _Delivery(NamedTuple):
    message: Msg
    entry: Entry


class Consumer:
    """One process's share of the durable consumer `store`."""

    def __init__(self, bus: Bus, database_address: str, life: Life, settings: EventLogSettings) -> None:
        self._bus = bus
        self._database_address = database_address
        self._life = life
        self._settings = settings
        self._ack_wait_s: float = ACK_WAIT_S
        self._catch_up = CatchUp()
        self._in_hand: Sequence[Msg] = ()
        self._ahead: Sequence[Msg] = ()
        self._left = 0
        """Events in the log that nobody had fetched when the last of ours was delivered."""
        self._fetched_at = self._ahead_at = 0.0
        self._waiting: int | None = None
        """Events in the log that nobody had fetched when it was last asked; None when it does not answer."""

    @property
    def is_caught_up(self) -> bool:
        """Whether what the log held a moment ago is stored, or about to be; false while nobody knows."""
        return self._waiting is not None and self._waiting <= CAUGHT_UP_EVENTS_MAX

    async def subscribe(self) -> None:
        """Create the streams and the durable consumer where they are missing, trying until JetStream answers."""
        wait_s = RETRY_MIN_S
        while True:
            try:
                await self._bus.ensure_event_stream(
                    self._settings.event_replicas, self._settings.event_log_gib
                )
                await dead_letters.ensure_stream(self._bus.jetstream, self._settings.event_replicas)
                self._subscription = await self._bus.jetstream.pull_subscribe(
                    subjects.EVERY_EVENT,
                    durable=subjects.STORE_CONSUMER,
                    stream=subjects.EVENT_STREAM,
                    config=_consumer_config(),
                )
                found = await self._observe()
            except BUS_ERRORS as error:
                why = (
                    f"JetStream does not serve {subjects.EVENT_STREAM}: {str(error) or type(error).__name__}"
                )
                self._life.waiting("jetstream", why)
                _log.warning("store-waiting", why=why, retry_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                self._life.resolved("jetstream")
                if found.max_deliver != -1:
                    _log.warning("store-consumer-gives-up", max_deliver=found.max_deliver, should_be=-1)
                return

    async def run(self, store: Store, caller_key: CallerKey) -> None:
        """Store events until the service is asked to stop; the batch in hand is finished first."""
        self._store, self._caller_key = store, caller_key
        metrics.STORE_UP.set(1)
        async with asyncio.TaskGroup() as tasks:
            side_tasks = [tasks.create_task(self._keep_alive()), tasks.create_task(self._watch())]
            fetching = tasks.create_task(self._fetch())
            while not self._life.stop_requested.is_set():
                await fetching
                self._in_hand, self._ahead = self._ahead, ()
                self._fetched_at = self._ahead_at
                fetching = tasks.create_task(self._fetch())
                try:
                    for messages in batches(self._in_hand):
                        await self._take(messages)
                except _StopRequestedError:
                    await self._hand_back(self._in_hand)
                if not self._in_hand:
                    self._tell(self._catch_up.drained(self._fetched_at))
                self._in_hand = ()
            await fetching
            await self._hand_back(self._ahead)
            for task in side_tasks:
                task.cancel()

    async def _fetch(self) -> None:
        """Fill `_ahead`; it stays empty when there is nothing, or no link."""
        # Requests made without a link would all be answered at once when it is back.
        if self._bus.is_connected:
            # When it begins: what comes then was still in the log.
            self._ahead_at = asyncio.get_running_loop().time()
            try:
                self._ahead = await self._subscription.fetch(BATCH_EVENTS_MAX, timeout=BATCH_WAIT_S)
            except TimeoutError:
                return
            except BUS_ERRORS as error:
                _log.warning("store-fetch-failed", why=str(error) or type(error).__name__)
            else:
                return
        await self._stop_or(BATCH_WAIT_S)

    async def _take(self, messages: Sequence[Msg]) -> None:
        """Store a batch and acknowledge it; what cannot be read goes to the dead letters."""
        batch: list[_Delivery] = []
        for message in messages:
            try:
                entry = read(message.data, message.metadata.sequence.stream, self._caller_key)
            except EventError as error:
                await self._set_aside(message, "unreadable", str(error))
                continue
            batch.append(_Delivery(message, entry))
        metrics.EVENTS_REDELIVERED.inc(sum(message.metadata.num_delivered > 1 for message in messages))
        metrics.NULS_REPLACED.inc(sum(delivery.entry.nuls_replaced for delivery in batch))
        metrics.EVENTS_UNKNOWN.inc(sum(delivery.entry.event is None for delivery in batch))
        self._left = messages[-1].metadata.num_pending
        if batch:
            await self._settle(batch)

    async def _settle(self, batch: Sequence[_Delivery]) -> None:
        """Write, then acknowledge; halve a batch that Postgres refuses until the one bad event is alone."""
        try:
            written = await self._write([delivery.entry for delivery in batch])
        except StoreError as error:
            if len(batch) == 1:
                await self._set_aside(batch[0].message, "refused", str(error))
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        _count(written, len(batch))
        oldest = min(delivery.entry.at for delivery in batch)
        metrics.EVENT_AGE_SECONDS.observe(max((datetime.now(UTC) - oldest).total_seconds(), 0))
        # An acknowledgement that gets lost only means that the event comes again.
        with contextlib.suppress(*BUS_ERRORS):
            for delivery in batch:
                await delivery.message.ack()

    async def _write(self, entries: Sequence[Entry]) -> Written:
        """Write the events, however long that takes.

        Raises `StoreError` when they are at fault themselves, `_StopRequestedError` when there is no time to wait.
        """
        rows = project(entries)
        clock = asyncio.get_running_loop().time
        wait_s, tries = RETRY_MIN_S, 0
        while True:
            began = clock()
            tries += 1
            try:
                written = await self._store.write(rows)
            except StoreError as error:
                metrics.STORE_FAILURES.labels(error.trouble).inc()
                if error.trouble is Trouble.BAD_DATA:
                    raise
                self._catch_up.failed(began)
                await self._wait_for_store(error, wait_s, tries)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                if tries > 1:
                    self._life.resolved("postgres")
                    _log.info("store-back", tries=tries)
                self._count_batch(len(entries), began, clock())
                return written

    def _count_batch(self, events: int, began_at: float, now: float) -> None:
        metrics.STORE_UP.set(1)
        metrics.BATCH_SECONDS.observe(now - began_at)
        self._tell(
            self._catch_up.stored(
                events, left=self._left, left_at=self._fetched_at, began_at=began_at, now=now
            )
        )
        metrics.STORE_RATE.set(self._catch_up.rate(now))
        metrics.LAG_EVENTS.set(self._left)

    def _tell(self, caught_up: CaughtUp | None) -> None:
        if caught_up is not None:
            _log.info(
                "store-caught-up",
                events=caught_up.events,
                took_s=round(caught_up.took_s, 3),
                away_s=round(caught_up.away_s, 3),
                events_per_s=round(caught_up.events_per_s),
            )

    async def _wait_for_store(self, error: StoreError, wait_s: float, tries: int) -> None:
        if error.trouble is not Trouble.CONFLICT or tries > QUIET_CONFLICTS_MAX:
            metrics.STORE_UP.set(0)
            self._life.waiting(
                "postgres",
                f"cannot store at {self._database_address} ({error.trouble}): {error}; "
                f"{tries} tries, the next in {wait_s:.1f} s, {RETRY_MAX_S} s apart at most",
            )
        _log.warning("store-waiting", trouble=error.trouble, why=str(error), retry_s=wait_s)
        # Jitter keeps two processes from running into each other again.
        await self._stop_or(wait_s * random.uniform(0.5, 1))  # noqa: S311
        if self._life.stop_requested.is_set():
            raise _StopRequestedError

    async def _set_aside(self, message: Msg, reason: str, why: str) -> None:
        """Copy an event that can never be stored to the dead letters, and take it out of the way."""
        sequence, told = message.metadata.sequence.stream, dead_letters.reason(reason, why)
        try:
            # The row first: it may have to wait for Postgres, and each try would leave another copy.
            await self._store.note_dead_letter(sequence, message.subject, told, len(message.data))
            # Somebody may have deleted it with what it held.
            await dead_letters.ensure_stream(self._bus.jetstream, self._settings.event_replicas)
            await dead_letters.send(self._bus.jetstream, message, told)
            await message.term()
        except (StoreError, *BUS_ERRORS) as error:
            _log.warning("dead-letter-failed", stream_sequence=sequence, error=type(error).__name__)
            if self._life.stop_requested.is_set():
                raise _StopRequestedError from error
            with contextlib.suppress(*BUS_ERRORS):
                await message.nak(delay=DEAD_LETTER_RETRY_S)
            return
        metrics.DEAD_LETTERS.labels(reason).inc()
        # `why` may quote the event; it is in the dead letter's headers only.
        _log.warning("dead-letter", reason=reason, subject=message.subject, stream_sequence=sequence)

    async def _keep_alive(self) -> None:
        """Tell JetStream that the events in hand are being worked on, as long as they are."""
        while True:
            await asyncio.sleep(self._ack_wait_s / 3)
            with contextlib.suppress(*BUS_ERRORS):
                for message in (*self._in_hand, *self._ahead):
                    if not message.is_acked:
                        await message.in_progress()

    async def _hand_back(self, messages: Sequence[Msg]) -> None:
        """Let another process have the events at once."""
        with contextlib.suppress(*BUS_ERRORS):
            for message in messages:
                if not message.is_acked:
                    await message.nak()

    async def _watch(self) -> None:
        """Read the lag; subscribe again when the consumer is gone, as after JetStream lost its disk."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            metrics.STORE_RATE.set(self._catch_up.rate(asyncio.get_running_loop().time()))
            try:
                await self._observe()
            except NotFoundError:
                await self._subscribe_again()
            except BUS_ERRORS:
                # The link is down, and the bus has said so.
                continue

    async def _subscribe_again(self) -> None:
        _log.warning("store-consumer-missing", consumer=subjects.STORE_CONSUMER)
        try:
            await self.subscribe()
        except ServiceError as error:
            self._life.fail(error)

    async def _observe(self) -> ConsumerConfig:
        self._waiting = None
        consumer = await self._subscription.consumer_info()
        self._waiting = consumer.num_pending or 0
        metrics.LAG_EVENTS.set(self._waiting)
        metrics.UNSETTLED_EVENTS.set(consumer.num_ack_pending or 0)
        self._ack_wait_s = consumer.config.ack_wait or ACK_WAIT_S
        return consumer.config

    async def _stop_or(self, timeout_s: float) -> None:
        """Wait until the service is asked to stop, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._life.stop_requested.wait()


def batches(messages: Sequence[Msg]) -> Iterator[Sequence[Msg]]:
    """Cut what was fetched into batches within both limits; a single message may be as large as it is."""
    start, size_bytes = 0, 0
    for index, message in enumerate(messages):
        size_bytes += len(message.data)
        full = index - start == BATCH_EVENTS_MAX or size_bytes > BATCH_BYTES_MAX
        if full and index > start:
            yield messages[start:index]
            start, size_bytes = index, len(message.data)
    if messages:
        yield messages[start:]


def _count(written: Written, batch_events: int) -> None:
    metrics.EVENTS_STORED.inc(written[EventRow])
    metrics.EVENTS_DUPLICATE.inc(batch_events - written[EventRow])
    for row_type, rows in written.items():
        metrics.ROWS_WRITTEN.labels(row_type.table).inc(rows)
    metrics.BATCH_EVENTS.observe(batch_events)


def _consumer_config() -> ConsumerConfig:
    return ConsumerConfig(
        description="Stores every call's event log in Postgres",
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=-1,
        max_ack_pending=ACK_PENDING_MAX,
    )
