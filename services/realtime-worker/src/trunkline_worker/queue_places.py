"""Shell: the worker's subscriptions in the queue group of those that take calls, as many as `placement.py` wants."""

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from trunkline_common import log, subjects
from trunkline_common.bus import Bus, Handler, NoAnswerError, Subscription
from trunkline_worker import metrics

_log = log.get(__name__)


class QueuePlaces:
    """All places of one worker; however many they are, one request is handled after another."""

    def __init__(self, bus: Bus, subject: str, handler: Handler, wanted: Callable[[], int]) -> None:
        self._bus = bus
        self._subject = subject
        self._handler = handler
        self._wanted = wanted
        self._held: list[Subscription] = []
        self._matching = asyncio.Lock()
        self._handling = asyncio.Lock()

    async def match(self) -> None:
        """Take or leave places until they are as many as wanted; those that are left get nothing more on return."""
        async with self._matching:
            wanted = self._wanted()
            surplus, self._held = self._held[wanted:], self._held[:wanted]
            await asyncio.gather(*(place.end() for place in surplus))
            try:
                while len(self._held) < wanted:
                    place = await self._bus.subscribe(self._subject, self.on_request, subjects.ASSIGN_QUEUE)
                    self._held.append(place)
            except NoAnswerError as error:
                # The next heartbeat tries again.
                _log.warning("worker-not-in-queue", places=len(self._held), wanted=wanted, why=str(error))
            metrics.QUEUE_PLACES.set(len(self._held))

    async def on_request(self, message: Msg) -> None:
        """Handle one request after another, by whatever way it came."""
        # Otherwise a gateway that asks again about one call, because we are slow, would hear that it is being taken.
        async with self._handling:
            await self._handler(message)
