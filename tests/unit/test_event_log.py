"""Whether all that a call has written is in the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trunkline_common import call_events
from trunkline_common.call_events import DtmfReceived, Envelope
from trunkline_common.frames import Fence
from trunkline_worker.event_log import EventLog


class Stream:
    """Acknowledges what it is sent while it is `well`."""

    def __init__(self) -> None:
        self.well = asyncio.Event()
        self.stored: list[str] = []
        self.jetstream = self

    async def publish(self, subject: str, data: bytes, **_: Any) -> None:
        await self.well.wait()
        self.stored.append(call_events.decode(data).message_id)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@asynccontextmanager
async def running(stream: Any) -> AsyncIterator[EventLog]:
    event_log = EventLog(stream)
    task = asyncio.create_task(event_log.run())
    yield event_log
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def event(n: int = 0, call_id: str = "CA1") -> Envelope:
    return call_events.seal(
        DtmfReceived(at_ms=n), call_id=call_id, call_started_at_ms=1, fence=Fence(1, 1), n=n, at_ms=1
    )


async def test_a_call_that_wrote_nothing_is_written(stream: Stream) -> None:
    async with running(stream) as event_log:
        assert await event_log.written("CA1", timeout_s=0)


async def test_a_call_is_written_once_its_last_event_is_acknowledged(stream: Stream) -> None:
    async with running(stream) as event_log:
        for n in range(3):
            event_log.append(event(n))
        waiting = asyncio.create_task(event_log.written("CA1", timeout_s=5))
        stream.well.set()

        assert await waiting
    assert stream.stored == ["CA1-1.1-0", "CA1-1.1-1", "CA1-1.1-2"]


async def test_a_log_that_does_not_answer_is_not_waited_for_too_long(stream: Stream) -> None:
    async with running(stream) as event_log:
        event_log.append(event())

        assert not await event_log.written("CA1", timeout_s=0.01)
