"""Shell: reads what the whole fleet spends from the event log, so that a daily budget needs no store of its own.

Each worker with a budget reads every usage event since midnight UTC through a consumer of its own: a pull consumer in
memory that nobody acknowledges to and that JetStream forgets when nobody asks. A server that restarts forgets it too;
reading then goes on behind the last event that was read, whatever the reason. (An ordered consumer of nats-py does that
by itself, but only 12–19 s later.)

The day is the server's for an event and this machine's for now: clocks that differ by a second move midnight by one.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from trunkline_common import call_events, log, subjects
from trunkline_common.bus import Bus
from trunkline_common.call_events import EventError, TranscriptionUsage, Usage
from trunkline_worker import metrics
from trunkline_worker.budget import DailyBudget

LOOK_S: Final = 5.0
"""A hundred calls spend a quarter of a dollar meanwhile, and as much again by ending in their own time."""
FETCH_EVENTS: Final = 500
FETCH_WAIT_S: Final = 0.2
FIRST_SUM_S: Final = 10.0
"""A worker waits so long for the day's sum before its first call; JetStream reads some 10,000 events a second."""
FORGET_S: Final = 60.0
"""JetStream forgets a consumer that nobody asked for so long: the worker is gone."""

_KINDS: Final = ("usage", "transcription_usage")
_TROUBLE: Final = (nats.errors.Error, APIError, OSError, RuntimeError)
"""What nats-py raises while the link or JetStream is away."""

_log = log.get(__name__)


class BudgetWatch:
    """The fleet's spending today, as this worker knows it."""

    def __init__(self, budget_usd: float, bus: Bus) -> None:
        self._budget = DailyBudget(budget_usd)
        self._bus = bus
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._stream_seq = 0
        self._consumer_seq = 0
        self._was_spent = False
        metrics.BUDGET_USD.set(budget_usd)

    @property
    def is_spent(self) -> bool:
        """No new call may begin today."""
        return self._budget.is_spent(_today())

    async def catch_up(self) -> None:
        """Return once the day's sum is known, or after `FIRST_SUM_S`: what is not known must not stop the phones."""
        if not self._budget.budget_usd:
            return
        try:
            async with asyncio.timeout(FIRST_SUM_S):
                while await self._read():
                    pass
        except (TimeoutError, *_TROUBLE) as error:
            _log.warning("budget-unknown", why=str(error) or type(error).__name__)
            await self._forget()
        self._tell()

    async def run(self) -> None:
        """Follow the event log for ever."""
        if not self._budget.budget_usd:
            await asyncio.Event().wait()
        while True:
            try:
                if self._bus.is_connected:
                    while await self._read() == FETCH_EVENTS:
                        pass
            except _TROUBLE as error:
                _log.warning("budget-read-again", why=str(error) or type(error).__name__)
                await self._forget()
            self._tell()
            await asyncio.sleep(LOOK_S)

    async def _read(self) -> int:
        """Read what is new; return how many events that were, 0 at the end of the log."""
        if self._subscription is None:
            self._subscription = await self._subscribe()
        try:
            messages = await self._subscription.fetch(FETCH_EVENTS, timeout=FETCH_WAIT_S)
        except nats.errors.TimeoutError:
            # Nothing is new, or nobody is there: this raises when JetStream has forgotten the consumer.
            await self._subscription.consumer_info()
            return 0
        self._add(messages)
        return len(messages)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        if self._stream_seq:
            metrics.BUDGET_READ_AGAIN.inc()
            start = ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._stream_seq + 1
            )
        else:
            midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=midnight)
        self._consumer_seq = 0
        return await self._bus.jetstream.pull_subscribe(
            "",
            stream=subjects.EVENT_STREAM,
            config=start.evolve(
                description="A worker's daily budget",
                filter_subjects=[subjects.every_event_of_kind(kind) for kind in _KINDS],
                ack_policy=AckPolicy.NONE,
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=FORGET_S,
            ),
        )

    def _add(self, messages: Sequence[Msg]) -> None:
        for message in messages:
            about = message.metadata
            if about.sequence.consumer != self._consumer_seq + 1:
                raise nats.errors.Error("events were lost on the way")
            self._consumer_seq = about.sequence.consumer
            self._stream_seq = about.sequence.stream
            cost_usd = _cost_usd(message.data)
            if cost_usd:
                self._budget.add(about.timestamp.astimezone(UTC).date(), cost_usd)

    async def _forget(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            try:
                await subscription.unsubscribe()
            except _TROUBLE as error:
                _log.debug("budget-unsubscribe", why=str(error) or type(error).__name__)

    def _tell(self) -> None:
        spent_usd, is_spent = self._budget.spent_usd(_today()), self.is_spent
        metrics.SPEND_USD_TODAY.set(spent_usd)
        metrics.BUDGET_SPENT.set(is_spent)
        if is_spent != self._was_spent:
            self._was_spent = is_spent
            figures = {"spent_usd": round(spent_usd, 2), "budget_usd": self._budget.budget_usd}
            if is_spent:
                _log.error(
                    "budget-spent",
                    **figures,
                    do="raise DAILY_BUDGET_USD, or wait for midnight UTC; calls go on",
                )
            else:
                _log.info("budget-back", **figures)


def _today() -> date:
    return datetime.now(UTC).date()


def _cost_usd(data: bytes) -> float:
    try:
        event = call_events.open_envelope(call_events.decode(data))
    except EventError:
        # The transcripts service puts it aside and says so.
        return 0.0
    return (event.cost_usd or 0.0) if isinstance(event, Usage | TranscriptionUsage) else 0.0
