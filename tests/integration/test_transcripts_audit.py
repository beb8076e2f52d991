"""Calls that nobody ended, and calls with holes, in a real Postgres: what is made of them, in whatever order events arrive."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import event_logs
import msgspec
import pytest
from event_logs import agent_turn, attached, caller_turn, ended, entries, log_of, started, went_on
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from transcripts_world import World, client_of

from trunkline_common.call_events import CallEvent, Envelope
from trunkline_common.frames import Fence
from trunkline_local.nats_server import NatsServer
from trunkline_transcripts import audit
from trunkline_transcripts.audit import Closed
from trunkline_transcripts.projection import project
from trunkline_transcripts.store import Store

HOUR_S: Final = 3600
LOST_AFTER_S: Final = 2 * HOUR_S
END: Final = "select reason, outcome, extract(epoch from ended_at - call_started_at) * 1000 from calls"
"""Its events come a second apart, see `log_of`."""
CLOSED_AT_3_S: Final = [("end-unknown", "indeterminate", 3_000)]
LIVE: Final = [(None, None, None)]


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(migrated_database_url)
    yield engine
    await engine.dispose()


def began_ago(hours: float, log: Iterable[Envelope]) -> list[Envelope]:
    began_ms = int((time.time() - hours * HOUR_S) * 1000)
    return [
        msgspec.structs.replace(
            envelope, call_started_at_ms=began_ms, at_ms=began_ms + 1000 * (envelope.n + 1)
        )
        for envelope in log
    ]


def hours_later(hours: float, envelope: Envelope) -> Envelope:
    return msgspec.structs.replace(envelope, at_ms=envelope.at_ms + int(hours * HOUR_S * 1000))


def call(*more: CallEvent) -> list[Envelope]:
    return log_of([started(), attached(), caller_turn(), *more])


async def test_a_call_that_nobody_ended_is_closed_when_it_was_last_heard_of(engine: AsyncEngine) -> None:
    await _write(engine, began_ago(3, call()))

    assert await _look(engine) == Closed(lost=1, reopened=0)

    assert await _rows(engine, END) == CLOSED_AT_3_S
    assert await _rows(engine, "select reason, events_missing from call_summary") == [("end-unknown", 0)]
    assert await _look(engine) == Closed(lost=0, reopened=0)


async def test_a_call_that_was_heard_of_lately_is_left_alone(engine: AsyncEngine) -> None:
    began_long_ago = began_ago(3, call())
    just_started = began_ago(1, log_of([started()], call_id="CA2"))
    await _write(engine, [*began_long_ago[:-1], hours_later(2.5, began_long_ago[-1]), *just_started])

    assert await _look(engine) == Closed(lost=0, reopened=0)

    assert await _rows(engine, END) == LIVE * 2


async def test_an_end_wins_whether_it_comes_before_or_after(engine: AsyncEngine) -> None:
    log = began_ago(3, call(agent_turn(), ended(5)))

    for before, after in ((log[:3], log[3:]), (log, [])):
        await _empty(engine)
        await _write(engine, before, log)
        await _look(engine)
        await _write(engine, after, log)
        await _look(engine)
        assert await _rows(engine, END) == [("caller-hung-up", "success", 5_000)]


async def test_a_call_that_turns_out_to_live_is_open_again(engine: AsyncEngine) -> None:
    log = began_ago(3, call(agent_turn(), ended(5)))
    await _write(engine, log[:3])
    await _look(engine)

    await _write(engine, [hours_later(2.5, log[3])])
    assert await _look(engine) == Closed(lost=0, reopened=1)
    assert await _rows(engine, END) == LIVE

    await _write(engine, log[4:])
    assert await _rows(engine, END) == [("caller-hung-up", "success", 5_000)]


async def test_an_event_that_comes_late_moves_the_end(engine: AsyncEngine) -> None:
    log = began_ago(3, call(agent_turn()))
    await _write(engine, log[:3])
    await _look(engine)

    await _write(engine, log[3:])

    assert await _look(engine) == Closed(lost=0, reopened=0)
    assert await _rows(engine, END) == [("end-unknown", "indeterminate", 4_000)]


async def test_a_clock_that_is_ahead_keeps_no_call_open(engine: AsyncEngine) -> None:
    log = began_ago(3, call())
    await _write(engine, [*log[:-1], hours_later(1_000, log[-1])])
    await _execute(engine, f"update events set stored_at = now() - interval '{2 * LOST_AFTER_S} s'")

    assert await _look(engine) == Closed(lost=1, reopened=0)


async def test_of_a_call_that_changed_hands_the_result_is_the_same_in_any_order(engine: AsyncEngine) -> None:
    lost = log_of([started(), attached(), caller_turn()])
    owner = log_of([went_on("w2"), caller_turn("b", 2)], fence=Fence(1, 2))
    zombie = log_of([agent_turn("z", 2), ended(5, reason="worker-error")], fence=Fence(1, 1), first_n=3)
    log = began_ago(3, [*lost, *owner, *zombie])
    parts = [log[:3], log[3:5], log[5:]]

    seen = []
    for arriving in itertools.permutations(parts):
        await _empty(engine)
        for part in arriving:
            await _write(engine, part, log)
            await _look(engine)
        seen.append(await _rows(engine, END))

    # What the second owner wrote first is as old as the first owner's second event, and so on.
    assert seen == [CLOSED_AT_3_S] * len(seen)


async def test_rows_that_are_made_anew_are_closed_again_and_the_owner_s_end_wins(engine: AsyncEngine) -> None:
    lost = log_of([started(), attached(), caller_turn()])
    owner = log_of([went_on("w2"), caller_turn("b", 2), ended(3)], fence=Fence(1, 2))
    (zombie,) = log_of([agent_turn("z", 2)], fence=Fence(1, 1), first_n=3)
    *known, end, late = log = began_ago(3, [*lost, *owner, zombie])
    await _write(engine, known, log)
    await _look(engine)

    await _write(engine, [late], log)
    await _look(engine)
    assert await _rows(engine, END) == CLOSED_AT_3_S

    await _write(engine, [end], log)
    await _look(engine)
    assert await _rows(engine, END) == [("caller-hung-up", "success", 3_000)]


async def test_several_that_look_at_once_close_each_call_once(engine: AsyncEngine) -> None:
    await _write(engine, began_ago(3, [*call(), *log_of([started()], call_id="CA2")]))

    looked = await asyncio.gather(*(_look(engine) for _ in range(3)))

    assert sum(closed.lost for closed in looked) == 2


async def test_a_call_that_is_being_written_is_not_waited_for(engine: AsyncEngine) -> None:
    await _write(engine, began_ago(3, call()))

    async with engine.begin() as writer:
        await writer.execute(text("select from calls for update"))
        assert await _look(engine) == Closed(lost=0, reopened=0)

    assert await _look(engine) == Closed(lost=1, reopened=0)


async def test_calls_that_lack_events_are_counted_once_they_are_over(engine: AsyncEngine) -> None:
    whole = began_ago(3, log_of([started(), attached(), ended(3)]))
    with_hole = began_ago(3, log_of([started(), attached(), ended(3)], call_id="CA2"))
    lost_with_hole = began_ago(3, log_of([started(), attached(), caller_turn()], call_id="CA3"))
    await _write(engine, [*whole, *with_hole[::2], *lost_with_hole[::2]])

    assert await _holes(engine) == 1
    await _look(engine)
    assert await _holes(engine) == 2

    await _write(engine, [*with_hole, *lost_with_hole])
    assert await _holes(engine) == 0


async def test_the_service_closes_calls_and_tells_of_holes(
    nats_server: NatsServer, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    await _write(engine, began_ago(3, call()[::2]))

    async with client_of(nats_server) as client:
        world = World(tmp_path, nats_server.url, client, migrated_database_url)
        async with world.service() as service:
            await service.process.wait_for_line("calls-end-unknown")
            await service.process.wait_for_line("calls-with-holes")
            await service.ready()
            assert await service.metric("calls_end_unknown_total") == 1
            assert await service.metric("calls_with_holes") == 1

    assert await _rows(engine, END) == CLOSED_AT_3_S


async def _write(
    engine: AsyncEngine, batch: Iterable[Envelope], log: Sequence[Envelope] | None = None
) -> None:
    if arriving := list(batch):
        await Store(engine, event_logs.CALLER_KEY).write(project(entries(arriving, log)))


async def _look(engine: AsyncEngine) -> Closed:
    async with engine.connect() as connection:
        return await audit.close_lost_calls(connection, LOST_AFTER_S)


async def _holes(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await audit.calls_with_holes(connection)


async def _rows(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def _execute(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


async def _empty(engine: AsyncEngine) -> None:
    for table in ("events", "owners", "takeovers", "calls", "turns"):
        await _execute(engine, f"delete from {table}")
