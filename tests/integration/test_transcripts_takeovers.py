"""A call with several owners, in a real Postgres: what each table and view shows, in whatever order events arrive."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import event_logs
import pytest
from event_logs import (
    agent_turn,
    attached,
    caller_turn,
    ended,
    latency,
    log_of,
    model_connected,
    started,
    went_on,
)
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trunkline_common.call_events import CallEvent, Envelope
from trunkline_common.frames import Fence
from trunkline_transcripts.projection import project
from trunkline_transcripts.store import Store

OLD, NEW, NEWEST = Fence(1, 1), Fence(1, 2), Fence(2, 1)


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(migrated_database_url)
    yield engine
    await engine.dispose()


def old_owner(*events: CallEvent) -> list[Envelope]:
    return log_of([started("w1"), attached(), *events], fence=OLD)


def new_owner(*events: CallEvent) -> list[Envelope]:
    return log_of([went_on("w2"), *events], fence=NEW)


def later(log: Sequence[Envelope], *events: CallEvent) -> list[Envelope]:
    """Return what the owner of `log` goes on to write."""
    return log_of(events, fence=log[-1].fence, first_n=len(log))


async def test_a_call_that_was_taken_over_reads_as_one(engine: AsyncEngine) -> None:
    lost = old_owner(caller_turn("a", 1, "Hi."), agent_turn("b", 2, "Hello."))
    owner = new_owner(
        model_connected(), caller_turn("c", 3, "When do you open?"), agent_turn("d", 4), ended(5)
    )

    await _write(engine, [*lost, *owner])

    assert await _rows(engine, "select worker, reason, duration_ms from calls") == [
        ("w2", "caller-hung-up", 21_000)
    ]
    assert await _rows(engine, "select position, text from conversation order by position") == [
        (1, "Hi."),
        (2, "Hello."),
        (3, "When do you open?"),
        (4, "We open at nine."),
    ]
    assert await _rows(engine, "select takeovers, handovers, longest_lost_ms from call_summary") == [
        (1, 0, 350.5)
    ]


async def test_an_owner_that_was_killed_leaves_no_hole_and_a_hole_is_seen_at_its_owner(
    engine: AsyncEngine,
) -> None:
    lost = old_owner(caller_turn("a", 1), agent_turn("b", 2), latency("b", 2))
    owner = new_owner(caller_turn("c", 3), ended(3))

    await _write(engine, [*lost[:3], *lost[4:], *owner])

    owners = "select worker, cause, events, events_missing, reason from call_owners order by attach, assign"
    assert await _rows(engine, owners) == [
        ("w1", None, 4, 1, None),
        ("w2", "worker-lost", 3, 0, "caller-hung-up"),
    ]
    assert await _rows(engine, "select events_missing from call_summary") == [(1,)]
    await _write(engine, lost)
    assert await _rows(engine, "select events_missing from call_summary") == [(0,)]


async def test_what_a_superseded_owner_wrote_is_marked_and_told_by_no_view(engine: AsyncEngine) -> None:
    lost = old_owner(caller_turn("a", 1, "Hi."))
    owner = new_owner(caller_turn("b", 2, "Still there?"))
    zombie = later(
        lost, agent_turn("z", 2, "Nobody hears this."), event_logs.limit(), ended(6, reason="worker-error")
    )
    rest = later(owner, agent_turn("c", 3), ended(4))
    log = [*lost, *owner, *zombie, *rest]

    seen = []
    for arriving in itertools.permutations([lost, owner, zombie, rest]):
        for batch in arriving:
            await _write(engine, batch, log)
        seen.append(await _everything(engine))
        await _empty(engine)

    assert seen[0] == {
        "call": [("w2", "caller-hung-up", None, 0, 3)],
        "turns": [(1, "Hi."), (2, "Still there?"), (3, "We open at nine.")],
        "superseded": [(1, 1, 3), (1, 1, 4), (1, 1, 5)],
        "owners": [("w1", 6, 0, 3), ("w2", 4, 0, 0)],
    }
    assert all(each == seen[0] for each in seen)


async def test_what_cost_money_or_acted_outside_counts_whoever_did_it(engine: AsyncEngine) -> None:
    lost, owner = old_owner(), new_owner()
    zombie = later(lost, event_logs.usage(), event_logs.transcription_usage(), event_logs.tool_called())

    await _write(engine, [*lost, *owner, *zombie])

    assert await _rows(
        engine, "select responses, unpriced, tool_calls, events_superseded from call_summary"
    ) == [(1, 0, 1, 3)]


async def test_an_event_of_a_superseded_owner_that_comes_again_changes_nothing(engine: AsyncEngine) -> None:
    lost, owner = old_owner(caller_turn("a", 1)), new_owner(caller_turn("b", 2))
    zombie = later(lost, agent_turn("z", 2))
    log = [*lost, *owner, *zombie]
    await _write(engine, log)
    before = await _everything(engine)

    for batch in (zombie, lost, owner):
        await _write(engine, batch, log)

    assert await _everything(engine) == before


async def test_an_end_before_the_takeover_is_not_the_end_of_the_call(engine: AsyncEngine) -> None:
    gave_up = old_owner(ended(3, reason="stream-lost"))
    attached_again = log_of([went_on("w2", "resumed"), attached("g2")], fence=NEWEST)
    log = [*gave_up, *attached_again]

    for order in ([*gave_up, *attached_again], [*attached_again, *gave_up]):
        await _empty(engine)
        for envelope in order:
            await _write(engine, [envelope], log)
        assert await _rows(engine, "select worker, gateway, reason, ended_at from calls") == [
            ("w2", "g2", None, None)
        ]

    await _write(engine, later(attached_again, ended(3)))
    assert await _rows(engine, "select reason, events_expected from calls") == [("caller-hung-up", 3)]


async def test_a_turn_that_two_owners_told_is_there_once_as_the_later_one_told_it(
    engine: AsyncEngine,
) -> None:
    lost = old_owner(latency("b", 2), agent_turn("b", 2, "From nine until one"))
    owner = new_owner(agent_turn("b", 2, "From nine."), caller_turn("c", 3))
    log = [*lost, *owner]

    for order in ([*lost, *owner], [*owner, *lost]):
        await _empty(engine)
        for envelope in order:
            await _write(engine, [envelope], log)
        assert await _rows(
            engine, "select assign, position, text, model_ms from turns order by position"
        ) == [
            (2, 2, "From nine.", 390.25),
            (2, 3, "Hi.", None),
        ]


async def test_the_caller_that_interrupted_is_found_under_the_next_owner(engine: AsyncEngine) -> None:
    await _write(engine, [*old_owner(agent_turn("b", 2)), *new_owner(caller_turn("c", 3, "Wait."))])

    assert await _rows(engine, "select caller_text from interruptions") == [("Wait.",)]


async def test_a_handover_is_no_takeover(engine: AsyncEngine) -> None:
    handed = log_of([went_on("w2", "handover"), ended(2)], fence=NEW)

    await _write(engine, [*old_owner(), *handed])

    assert await _rows(engine, "select takeovers, handovers, longest_lost_ms from call_summary") == [
        (0, 1, None)
    ]


async def test_of_two_processes_that_write_at_once_the_later_sees_it(engine: AsyncEngine) -> None:
    lost, owner = old_owner(caller_turn("a", 1)), new_owner(caller_turn("b", 2))
    zombie = later(lost, agent_turn("z", 2), ended(5))
    log = [*lost, *owner, *zombie]

    for _ in range(10):
        await _empty(engine)
        await asyncio.gather(*(_write(engine, batch, log) for batch in (zombie, owner, lost)))
        assert await _rows(engine, "select text from turns order by position") == [("Hi.",), ("Hi.",)]
        assert (await _everything(engine))["superseded"] == [(1, 1, 3), (1, 1, 4)]


async def _write(
    engine: AsyncEngine, batch: Iterable[Envelope], log: Sequence[Envelope] | None = None
) -> None:
    await Store(engine, event_logs.CALLER_KEY).write(project(event_logs.entries(batch, log)))


async def _everything(engine: AsyncEngine) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "call": await _rows(
            engine,
            "select worker, reason, limits_reached, events_missing, events_superseded from call_summary join calls using (call_id, reason)",
        ),
        "turns": await _rows(engine, "select position, text from conversation order by position"),
        "superseded": await _rows(engine, "select attach, assign, n from events where superseded order by n"),
        "owners": await _rows(
            engine,
            "select worker, events, events_missing, events_superseded from call_owners order by attach, assign",
        ),
    }


async def _rows(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def _empty(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for table in (
            "events",
            "owners",
            "takeovers",
            "calls",
            "turns",
            "usage",
            "tool_calls",
            "limits_reached",
        ):
            await connection.execute(text(f"delete from {table}"))
