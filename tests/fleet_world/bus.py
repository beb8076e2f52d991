"""The modelled NATS: a broker, two connections of each process to it, and the event log's stream.

* Order holds within one connection, and nowhere else.
* A link breaks with a word (both sides know at once) or silently (what is sent is lost until somebody notices).
* A request that nobody listens to is answered at once; what is sent to a process that hangs waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import nats.errors

from trunkline_common import call_events
from trunkline_common.bus import NoAnswerError, NobodyListensError
from trunkline_common.call_events import Envelope
from trunkline_common.link import CONFIRM_TIMEOUT_S

if TYPE_CHECKING:
    from fleet_world.processes import Process
    from fleet_world.world import World

Handler = Callable[[Any], Awaitable[None]]
Name = Literal["audio", "control"]


@dataclass(slots=True)
class Message:
    """As a handler gets it; what the services use of nats-py's."""

    subject: str
    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    answer: Callable[[bytes], None] | None = None

    async def respond(self, payload: bytes) -> None:
        if self.answer is not None:
            self.answer(payload)


class Connection:
    """One connection of one process: what it believes of its link, and what is so."""

    def __init__(self, process: Process, name: Name) -> None:
        self.process = process
        self.name = name
        self.carries = True
        self.has_interest = True
        """The broker takes its subscriptions for alive."""
        self.reconnects = 0
        self.up = asyncio.Event()
        self.up.set()
        self.watchers: list[Callable[[bool], None]] = []
        self._world = process.world
        self._epoch = 0
        self.returned_at = float("-inf")
        self._up_free_at = 0.0
        self._down_free_at = 0.0
        self._buffered: list[Callable[[], None]] = []

    def send(self, at_broker: Callable[[], None]) -> None:
        """Carry something to the broker; lost where the link is broken and nobody knows."""
        if self.process.is_dead:
            return
        if not self.up.is_set():
            self._buffered.append(at_broker)
            return
        epoch = self._epoch if self.carries else None
        self._up_free_at = max(self._up_free_at, self._world.now + self._world.transit_s())

        def arrive() -> None:
            if epoch == self._epoch:
                at_broker()
            else:
                self._world.lost_messages += 1

        self._world.agenda.at(self._up_free_at, arrive)

    def deliver(self, at_process: Callable[[], None]) -> None:
        """Carry something to the process."""
        epoch = self._epoch if self.carries else None
        self._down_free_at = max(self._down_free_at, self._world.now + self._world.transit_s())

        def arrive() -> None:
            if epoch == self._epoch and not self.process.is_dead:
                self.process.loop.call_soon(at_process)
            else:
                self._world.lost_messages += 1

        self._world.agenda.at(self._down_free_at, arrive)

    def cut(self, *, silently: bool) -> None:
        """Break the link."""
        if self.carries:
            self.carries = False
            self._epoch += 1
        if not silently:
            self.has_interest = False
            self.notice()

    def notice(self) -> None:
        """The process finds its link broken."""
        if not self.carries and not self.process.is_dead:
            self.process.loop.call_soon(self._went_down)

    def mend(self) -> None:
        """The link is there again."""
        if not self.carries and not self.process.is_dead:
            self.process.loop.call_soon(self._came_back)

    def _went_down(self) -> None:
        if self.up.is_set() and not self.carries:
            self.up.clear()
            self._tell(is_up=False)

    def _came_back(self) -> None:
        if self.carries:
            return
        # Also of a break that was not noticed before: the new socket is what tells of it.
        self._went_down()
        self.carries = self.has_interest = True
        self._epoch += 1
        self.reconnects += 1
        self.returned_at = self._world.now
        self.up.set()
        buffered, self._buffered = self._buffered, []
        for action in buffered:
            self.send(action)
        self._tell(is_up=True)

    def _tell(self, *, is_up: bool) -> None:
        self._world.note(self.process.name, f"{self.name} link {'up' if is_up else 'down'}")
        for watcher in self.watchers:
            watcher(is_up)

    async def confirmed(self, limit_s: float) -> bool:
        """Go to the broker and back."""
        try:
            async with asyncio.timeout(limit_s):
                await self.up.wait()
                here = asyncio.get_running_loop().create_future()
                self.send(lambda: self.deliver(lambda: _resolve(here, None)))
                await here
        except TimeoutError:
            return False
        return True


