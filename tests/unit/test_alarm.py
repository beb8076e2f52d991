"""One timer, at the earliest time that was asked for."""

import asyncio

from trunkline_worker.alarm import Alarm


async def test_it_wakes_at_the_earliest_time_that_was_asked_for() -> None:
    woken = asyncio.Event()
    alarm = Alarm(woken.set)
    now = asyncio.get_running_loop().time()

    alarm.ask(now + 3_600)
    alarm.ask(now)
    alarm.ask(now + 3_600)
    alarm.ask(None)

    await asyncio.wait_for(woken.wait(), 5)


async def test_a_cancelled_one_wakes_nobody() -> None:
    woken: list[int] = []
    alarm = Alarm(lambda: woken.append(1))
    loop = asyncio.get_running_loop()
    later = asyncio.Event()

    alarm.ask(loop.time())
    alarm.cancel()
    loop.call_at(loop.time(), later.set)
    await later.wait()

    assert woken == []
