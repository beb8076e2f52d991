import json
from typing import get_args, get_type_hints

import event_logs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import call_events
from trunkline_common.call_events import CallEnded, EventError
from trunkline_transcripts.entry import TEXTS, read

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


NAMES = {
    *(
        "caller",
        "called",
        "agent",
        "worker",
        "gateway",
        "stream_sid",
        "cause",
        "previous_fence",
        "model",
        "session_id",
    ),
    *(
        "item_id",
        "transcription",
        "tool_call_id",
        "name",
        "outcome",
        "status",
        "limit",
        "response_id",
        "price_date",
    ),
}
"""Fields of events that hold names, ids and words from closed lists; `reason` of the end of a call is one of these."""


@pytest.mark.parametrize("event_type", call_events.EVENT_TYPES)
def test_of_every_field_that_holds_text_it_is_known_whether_somebody_may_have_said_it(
    event_type: type[call_events.CallEvent],
) -> None:
    hints = get_type_hints(event_type)
    texts = {name for name in event_type.__struct_fields__ if str in (hints[name], *get_args(hints[name]))}

    known = TEXTS.get(event_type, frozenset()) | NAMES
    assert texts - known - ({"reason"} if event_type is CallEnded else set()) == set()


def test_the_number_leaves_the_event_and_goes_on_beside_it() -> None:
    (envelope,) = event_logs.log_of([event_logs.started()])

    entry = read(call_events.encode(envelope), 7, event_logs.CALLER_KEY)

    assert entry.caller_number == "+15550001111"
    assert entry.event == msgspec.structs.replace(
        event_logs.started(), caller=event_logs.CALLER_KEY.hash("+15550001111") or ""
    )


def test_what_only_a_newer_worker_tells_is_kept_and_redacted() -> None:
    known = {"kind": "dtmf", "at_ms": 1, "said": "jane@example.com", "more": [{"mail": "jane@example.com"}]}
    unknown = {"kind": "note", "said": "jane@example.com"}

    for data in (known, unknown):
        message = _altered(kind=data["kind"], data=data, redact=["emails", "names"])
        assert b"jane" not in bytes(read(message, 7, event_logs.CALLER_KEY).envelope.data)
        assert b"[email]" in bytes(read(message, 7, event_logs.CALLER_KEY).envelope.data)


def test_events_of_older_workers_are_left_as_they_are() -> None:
    fields = json.loads(
        call_events.encode(event_logs.log_of([event_logs.caller_turn(text="jane@example.com")])[0])
    )
    del fields["redact"], fields["line"]

    entry = read(json.dumps(fields).encode(), 7, event_logs.CALLER_KEY)

    assert entry.event == event_logs.caller_turn(text="jane@example.com")
