import random
from collections.abc import Iterable

import event_logs
import msgspec
import pytest
from event_logs import agent_turn, attached, caller_turn, ended, latency, log_of, model_connected, started
from trunkline_common import call_events
from trunkline_common.call_events import CallEvent, Envelope
from trunkline_common.frames import Fence
from trunkline_transcripts import tables
from trunkline_transcripts.entry import read
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
    project,
)
from trunkline_transcripts.store import STATEMENTS


def test_every_event_becomes_a_row_of_events() -> None:
    log = event_logs.call("CA1")

    rows = _project(log)[EventRow]

    assert [(row.n, row.kind) for row in rows if isinstance(row, EventRow)] == [(e.n, e.kind) for e in log]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (started(), StartedRow),
        (attached(), AttachedRow),
        (model_connected(), ModelRow),
        (ended(1), EndedRow),
        (caller_turn(), TurnRow),
        (agent_turn(), TurnRow),
        (latency(), LatencyRow),
    ],
)
def test_a_kind_that_tells_of_a_call_or_a_turn_has_a_row_of_its_own(
    event: CallEvent, kind: type[Row]
) -> None:
    assert set(_project(log_of([event]))) == {EventRow, kind}


def test_a_kind_that_tells_of_neither_only_lands_in_events() -> None:
    assert set(_project(log_of([event_logs.usage()]))) == {EventRow}


def test_what_the_agent_generated_and_what_was_heard_are_apart() -> None:
    (turn,) = _project(log_of([agent_turn(text="We open at nine.")]))[TurnRow]

    assert isinstance(turn, TurnRow)
    assert (turn.speaker, turn.text, turn.heard_text) == ("agent", "We open at nine.", "We open")


def test_the_newest_owner_tells_how_the_call_went() -> None:
    older = log_of([started("w1"), ended(2, reason="worker-error")], fence=Fence(1, 1))
    newer = log_of([started("w2"), ended(2)], fence=Fence(1, 2))

    rows = _project([*newer, *older])

    assert [row.worker for row in rows[StartedRow] if isinstance(row, StartedRow)] == ["w2"]
    assert [row.reason for row in rows[EndedRow] if isinstance(row, EndedRow)] == ["caller-hung-up"]


def test_a_call_is_answered_by_its_first_stream_and_held_by_its_last() -> None:
    first, second = log_of([attached("g1"), attached("g2")])

    (row,) = _project([second, first])[AttachedRow]

    assert isinstance(row, AttachedRow)
    assert row.gateway == "g2"
    assert row.answered_at == read(call_events.encode(first)).at


def test_a_late_transcript_fills_its_place() -> None:
    early, late = log_of([caller_turn(text=None), caller_turn(text="Hi.", revision=2)])

    for log in ([early, late], [late, early]):
        (turn,) = _project(log)[TurnRow]
        assert isinstance(turn, TurnRow)
        assert (turn.text, turn.revision) == ("Hi.", 2)


@pytest.mark.parametrize("seed", range(50))
def test_the_order_of_a_batch_does_not_matter(seed: int) -> None:
    log = event_logs.taken_over("CA1") + event_logs.call("CA2")

    assert _project(event_logs.shuffled(log, random.Random(seed))) == _project(log)


def test_rows_are_sorted_by_key_so_that_processes_lock_them_in_one_order() -> None:
    log = [*event_logs.call("CA3"), *event_logs.taken_over("CA1"), *event_logs.call("CA2")]

    for rows in _project(log).values():
        assert [row.key for row in rows] == sorted({row.key for row in rows})


def test_fields_are_columns_and_every_column_has_a_field() -> None:
    written: dict[str, set[str]] = {}
    for kind in STATEMENTS:
        written.setdefault(kind.table, set()).update(field.name for field in msgspec.structs.fields(kind))

    declared = {table.name: set(table.columns.keys()) for table in tables.metadata.sorted_tables}
    assert written | {"events": written["events"] | {"stored_at"}} == declared


def _project(log: Iterable[Envelope]) -> Rows:
    return project(read(call_events.encode(envelope)) for envelope in log)
