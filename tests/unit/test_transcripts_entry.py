import json

import event_logs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import call_events
from trunkline_common.call_events import EventError
from trunkline_transcripts.entry import read

ENVELOPE = event_logs.log_of([event_logs.agent_turn()])[0]


def test_an_event_is_read_with_its_times() -> None:
    entry = read(call_events.encode(ENVELOPE), 7, event_logs.CALLER_KEY)

    assert entry.event == event_logs.agent_turn()
    assert entry.call_started_at.isoformat() == "2026-11-22T13:10:00.123000+00:00"
    assert entry.at.isoformat() == "2026-11-22T13:10:01.123000+00:00"


def test_an_unknown_kind_is_kept_for_those_who_know_it() -> None:
    entry = read(
        _altered(kind="coin_inserted", data={"kind": "coin_inserted", "cents": 25}), 7, event_logs.CALLER_KEY
    )

    assert entry.event is None
    assert json.loads(bytes(entry.envelope.data)) == {"kind": "coin_inserted", "cents": 25}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "truncated"),
        (b"hello", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "array"),
        (b'{"call_id": "CA1"}', "missing required field"),
        (b"[" * 200_000 + b"]" * 200_000, "array"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    ],
)
def test_what_is_no_event_is_refused(message: bytes, why: str) -> None:
    with pytest.raises(EventError, match=why):
        read(message, 7, event_logs.CALLER_KEY)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"v": 2}, "version 2"),
        ({"n": "one"}, "Expected `int`"),
        ({"fence": [1]}, "length 2"),
        ({"call_id": "CA1.*"}, "does not match"),
        ({"call_id": "CA\0"}, "does not match"),
        ({"kind": "turn agent", "data": 1}, "does not match"),
        ({"at_ms": 10**17}, "no Unix time"),
        ({"call_started_at_ms": -(10**17)}, "no Unix time"),
        ({"data": {"kind": "turn_agent"}}, "missing required field"),
        ({"data": {"kind": "dtmf", "at_ms": 1}}, "a turn_agent that holds a dtmf"),
    ],
)
def test_an_event_that_cannot_be_stored_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(EventError, match=why):
        read(_altered(**changes), 7, event_logs.CALLER_KEY)


def test_nul_characters_are_replaced_and_counted() -> None:
    event = event_logs.caller_turn(text="a\0b\0\0c \\u0000 \\\0")

    entry = read(call_events.encode(event_logs.log_of([event])[0]), 7, event_logs.CALLER_KEY)

    assert entry.event == event_logs.caller_turn(text="a\ufffdb\ufffd\ufffdc \\u0000 \\\ufffd")
    assert entry.nuls_replaced == 4


@given(st.text(st.sampled_from('\0\\u0"a'), max_size=30))
def test_nothing_but_nul_characters_is_replaced(text: str) -> None:
    entry = read(
        call_events.encode(event_logs.log_of([event_logs.caller_turn(text=text)])[0]),
        7,
        event_logs.CALLER_KEY,
    )

    assert entry.event == event_logs.caller_turn(text=text.replace("\0", "\ufffd"))
    assert entry.nuls_replaced == text.count("\0")


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused(message: bytes) -> None:
    with pytest.raises(EventError):
        read(message, 7, event_logs.CALLER_KEY)


def _altered(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(call_events.encode(ENVELOPE)) | changes)
