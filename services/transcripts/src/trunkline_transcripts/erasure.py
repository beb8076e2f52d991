"""Erases calls wherever they are: the event log, the dead letters, the tables. The same again changes nothing.

The log goes first: what is gone there cannot be stored any more. Then the service is given time to finish what it has in its
hand, and the rows go last, because they tell which calls there were: an erasure that fails in between can be repeated.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline_common import call_events, subjects
from trunkline_transcripts import dead_letters
from trunkline_transcripts.deletion import CallKey, delete_calls

SETTLE_LIMIT_S: Final = 10
"""A batch in the service's hand is stored within this, or Postgres is away and nothing is erased there either."""
LOOK_AGAIN_S: Final = 0.1

_ENDED: Final = call_events.CallEnded.__struct_config__.tag


class Found(NamedTuple):
    """A call that is to be erased."""

    call_id: str
    rows: Sequence[CallKey]
    """Where its rows are; none: it is in the event log only, or nowhere."""
    is_live: bool
    """Whether its worker may go on writing."""


class Places(NamedTuple):
    """Where calls are."""

    jetstream: JetStreamContext
    engine: AsyncEngine


Eraser = Callable[[Places, Sequence[Found]], Awaitable[Counter[str]]]
"""Erases calls in one place; returns what there was of them, by its name for the report."""


async def find_caller(places: Places, number: str) -> list[Found]:
    """Return the stored calls of a caller."""
    async with places.engine.connect() as connection:
        found = await connection.scalars(_OF_CALLER, {"number": number})
        call_ids = found.all()
    return [await find_call(places, call_id) for call_id in call_ids]


async def find_call(places: Places, call_id: str) -> Found:
    """Return a call, whether anything is there of it or not."""
    async with places.engine.connect() as connection:
        calls = (await connection.execute(_CALL, {"call_id": call_id})).all()
        rows = calls or (await connection.execute(_EVENTS, {"call_id": call_id})).all()
    is_live = any(ended_at is None for _, _, ended_at in rows)
    if not rows:
        is_live = bool(await _logged(places.jetstream, subjects.every_event_of(call_id))) and not (
            await _logged(places.jetstream, subjects.event(call_id, str(_ENDED)))
        )
    return Found(call_id, [CallKey(began, name) for began, name, _ in rows], is_live)


async def erase(places: Places, found: Sequence[Found]) -> Counter[str]:
    """Erase the calls; return what there was of them, by place."""
    erased: Counter[str] = Counter()
    for eraser in ERASERS:
        erased += await eraser(places, found)
    return erased


async def retired_months(engine: AsyncEngine) -> list[str]:
    """Return the tables of calls that were detached: what they hold is not looked at here."""
    async with engine.connect() as connection:
        return list((await connection.scalars(_RETIRED)).all())


async def _erase_log(places: Places, found: Sequence[Found]) -> Counter[str]:
    erased: Counter[str] = Counter()
    for call in found:
        subject = subjects.every_event_of(call.call_id)
        erased["messages of the event log"] += await _logged(places.jetstream, subject)
        try:
            await places.jetstream.purge_stream(subjects.EVENT_STREAM, subject=subject)
        except NotFoundError:
            break
    await _settled(places.jetstream)
    return erased


async def _erase_letters(places: Places, found: Sequence[Found]) -> Counter[str]:
    erased: Counter[str] = Counter()
    beginnings = tuple(subjects.every_event_of(call.call_id).removesuffix(">") for call in found)
    try:
        async for letter in dead_letters.each(places.jetstream):
            if letter.subject.startswith(beginnings):
                await dead_letters.delete(places.jetstream, letter.number)
                erased["dead letters"] += 1
    except NotFoundError:
        pass
    return erased


async def _erase_rows(places: Places, found: Sequence[Found]) -> Counter[str]:
    erased: Counter[str] = Counter()
    for call in found:
        async with places.engine.begin() as connection:
            # What the service had in its hand may have made the call's first row since.
            keys = call.rows or await _keys(connection, call.call_id)
            counted = await delete_calls(connection, keys or [CallKey(_NEVER, call.call_id)])
        erased.update({f"rows of {table}": rows for table, rows in counted.items()})
    return erased


ERASERS: Final[tuple[Eraser, ...]] = (_erase_log, _erase_letters, _erase_rows)
"""Every place, in order. Whoever adds a place where calls are kept adds its eraser before the last."""


async def _keys(connection: AsyncConnection, call_id: str) -> list[CallKey]:
    calls = await connection.execute(_CALL, {"call_id": call_id})
    return [CallKey(began, name) for began, name, _ in calls]


async def _logged(jetstream: JetStreamContext, subject: str) -> int:
    """Return how many messages the event log has under a subject."""
    try:
        info = await jetstream.stream_info(subjects.EVENT_STREAM, subjects_filter=subject)
    except NotFoundError:
        return 0
    return sum((info.state.subjects or {}).values())


async def _settled(jetstream: JetStreamContext) -> None:
    """Wait until the service has nothing in its hand that it fetched before now, or it takes too long."""
    try:
        async with asyncio.timeout(SETTLE_LIMIT_S):
            last = (await jetstream.stream_info(subjects.EVENT_STREAM)).state.last_seq
            while True:
                consumer = await jetstream.consumer_info(subjects.EVENT_STREAM, subjects.STORE_CONSUMER)
                floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
                if not consumer.num_ack_pending or floor >= last:
                    return
                await asyncio.sleep(LOOK_AGAIN_S)
    except (NotFoundError, TimeoutError):
        return


_NEVER: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
"""The beginning of no call: without a row elsewhere, only its dead letters may have rows."""

_OF_CALLER: Final = text("select distinct call_id from callers where number = :number order by call_id")
_CALL: Final = text("select call_started_at, call_id, ended_at from calls where call_id = :call_id")
_EVENTS: Final = text("""
    select call_started_at, call_id, max(at) filter (where kind = 'call_ended')
    from events
    where call_id = :call_id
    group by call_started_at, call_id
""")
"""A call whose first events could not be stored has no row in `calls`."""
_RETIRED: Final = text("""
    select relname
    from pg_class
    where relnamespace = current_schema()::regnamespace and relkind = 'r' and not relispartition
      and relname ~ '^calls_[0-9]{4}_[0-9]{2}$'
    order by relname
""")
