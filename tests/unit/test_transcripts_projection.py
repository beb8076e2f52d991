import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import event_logs
import msgspec
import pytest
from event_logs import agent_turn, attached, caller_turn, ended, latency, log_of, model_connected, started

from trunkline_common.call_events import CallEvent, DtmfReceived, Envelope
from trunkline_common.frames import Fence
from trunkline_transcripts import tables
from trunkline_transcripts.projection import project
from trunkline_transcripts.rows import (
    ROW_TYPES,
    CallRow,
    EventRow,
    ModelSessionRow,
    Row,
    ToolCallRow,
    TurnRow,
    UsageRow,
)

R = TypeVar("R", bound=Row)


def test_every_event_becomes_a_row_of_events() -> None:
    log = event_logs.call("CA1")

    rows = _rows(EventRow, log)

    assert [(row.n, row.kind) for row in rows] == [(envelope.n, envelope.kind) for envelope in log]


@pytest.mark.parametrize(
    ("event", "tables"),
    [
        (started(), {"calls", "callers", "owners"}),
        (attached(), {"calls", "owners"}),
        (event_logs.went_on(), {"calls", "owners", "takeovers"}),
        (model_connected(), {"calls", "model_sessions"}),
        (event_logs.model_lost(), {"model_sessions"}),
        (ended(1), {"calls", "owners"}),
        (caller_turn(), {"turns"}),
        (agent_turn(), {"turns"}),
        (latency(), {"turns"}),
        (event_logs.usage(), {"usage"}),
        (event_logs.transcription_usage(), {"transcription_usage"}),
        (event_logs.tool_called(), {"tool_calls"}),
        (event_logs.tool_returned(), {"tool_calls"}),
        (event_logs.transfer(), {"transfers"}),
        (event_logs.limit(), {"limits_reached"}),
    ],
)
def test_a_kind_tells_of_its_tables(event: CallEvent, tables: set[str]) -> None:
    assert _tables_with_rows(log_of([event])) == {"events", *tables}


def test_a_kind_that_tells_of_none_of_them_only_lands_in_events() -> None:
    assert _tables_with_rows(log_of([DtmfReceived(at_ms=1_000)])) == {"events"}


def test_the_tokens_of_a_response_are_a_row_of_usage() -> None:
    (row,) = _rows(UsageRow, log_of([event_logs.usage("resp_1")], first_n=7))

    assert (row.n, row.response_id, row.input_tokens, row.output_audio_tokens) == (7, "resp_1", 120, 60)


def test_a_cost_that_nobody_knows_is_null_and_not_nothing() -> None:
    unpriced = msgspec.structs.replace(event_logs.usage(), cost_usd=None, price_date="", model="")

    (row,) = _rows(UsageRow, log_of([unpriced]))

    assert (row.cost_usd, row.price_date, row.model) == (None, None, None)


def test_a_tool_call_and_its_answer_are_one_row_in_whatever_order_and_under_whatever_owner() -> None:
    called = log_of([event_logs.tool_called("call_7")], fence=Fence(1, 1))
    returned = log_of([event_logs.tool_returned("call_7")], fence=Fence(1, 2))

    for log in ([*called, *returned], [*returned, *called]):
        (row,) = _rows(ToolCallRow, log)
        assert (row.name, row.arguments, row.outcome, row.output, row.http_status) == (
            "free_slots",
            {"day": "Saturday"},
            "ok",
            '["10:00"]',
            200,
        )


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("{'a': 1}", "{'a': 1}"),
        ("", ""),
        (r'{"a": "\u0000"}', r'{"a": "\u0000"}'),
        ('{"a": 1e999999}', '{"a": 1e999999}'),
        (r'{"a": "\ud800"}', r'{"a": "\ud800"}'),
    ],
)
def test_arguments_are_json_where_the_model_wrote_json(written: str, kept: object) -> None:
    (row,) = _rows(ToolCallRow, log_of([event_logs.tool_called(arguments=written)]))

    assert row.arguments == kept


def test_a_session_with_the_model_knows_how_it_began_and_ended() -> None:
    first, second = log_of([model_connected(3), event_logs.model_lost(3)])

    for log in ([first, second], [second, first]):
        (row,) = _rows(ModelSessionRow, log)
        assert (row.session, row.cause, row.lost_reason, row.lost_fatal) == (3, "start", "close-1006", False)


