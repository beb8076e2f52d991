import random
from collections.abc import Iterable
from typing import Any

import event_logs
import msgspec
import pytest
from event_logs import agent_turn, attached, caller_turn, ended, latency, log_of, model_connected, started
from sqlalchemy import Table

from trunkline_common import call_events
from trunkline_common.call_events import CallEvent, DtmfReceived, Envelope
from trunkline_common.frames import Fence
from trunkline_transcripts import tables
from trunkline_transcripts.entry import read
from trunkline_transcripts.projection import CallRow, EventRow, Rows, TurnRow, UsageRow, project


def test_every_event_becomes_a_row_of_events() -> None:
    log = event_logs.call("CA1")

    rows = _project(log).events

    assert [(row.n, row.kind) for row in rows] == [(envelope.n, envelope.kind) for envelope in log]


@pytest.mark.parametrize(
    ("event", "table"),
    [
        (started(), "calls"),
        (attached(), "calls"),
        (model_connected(), "calls"),
        (ended(1), "calls"),
        (caller_turn(), "turns"),
        (agent_turn(), "turns"),
        (latency(), "turns"),
        (event_logs.usage(), "usage"),
    ],
)
def test_a_kind_may_tell_of_a_call_a_turn_or_a_response(event: CallEvent, table: str) -> None:
    assert _tables_with_rows(_project(log_of([event]))) == {"events", table}


def test_a_kind_that_tells_of_none_of_them_only_lands_in_events() -> None:
    assert _tables_with_rows(_project(log_of([DtmfReceived(at_ms=1_000)]))) == {"events"}


def test_the_tokens_of_a_response_are_a_row_of_usage() -> None:
    (row,) = _project(log_of([event_logs.usage("resp_1")], first_n=7)).usage

    assert (row.n, row.response_id, row.input_tokens, row.output_audio_tokens) == (7, "resp_1", 120, 60)


def test_what_the_agent_generated_and_what_was_heard_are_apart() -> None:
    (turn,) = _project(log_of([agent_turn(text="We open at nine.")])).turns

    assert (turn.speaker, turn.text, turn.heard_text) == ("agent", "We open at nine.", "We open")


def test_the_newest_owner_tells_how_the_call_went() -> None:
    older = log_of([started("w1"), ended(2, reason="worker-error")], fence=Fence(1, 1))
    newer = log_of([started("w2"), ended(2)], fence=Fence(1, 2))

    (call,) = _project([*newer, *older]).calls

    assert (call.worker, call.reason, call.ended_from) == ("w2", "caller-hung-up", (1, 2, 1))


def test_a_call_is_answered_by_its_first_stream_and_held_by_its_last() -> None:
    first, second = log_of([attached("g1"), attached("g2")])

    (call,) = _project([second, first]).calls

    assert call.gateway == "g2"
    assert call.answered_at == read(call_events.encode(first)).at


def test_a_late_transcript_fills_its_place() -> None:
    early, late = log_of([caller_turn(text=None), caller_turn(text="Hi.", revision=2)])

    for log in ([early, late], [late, early]):
        (turn,) = _project(log).turns
        assert (turn.text, turn.transcription, turn.revision) == ("Hi.", "completed", 2)


def test_a_latency_joins_its_turn() -> None:
    first, second = log_of([latency(), agent_turn()])

    for log in ([first, second], [second, first]):
        (turn,) = _project(log).turns
        assert (turn.text, turn.revision, turn.model_ms) == ("We open at nine.", 1, 390.25)


@pytest.mark.parametrize("seed", range(50))
def test_the_order_of_a_batch_does_not_matter(seed: int) -> None:
    log = event_logs.taken_over("CA1") + event_logs.call("CA2")

    assert _project(event_logs.shuffled(log, random.Random(seed))) == _project(log)


def test_rows_are_sorted_by_key_so_that_processes_lock_them_in_one_order() -> None:
    log = [*event_logs.call("CA3"), *event_logs.taken_over("CA1"), *event_logs.call("CA2")]

    rows = _project(log)

    for keys in (
        [row.key for row in rows.events],
        [row.key for row in rows.calls],
        [row.key for row in rows.turns],
    ):
        assert keys == sorted(set(keys))


@pytest.mark.parametrize(
    ("row", "table", "of_the_database"),
    [
        (EventRow, tables.events, {"stored_at"}),
        (CallRow, tables.calls, set()),
        (TurnRow, tables.turns, {"words"}),
        (UsageRow, tables.usage, set()),
    ],
)
def test_the_fields_of_a_row_are_the_columns_of_its_table(
    row: type[msgspec.Struct], table: Table, of_the_database: set[str]
) -> None:
    assert {field.name for field in msgspec.structs.fields(row)} == set(
        table.columns.keys()
    ) - of_the_database


@pytest.mark.parametrize(
    ("row", "table", "outside"),
    [(CallRow, tables.calls, {"answered_at"}), (TurnRow, tables.turns, {"words"})],
)
def test_every_column_is_in_the_key_or_in_one_group(
    row: type[CallRow | TurnRow], table: Table, outside: set[str]
) -> None:
    in_groups = [name for group in row.groups for name in (group.version, *group.columns)]

    assert len(in_groups) == len(set(in_groups))
    assert set(in_groups) == set(table.columns.keys()) - set(table.primary_key.columns.keys()) - outside


def _project(log: Iterable[Envelope]) -> Rows:
    return project(read(call_events.encode(envelope)) for envelope in log)


def _tables_with_rows(rows: Rows) -> set[str]:
    content: dict[str, Any] = rows._asdict()
    return {table for table, of_table in content.items() if of_table}
