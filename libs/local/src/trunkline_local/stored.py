"""Reads a call back from Postgres, with the SQL that anybody could type."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

COMPLETE_LIMIT_S: Final = 60.0
"""Events reach Postgres within a second; a loaded machine may be slower."""

LOOK_AGAIN_S: Final = 0.05

CALL_SQL: Final = """\
select call_id, agent, model, outcome, reason, duration_ms, interruptions,
       events_expected
  from calls
 where call_id = :call_id"""

TURNS_SQL: Final = """\
select position, speaker, start_ms, response_ms, interrupted, heard_ms,
       coalesce(heard_text, text) as heard, text as said
  from turns
 where call_id = :call_id
 order by position"""

LATENCY_SQL: Final = """\
select twilio_to_gateway_ms, gateway_to_worker_ms, worker_to_model_ms, model_ms,
       model_to_worker_ms, worker_ms, worker_to_gateway_ms, gateway_to_twilio_ms, response_ms
  from turns
 where call_id = :call_id and response_ms is not null"""

_STORED_SQL: Final = """\
select (select events_expected from calls where call_id = :call_id and ended_at is not null) as expected,
       (select count(*)
          from events join calls using (call_started_at, call_id)
         where call_id = :call_id and array[attach, assign] = ended_from[1:2]) as stored"""

_SESSIONS_SQL: Final = """\
select data from events where call_id = :call_id and kind = 'model_connected' order by n"""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One call's rows."""

    call: Row[Any]
    turns: Sequence[Row[Any]]
    latencies: Sequence[Row[Any]]
    sessions: Sequence[dict[str, Any]]
    """What each `model_connected` event carried."""
    events: int


class NotStoredError(RuntimeError):
    """The call's rows did not become complete in time."""


async def read_call(database_url: str, call_id: str) -> StoredCall:
    """Return the call once every event of it is stored; raise `NotStoredError` when that takes too long."""
    engine = create_async_engine(database_url)
    try:
        events = await _wait_until_complete(engine, call_id)
        parameters = {"call_id": call_id}
        async with engine.connect() as connection:
            call = (await connection.execute(text(CALL_SQL), parameters)).one()
            turns = (await connection.execute(text(TURNS_SQL), parameters)).all()
            latencies = (await connection.execute(text(LATENCY_SQL), parameters)).all()
            sessions = (await connection.execute(text(_SESSIONS_SQL), parameters)).scalars().all()
        return StoredCall(call, turns, latencies, sessions, events)
    finally:
        await engine.dispose()


async def _wait_until_complete(engine: AsyncEngine, call_id: str) -> int:
    expected, stored = None, 0
    try:
        async with asyncio.timeout(COMPLETE_LIMIT_S):
            while expected is None or stored < expected:
                async with engine.connect() as connection:
                    counts = await connection.execute(text(_STORED_SQL), {"call_id": call_id})
                    expected, stored = counts.one()
                if expected is None or stored < expected:
                    await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise NotStoredError(
            f"Postgres holds {stored} of {'?' if expected is None else expected} events of {call_id} "
            f"after {COMPLETE_LIMIT_S} s"
        ) from None
    return stored