@dataclass(eq=False, slots=True)
class Subscription:
    """One subscription, whose handler takes one message after another."""

    connection: Connection
    subject: str
    """One of its tokens may be `*`."""
    handler: Handler
    queue: str
    broker: Broker
    waiting: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)
    """None is behind the last one."""

    def matches(self, subject: str) -> bool:
        before, star, behind = self.subject.partition("*")
        if not star:
            return subject == before
        return (
            subject.startswith(before)
            and subject.endswith(behind)
            and "." not in subject[len(before) : len(subject) - len(behind)]
        )

    async def run(self) -> None:
        while (message := await self.waiting.get()) is not None:
            await self.handler(message)

    async def end(self) -> None:
        self.connection.send(lambda: self.broker.forget(self))
        if not await self.connection.confirmed(CONFIRM_TIMEOUT_S):
            self.broker.forget(self)
        self.waiting.put_nowait(None)


class Broker:
    """The server: who listens to what, and the stream `EV`."""

    def __init__(self, world: World) -> None:
        self.subscriptions: list[Subscription] = []
        self.events: dict[str, Envelope] = {}
        """The stream, by `Nats-Msg-Id`, in its order."""
        self._world = world

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)

    def forget_process(self, process: Process) -> None:
        """Its sockets were closed by the kernel."""
        self.subscriptions = [each for each in self.subscriptions if each.connection.process is not process]

    def route(self, message: Message, nobody: Callable[[], None] | None = None) -> None:
        """Give a message to all who listen, and to one of each queue group."""
        subject = message.subject
        listening = [
            each for each in self.subscriptions if each.matches(subject) and each.connection.has_interest
        ]
        if not listening and nobody is not None:
            nobody()
        groups: dict[str, list[Subscription]] = {}
        for subscription in listening:
            if subscription.queue:
                groups.setdefault(subscription.queue, []).append(subscription)
            else:
                self._give(subscription, message)
        for group in groups.values():
            self._give(self._world.draw.choice(group), message)

    def _give(self, subscription: Subscription, message: Message) -> None:
        for _ in range(self._world.copies(subscription.connection.name, message.subject)):
            subscription.connection.deliver(lambda: subscription.waiting.put_nowait(message))

    def append(self, message_id: str, data: bytes) -> None:
        """Store an event once."""
        self._world.checks.stored(message_id, data, self.events)
        self.events.setdefault(message_id, call_events.decode(data))

    def page(self, request: dict[str, Any]) -> list[Message]:
        """Answer a direct get in batches with one page (NATS: ADR-31)."""
        call_id = request["next_by_subj"].split(".")[2]
        answers: list[Message] = []
        before = "0"
        for seq, envelope in enumerate(self.events.values(), 1):
            if envelope.call_id == call_id and seq >= request["seq"]:
                headers = {"Nats-Sequence": str(seq), "Nats-Last-Sequence": before}
                answers.append(Message("", call_events.encode(envelope), headers))
                before = str(seq)
        if not answers:
            return [Message("", b"", {"Status": "404", "Description": "Message Not Found"})]
        end = {
            "Status": "204",
            "Nats-Num-Pending": "0",
            "Nats-Sequence": before,
            "Nats-Last-Sequence": before,
        }
        return [*answers, Message("", b"", end)]


