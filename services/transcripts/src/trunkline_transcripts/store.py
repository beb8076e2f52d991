"""The statements that write a batch: one transaction, the same rows however often and in whatever order.

A statement takes all of its rows as one JSON array and lets Postgres match fields to columns by name. That is as
fast as `unnest` of one array per column (33,000 rows/s either way in batches of 500, three times the speed of
single inserts), and there are no twenty parallel arrays to keep in step.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from trunkline_transcripts import database
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.projection import (
    AttachedRow,
    EndedRow,
    EventRow,
    LatencyRow,
    ModelRow,
    Row,
    Rows,
    StartedRow,
    TurnRow,
)

TRANSACTION_TIMEOUT_S: Final = 15
"""A full batch takes 20 ms; beyond this the server hangs or the link is dead."""

EVENTS: Final = text("""
    insert into events (call_started_at, call_id, attach, assign, n, at, kind, data)
    select call_started_at, call_id, attach, assign, n, at, kind, data
    from json_populate_recordset(null::events, cast(:rows as json))
    on conflict do nothing
""")

STARTED: Final = text("""
    insert into calls (call_started_at, call_id, caller, called, agent, worker, started_from)
    select call_started_at, call_id, caller, called, agent, worker, started_from
    from json_populate_recordset(null::calls, cast(:rows as json))
    on conflict (call_started_at, call_id) do update set
        caller = excluded.caller,
        called = excluded.called,
        agent = excluded.agent,
        worker = excluded.worker,
        started_from = excluded.started_from
    where coalesce(calls.started_from, '{}') < excluded.started_from
""")

# The one statement whose columns follow two rules: the newest stream, and the first answer.
ATTACHED: Final = text("""
    insert into calls (call_started_at, call_id, gateway, stream_sid, answered_at, attached_from)
    select call_started_at, call_id, gateway, stream_sid, answered_at, attached_from
    from json_populate_recordset(null::calls, cast(:rows as json))
    on conflict (call_started_at, call_id) do update set
        (gateway, stream_sid, attached_from) = (
            select newest.gateway, newest.stream_sid, newest.attached_from
            from (values
                (calls.gateway, calls.stream_sid, calls.attached_from),
                (excluded.gateway, excluded.stream_sid, excluded.attached_from)
            ) as newest (gateway, stream_sid, attached_from)
            order by newest.attached_from desc nulls last
            limit 1
        ),
        answered_at = least(calls.answered_at, excluded.answered_at)
    where coalesce(calls.attached_from, '{}') < excluded.attached_from
       or excluded.answered_at < calls.answered_at
""")

MODEL: Final = text("""
    insert into calls (call_started_at, call_id, model, model_session_id, model_connect_ms, model_from)
    select call_started_at, call_id, model, model_session_id, model_connect_ms, model_from
    from json_populate_recordset(null::calls, cast(:rows as json))
    on conflict (call_started_at, call_id) do update set
        model = excluded.model,
        model_session_id = excluded.model_session_id,
        model_connect_ms = excluded.model_connect_ms,
        model_from = excluded.model_from
    where coalesce(calls.model_from, '{}') < excluded.model_from
""")

ENDED: Final = text("""
    insert into calls (
        call_started_at, call_id,
        ended_at, duration_ms, outcome, reason, interruptions, events_expected, ended_from
    )
    select
        call_started_at, call_id,
        ended_at, duration_ms, outcome, reason, interruptions, events_expected, ended_from
    from json_populate_recordset(null::calls, cast(:rows as json))
    on conflict (call_started_at, call_id) do update set
        ended_at = excluded.ended_at,
        duration_ms = excluded.duration_ms,
        outcome = excluded.outcome,
        reason = excluded.reason,
        interruptions = excluded.interruptions,
        events_expected = excluded.events_expected,
        ended_from = excluded.ended_from
    where coalesce(calls.ended_from, '{}') < excluded.ended_from
