import asyncio

from trunkline_gateway.outbox import AUDIO_BYTES_MAX, MESSAGES_MAX, Closing, Message, Outbox


async def test_messages_leave_in_the_order_they_came() -> None:
    outbox = Outbox()
    outbox.put("a", 160, received_at=1.5)
    outbox.put("b")

    assert await outbox.next() == Message("a", 160, 1.5)
    assert await outbox.next() == Message("b", 0, 0.0)


async def test_the_writer_wakes_up_for_what_comes_later() -> None:
    outbox = Outbox()
    writer = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    outbox.put("a")

    assert await writer == Message("a", 0, 0.0)


async def test_a_clear_takes_the_place_of_everything_queued() -> None:
    outbox = Outbox()
    outbox.put("old audio", 160)
    outbox.put("old mark")

    assert outbox.put_instead("clear") == 2
    outbox.put("new audio", 160)

    assert [(await outbox.next()), (await outbox.next())] == [
        Message("clear", 0, 0.0),
        Message("new audio", 160, 0.0),
    ]


async def test_audio_beyond_a_minute_is_refused_until_some_is_written() -> None:
    outbox = Outbox()
    assert outbox.put("a", AUDIO_BYTES_MAX)

    assert not outbox.put("b", 1)
    await outbox.next()
    assert outbox.put("b", 1)


def test_small_messages_are_bounded_by_number() -> None:
    outbox = Outbox()

    assert [outbox.put("mark") for _ in range(MESSAGES_MAX + 1)].index(False) == MESSAGES_MAX


async def test_a_polite_close_waits_for_what_is_queued() -> None:
    outbox = Outbox()
    outbox.put("goodbye", 160)
    outbox.close(1000, "agent-hung-up", after_queued=True)

    assert not outbox.put("late")
    assert outbox.put_instead("late clear") == 0
    assert [(await outbox.next()), (await outbox.next())] == [
        Message("goodbye", 160, 0.0),
        Closing(1000, "agent-hung-up"),
    ]


async def test_any_other_close_does_not_wait() -> None:
    outbox = Outbox()
    outbox.put("audio", 160)
    outbox.close(1008, "bad-stream", after_queued=False)

    assert await outbox.next() == Closing(1008, "bad-stream")