class ModelledBus:
    """What a service takes for `trunkline_common.bus.Bus`."""

    def __init__(self, process: Process) -> None:
        self.audio = Connection(process, "audio")
        self.control = Connection(process, "control")
        self._process = process
        self._broker = process.world.broker
        self.jetstream = JetStream(self)

    @property
    def is_connected(self) -> bool:
        return self.control.up.is_set()

    @property
    def reconnects(self) -> int:
        return self.control.reconnects

    @property
    def audio_reconnects(self) -> int:
        return self.audio.reconnects

    def on_audio_link(self, callback: Callable[[bool], None]) -> None:
        self.audio.watchers.append(callback)

    async def audio_flows(self, limit_s: float) -> bool:
        return await self.audio.confirmed(limit_s)

    async def publish_audio(self, subject: str, frame: bytes) -> bool:
        if not self.audio.up.is_set():
            return False
        self.audio.send(lambda: self._broker.route(Message(subject, frame)))
        return True

    async def subscribe_audio(self, subject: str, handler: Handler) -> None:
        await self._subscribe(self.audio, subject, handler, "")

    async def publish(self, subject: str, payload: bytes) -> None:
        self.control.send(lambda: self._broker.route(Message(subject, payload)))

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        return await self._subscribe(self.control, subject, handler, queue)

    async def _subscribe(
        self, connection: Connection, subject: str, handler: Handler, queue: str
    ) -> Subscription:
        subscription = Subscription(connection, subject, handler, queue, self._broker)
        self._process.spawn(subscription.run())
        connection.send(lambda: self._broker.subscriptions.append(subscription))
        if not await connection.confirmed(CONFIRM_TIMEOUT_S):
            self._broker.forget(subscription)
            raise NoAnswerError(subject)
        return subscription

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        answers = await self._ask(subject, payload, timeout_s)
        assert isinstance(answers, bytes)
        return answers

    async def works(self, limit_s: float) -> bool:
        return await self.control.confirmed(limit_s)

    def has_just_returned(self, within_s: float) -> bool:
        return self._process.world.now < self.control.returned_at + within_s

    async def request_all(
        self, subject: str, payload: bytes, timeout_s: float, is_enough: Callable[[list[bytes]], bool]
    ) -> list[bytes]:
        raise AssertionError("no limit on callers in this world")

    async def request_page(
        self,
        subject: str,
        payload: bytes,
        timeout_s: float,
        is_last: Callable[[Message], bool],
        answers_max: int,
    ) -> list[Message]:
        def ask(answer: Callable[[Any], None]) -> None:
            answer(self._broker.page(json.loads(payload)))

        pages = await self._await_answer(subject, timeout_s, ask)
        assert isinstance(pages, list)
        return pages

    async def _ask(self, subject: str, payload: bytes, timeout_s: float) -> object:
        def ask(answer: Callable[[Any], None]) -> None:
            self._broker.route(
                self._question(subject, payload, answer), lambda: answer(NobodyListensError(subject))
            )

        return await self._await_answer(subject, timeout_s, ask)

    def _question(self, subject: str, payload: bytes, answer: Callable[[Any], None]) -> Message:
        world = self._process.world

        def respond(data: bytes) -> None:
            # On the connection of whoever answers.
            world.running.bus.control.send(lambda: answer(data))

        return Message(subject, payload, answer=respond)

    async def _await_answer(
        self, subject: str, timeout_s: float, ask: Callable[[Callable[[Any], None]], None]
    ) -> object:
        here = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self.control.up.wait()
                self.control.send(
                    lambda: ask(lambda found: self.control.deliver(lambda: _resolve(here, found)))
                )
                return await here
        except TimeoutError:
            raise NoAnswerError(f"{subject}: no answer in {timeout_s} s") from None

    async def close(self) -> None:
        await self.control.confirmed(1)


class JetStream:
    """The event log's stream, as its writers see it."""

    def __init__(self, bus: ModelledBus) -> None:
        self._bus = bus

    async def publish(self, subject: str, payload: bytes, timeout: float, headers: dict[str, str]) -> None:  # noqa: ASYNC109 - nats-py's
        broker, message_id = self._bus._broker, headers["Nats-Msg-Id"]

        def ask(answer: Callable[[Any], None]) -> None:
            broker.append(message_id, payload)
            answer(b"")

        try:
            await self._bus._await_answer(subject, timeout, ask)
        except NoAnswerError:
            raise nats.errors.TimeoutError from None
        self._bus._process.world.checks.acknowledged(message_id)


def _resolve(future: asyncio.Future[Any], found: object) -> None:
    if future.done():
        return
    if isinstance(found, Exception):
        future.set_exception(found)
    else:
        future.set_result(found)
