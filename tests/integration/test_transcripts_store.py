"""The statements against a real Postgres: the same rows in whatever order, batches and company events arrive."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import event_logs
import msgspec
import pytest
from event_logs import agent_turn, attached, caller_turn, ended, latency, log_of, started
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trunkline_common.call_events import Envelope
from trunkline_common.frames import Fence
from trunkline_transcripts import tables
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.projection import project
from trunkline_transcripts.rows import EventRow
from trunkline_transcripts.store import Store, StoreError, Written

EVENT_TABLES = [table for table in tables.metadata.sorted_tables if table is not tables.caller_hash_key]

Content = dict[str, list[dict[str, Any]]]


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(migrated_database_url)
    yield engine
    await engine.dispose()


async def test_a_call_can_be_read_turn_by_turn(engine: AsyncEngine) -> None:
    await _write(engine, event_logs.call("CA1", turns=2))

    (call,) = (await _content(engine))["calls"]
    assert (call["caller_hash"], call["agent"], call["worker"]) == (
        event_logs.CALLER_KEY.hash("+15550001111"),
        "desk",
        "w1",
    )
    assert (call["gateway"], call["stream_sid"], call["model"]) == ("g1", "MZ-g1", "gpt-realtime")
    assert (call["outcome"], call["reason"], call["duration_ms"]) == ("success", "caller-hung-up", 21_000)
    assert call["events_expected"] == len((await _content(engine))["events"])
    assert [
        (turn["speaker"], turn["text"], turn["heard_text"], turn["response_ms"])
        for turn in (await _content(engine))["turns"]
    ] == [
        ("caller", "Question 1?", None, None),
        ("agent", "Answer 1.", "Answer ", 431.5),
        ("caller", "Question 3?", None, None),
        ("agent", "Answer 3.", "Answer ", 431.5),
    ]


async def test_events_that_are_there_already_change_nothing(engine: AsyncEngine) -> None:
    log = event_logs.call("CA1")
    assert (await _write(engine, log))[EventRow] == len(log)
    before = await _content(engine)

    written_again = await _write(engine, log)

    assert written_again.total() == 0
    assert await _content(engine) == before


async def test_an_older_revision_never_overwrites_a_newer_one(engine: AsyncEngine) -> None:
    early, late = log_of([caller_turn(text=None), caller_turn(text="Hi.", revision=2)])

    await _write(engine, [late])
    await _write(engine, [early])

    (turn,) = (await _content(engine))["turns"]
    assert (turn["text"], turn["transcription"], turn["revision"]) == ("Hi.", "completed", 2)


async def test_a_latency_may_come_before_its_turn(engine: AsyncEngine) -> None:
    first, second = log_of([latency("item_2"), agent_turn("item_2")])

    await _write(engine, [first])
    (incomplete,) = (await _content(engine))["turns"]
    await _write(engine, [second])
    (turn,) = (await _content(engine))["turns"]

    assert (incomplete["text"], incomplete["revision"], incomplete["model_ms"]) == (None, 0, 390.25)
    assert (turn["text"], turn["revision"], turn["model_ms"]) == ("We open at nine.", 1, 390.25)


async def test_an_owner_that_was_replaced_does_not_tell_how_the_call_ended(engine: AsyncEngine) -> None:
    zombie = log_of([started("w1"), attached("g1"), ended(3, reason="worker-error")], fence=Fence(1, 1))
    owner = log_of([started("w2"), attached("g1"), ended(3)], fence=Fence(1, 2))

    await _write(engine, owner)
    await _write(engine, zombie)

    (call,) = (await _content(engine))["calls"]
    assert (call["worker"], call["reason"], call["ended_from"]) == ("w2", "caller-hung-up", [1, 2, 2])


@pytest.mark.parametrize("seed", range(20))
async def test_order_batches_and_repetition_do_not_matter(engine: AsyncEngine, seed: int) -> None:
    random_source = random.Random(seed)
    log = event_logs.taken_over("CA1") + event_logs.call("CA2", turns=1)
    await _write(engine, log)
    expected = await _content(engine)
    await _empty(engine)

    for batch in event_logs.cut(event_logs.shuffled(log, random_source), random_source):
        await _write(engine, batch, log)

    assert await _content(engine) == expected


async def test_two_that_write_the_same_calls_do_not_deadlock(engine: AsyncEngine) -> None:
    random_source = random.Random(1)
    log = [event for number in range(40) for event in event_logs.call(f"CA{number}")]
    await _write(engine, log)
    expected = await _content(engine)
    await _empty(engine)

    async def write_all(order: list[Envelope]) -> None:
        for start in range(0, len(order), 100):
            await _write(engine, order[start : start + 100], log)

    await asyncio.gather(*(write_all(event_logs.shuffled(log, random_source)) for _ in range(4)))

    assert await _content(engine) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": "\\u0000"}',
        '{"a": "\\ud800"}',
        '{"a": 1e400}',
        '{"a": -0.0}',
        '{"a": 1' + "0" * 400 + "}",
        "no",
    ],
)
async def test_arguments_of_a_tool_are_stored_whatever_the_model_wrote(
    engine: AsyncEngine, arguments: str
) -> None:
    await _write(engine, log_of([event_logs.tool_called(arguments=arguments)]))

    (call,) = (await _content(engine))["tool_calls"]
    assert call["arguments"] in ({"a": -0.0}, {"a": 10**400}, arguments)


async def test_an_answer_of_a_tool_may_come_before_its_call(engine: AsyncEngine) -> None:
    called, returned = log_of([event_logs.tool_called(), event_logs.tool_returned()])

    await _write(engine, [returned])
    await _write(engine, [called])

    (call,) = (await _content(engine))["tool_calls"]
    assert (call["name"], call["arguments"], call["outcome"]) == ("free_slots", {"day": "Saturday"}, "ok")
    assert (call["called_from"], call["returned_from"]) == ([1, 1, 0], [1, 1, 1])


async def test_a_nul_character_does_not_cost_the_event(engine: AsyncEngine) -> None:
    await _write(engine, log_of([caller_turn(text="a\0b")]))

    (turn,) = (await _content(engine))["turns"]
    assert turn["text"] == "a\ufffdb"


async def test_the_longest_turn_that_an_event_can_hold_is_stored_and_searched(engine: AsyncEngine) -> None:
    words = " ".join(f"{number:x}-{number:x}" for number in range(25_000))

    await _write(engine, log_of([caller_turn(text=words)]))

    async with engine.connect() as connection:
        found = await connection.scalar(
            text("select count(*) from turns where words @@ websearch_to_tsquery('simple', '12f')")
        )
    assert found == 1


async def test_an_event_of_the_future_is_kept(engine: AsyncEngine) -> None:
    (known,) = log_of([started()])
    unknown = msgspec.structs.replace(known, kind="coin_inserted", data=msgspec.Raw(b'{"cents": 25}'))

    await _write(engine, [unknown])

    (event,) = (await _content(engine))["events"]
    assert (event["kind"], event["data"]) == ("coin_inserted", {"cents": 25})


async def test_a_row_that_postgres_refuses_is_told_from_a_postgres_that_is_away(engine: AsyncEngine) -> None:
    with pytest.raises(StoreError) as refused:
        await _write(engine, log_of([caller_turn(position=2**40)]))
    assert refused.value.trouble is Trouble.BAD_DATA

    async with engine.begin() as connection:
        await connection.execute(text("drop table turns cascade"))
    with pytest.raises(StoreError) as missing:
        await _write(engine, log_of([caller_turn()]))
    assert missing.value.trouble is Trouble.SCHEMA


async def test_nothing_of_a_batch_is_written_when_a_part_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(StoreError):
        await _write(engine, log_of([started(), caller_turn(position=2**40)]))

    assert not any((await _content(engine)).values())


async def _write(
    engine: AsyncEngine, batch: Iterable[Envelope], log: Sequence[Envelope] | None = None
) -> Written:
    """Write a batch; `log` has all events in the order in which they were written to JetStream."""
    return await Store(engine, event_logs.CALLER_KEY).write(project(event_logs.entries(batch, log)))


async def _content(engine: AsyncEngine) -> Content:
    """Return all rows; when they were stored is left out."""
    content: Content = {}
    async with engine.connect() as connection:
        for table in EVENT_TABLES:
            columns = [column for column in table.columns if column.name != "stored_at"]
            order = [table.c.position] if table is tables.turns else []
            by_key = [column for column in table.primary_key.columns if column.name != "item_id"]
            rows = await connection.execute(select(*columns).order_by(*by_key, *order))
            content[table.name] = [dict(row) for row in rows.mappings()]
    return content


async def _empty(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"truncate {', '.join(table.name for table in EVENT_TABLES)}"))