""")

TURNS: Final = text("""
    insert into turns (
        call_started_at, call_id, attach, assign, item_id,
        speaker, position, revision, start_ms, end_ms, text,
        heard_text, generated_ms, heard_ms, interrupted, transcription
    )
    select
        call_started_at, call_id, attach, assign, item_id,
        speaker, position, revision, start_ms, end_ms, text,
        heard_text, generated_ms, heard_ms, interrupted, transcription
    from json_populate_recordset(null::turns, cast(:rows as json))
    on conflict (call_started_at, call_id, attach, assign, item_id) do update set
        speaker = excluded.speaker,
        position = excluded.position,
        revision = excluded.revision,
        start_ms = excluded.start_ms,
        end_ms = excluded.end_ms,
        text = excluded.text,
        heard_text = excluded.heard_text,
        generated_ms = excluded.generated_ms,
        heard_ms = excluded.heard_ms,
        interrupted = excluded.interrupted,
        transcription = excluded.transcription
    where turns.revision < excluded.revision
""")

# A latency that is there already came from a copy of the same event.
LATENCIES: Final = text("""
    insert into turns (
        call_started_at, call_id, attach, assign, item_id,
        speaker, position, revision,
        response_ms, twilio_to_gateway_ms, gateway_to_worker_ms, worker_to_model_ms, model_ms,
        model_to_worker_ms, worker_to_gateway_ms, gateway_to_twilio_ms, worker_ms
    )
    select
        call_started_at, call_id, attach, assign, item_id,
        speaker, position, revision,
        response_ms, twilio_to_gateway_ms, gateway_to_worker_ms, worker_to_model_ms, model_ms,
        model_to_worker_ms, worker_to_gateway_ms, gateway_to_twilio_ms, worker_ms
    from json_populate_recordset(null::turns, cast(:rows as json))
    on conflict (call_started_at, call_id, attach, assign, item_id) do update set
        response_ms = excluded.response_ms,
        twilio_to_gateway_ms = excluded.twilio_to_gateway_ms,
        gateway_to_worker_ms = excluded.gateway_to_worker_ms,
        worker_to_model_ms = excluded.worker_to_model_ms,
        model_ms = excluded.model_ms,
        model_to_worker_ms = excluded.model_to_worker_ms,
        worker_to_gateway_ms = excluded.worker_to_gateway_ms,
        gateway_to_twilio_ms = excluded.gateway_to_twilio_ms,
        worker_ms = excluded.worker_ms
    where turns.response_ms is null
""")

STATEMENTS: Final[Mapping[type[Row], TextClause]] = {
    EventRow: EVENTS,
    StartedRow: STARTED,
    AttachedRow: ATTACHED,
    ModelRow: MODEL,
    EndedRow: ENDED,
    TurnRow: TURNS,
    LatencyRow: LATENCIES,
}
"""In this order, in every process: two that write the same rows wait for each other instead of deadlocking."""

Written = Mapping[type[Row], int]
"""Rows that were inserted or changed. The others were there already, or newer."""


class StoreError(Exception):
    """Nothing of the batch was written, or nobody knows; the text may be logged."""

    def __init__(self, trouble: Trouble, description: str) -> None:
        super().__init__(description)
        self.trouble = trouble


class Store:
    """The writing side of the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, rows: Rows) -> Written:
        """Write the rows in one transaction; on return it is committed. Raises `StoreError`."""
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                return await self._transaction(rows)
        except database.ERRORS as error:
            trouble = database.trouble(error)
            if trouble is not Trouble.BAD_DATA:
                # The next attempt connects anew: behind a failover the same address is another server.
                await self._engine.dispose()
            raise StoreError(trouble, database.describe(error)) from error

    async def _transaction(self, rows: Rows) -> Written:
        written: dict[type[Row], int] = {}
        async with self._engine.begin() as connection:
            for kind, statement in STATEMENTS.items():
                if of_this_kind := rows.get(kind):
                    array = msgspec.json.encode(of_this_kind).decode()
                    result = await connection.execute(statement, {"rows": array})
                    assert isinstance(result, CursorResult)
                    written[kind] = result.rowcount
        return written