def test_what_the_agent_generated_and_what_was_heard_are_apart() -> None:
    (turn,) = _rows(TurnRow, log_of([agent_turn(text="We open at nine.")]))

    assert (turn.speaker, turn.text, turn.heard_text) == ("agent", "We open at nine.", "We open")


def test_the_newest_owner_tells_how_the_call_went() -> None:
    older = log_of([started("w1"), ended(2, reason="worker-error")], fence=Fence(1, 1))
    newer = log_of([started("w2"), ended(2)], fence=Fence(1, 2))

    (call,) = _rows(CallRow, [*newer, *older])

    assert (call.worker, call.reason, call.ended_from) == ("w2", "caller-hung-up", (1, 2, 1))


def test_a_call_is_answered_by_its_first_stream_and_held_by_its_last() -> None:
    first, second = log_of([attached("g1"), attached("g2")])

    (call,) = _rows(CallRow, [second, first])

    assert call.gateway == "g2"
    assert call.answered_at == event_logs.entries([first])[0].at


def test_a_late_transcript_fills_its_place() -> None:
    early, late = log_of([caller_turn(text=None), caller_turn(text="Hi.", revision=2)])

    for log in ([early, late], [late, early]):
        (turn,) = _rows(TurnRow, log)
        assert (turn.text, turn.transcription, turn.revision) == ("Hi.", "completed", 2)


def test_a_latency_joins_its_turn() -> None:
    first, second = log_of([latency(), agent_turn()])

    for log in ([first, second], [second, first]):
        (turn,) = _rows(TurnRow, log)
        assert (turn.text, turn.revision, turn.model_ms) == ("We open at nine.", 1, 390.25)


@pytest.mark.parametrize("seed", range(50))
def test_the_order_of_a_batch_does_not_matter(seed: int) -> None:
    log = event_logs.taken_over("CA1") + event_logs.call("CA2")

    assert _project(event_logs.shuffled(log, random.Random(seed)), log) == _project(log)


def test_rows_are_sorted_by_key_so_that_processes_lock_them_in_one_order() -> None:
    log = [*event_logs.call("CA3"), *event_logs.taken_over("CA1"), *event_logs.call("CA2")]

    rows = _project(log)

    assert set(rows) == set(ROW_TYPES)
    for of_table in rows.values():
        keys = [row.key for row in of_table]
        assert keys == sorted(set(keys))


OF_THE_DATABASE = {"caller", "stored_at", "superseded", "words"}


@pytest.mark.parametrize("row_type", ROW_TYPES)
def test_the_fields_of_a_row_are_the_columns_of_its_table(row_type: type[Row]) -> None:
    table = tables.metadata.tables[row_type.table]

    assert set(row_type.__struct_fields__) == set(table.columns.keys()) - OF_THE_DATABASE
    assert row_type.key_columns == tuple(table.primary_key.columns.keys())


def test_every_table_has_its_rows() -> None:
    made_from_no_event = {tables.dead_letters.name, tables.caller_hash_key.name, tables.turn_words.name}

    assert {row_type.table for row_type in ROW_TYPES} | made_from_no_event == set(tables.metadata.tables)


@pytest.mark.parametrize("row_type", [row_type for row_type in ROW_TYPES if row_type.groups])
def test_every_column_is_in_the_key_or_in_one_group(row_type: type[Row]) -> None:
    in_groups = [name for group in row_type.groups for name in (group.version, *group.columns)]

    assert len(in_groups) == len(set(in_groups))
    assert {*in_groups, *row_type.first, *row_type.key_columns} == set(row_type.__struct_fields__)


def _project(
    batch: Iterable[Envelope], log: Sequence[Envelope] | None = None
) -> Mapping[type[Row], Sequence[Row]]:
    return project(event_logs.entries(batch, log))


def _rows(row_type: type[R], log: Iterable[Envelope]) -> list[R]:
    rows = _project(log).get(row_type, [])
    assert all(isinstance(row, row_type) for row in rows)
    return [row for row in rows if isinstance(row, row_type)]


def _tables_with_rows(log: Iterable[Envelope]) -> set[str]:
    return {row_type.table for row_type, rows in _project(log).items() if rows}
