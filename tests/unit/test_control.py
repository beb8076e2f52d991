import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import control
from trunkline_common.control import (
    AssignReply,
    AssignRequest,
    Checkpoint,
    ControlError,
    HangUp,
    Heartbeat,
    LineReport,
    NextStep,
    Own,
    OwnerReply,
    OwnerRequest,
    PingReply,
    StopReason,
    decode,
    encode,
)
from trunkline_common.frames import Fence

CALL_SID = "CA0123456789abcdef0123456789abcdef"

MESSAGES = [
    AssignRequest(
        call_id=CALL_SID,
        fence=Fence(1, 2),
        started_at_ms=1_795_366_735_123,
        caller="+15550100",
        called="+15550199",
    ),
    AssignReply(ok=False, worker="wk-1", reason="full"),
    OwnerRequest(op="who"),
    OwnerRequest(op="attach", fence=Fence(2, 0), gateway="gw-1", stream_sid="MZ01"),
    OwnerReply(ok=True, worker="wk-1", fence=Fence(2, 1), state="active"),
    OwnerReply(ok=True, worker="wk-1", fence=Fence(2, 1), state="ended", next=NextStep.FALLBACK),
    PingReply(worker="wk-1", consumed={CALL_SID: 49}),
    Heartbeat(worker="wk-1", active=3, capacity=100, draining=False),
    HangUp(next=NextStep.HANG_UP),
    LineReport(twilio_rtt_ms=41.5),
    LineReport(),
    Checkpoint(needed_from_ms=4_020, state=b'{"v":1}'),
    Own(gateway="gw-1", stream_sid="MZ01", generation=3, mark_played="3:item_1:400", checkpoint=b"{}"),
]

by_kind = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


@by_kind
def test_what_is_sent_is_received(message: Any) -> None:
    assert decode(encode(message), type(message)) == message


def test_on_the_wire() -> None:
    """What a process of the last release sends and expects; what was added since has defaults."""
    assert (
        json.loads(encode(MESSAGES[0])).items()
        >= {
            "v": 1,
            "call_id": CALL_SID,
            "fence": [1, 2],
            "started_at_ms": 1_795_366_735_123,
            "caller": "+15550100",
            "called": "+15550199",
        }.items()
    )


class TestOldAndNewPeers:
    @by_kind
    def test_an_old_reader_ignores_a_field_added_later(self, message: Any) -> None:
        newer = json.loads(encode(message)) | {"added_later": {"deep": [1, 2]}}

        assert decode(json.dumps(newer).encode(), type(message)) == message

    @by_kind
    def test_a_new_reader_fills_in_what_an_old_writer_does_not_send(self, message: Any) -> None:
        """Every field with a default may be missing; the first release's fields are required."""
        older = json.loads(encode(message))
        optional = [field for field in msgspec.structs.fields(message) if not field.required]
        for field in optional:
            older.pop(field.name)

        received = decode(json.dumps(older).encode(), type(message))

        assert all(getattr(received, field.name) == field.default for field in optional)

    @by_kind
    def test_a_message_of_a_newer_version_is_refused(self, message: Any) -> None:
        newer = json.loads(encode(message)) | {"v": 2}

        with pytest.raises(ControlError, match=f"{type(message).__name__} version 2, this process reads 1"):
            decode(json.dumps(newer).encode(), type(message))

    def test_the_version_is_named_even_when_the_newer_shape_cannot_be_read(self) -> None:
        with pytest.raises(ControlError, match="version 2"):
            decode(b'{"v": 2, "call": {"id": "CA1"}}', AssignRequest)

    def test_a_new_word_in_a_closed_list_is_refused(self) -> None:
        """It changes what the receiver must do, so it takes a new version."""
        with pytest.raises(ControlError, match="HangUp"):
            decode(b'{"v": 1, "next": "sing"}', HangUp)


class TestBadBytes:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b"{",
            b"{}",
            b'{"op": "who"} and more',
            b'{"op": "steal"}',
            b'{"op": "who", "fence": [1]}',
            b'{"op": "who", "fence": [1, 2, 3]}',
            b'{"op": "who", "fence": ["1", "2"]}',
            b'{"op": "who", "gateway": "\xff"}',
            b'{"op": "who", "v": "1"}',
            b'{"op": "who", "x": ' + b"[" * 100_000,
        ],
        ids=lambda data: repr(data[:30]),
    )
    def test_what_is_no_message_is_refused(self, data: bytes) -> None:
        with pytest.raises(ControlError):
            decode(data, OwnerRequest)

    @given(message=st.sampled_from(MESSAGES), data=st.binary(max_size=60))
    def test_random_bytes_raise_nothing_else(self, message: Any, data: bytes) -> None:
        with pytest.raises(ControlError):
            decode(data, type(message))

    @given(
        message=st.sampled_from(MESSAGES),
        content=st.dictionaries(
            st.sampled_from([name for message in MESSAGES for name in message.__struct_fields__]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
                ),
            ),
        ),
    )
    def test_wrong_types_raise_nothing_else(self, message: Any, content: dict[str, Any]) -> None:
        try:
            received = decode(json.dumps(content).encode(), type(message))
        except ControlError:
            return
        assert decode(encode(received), type(message)) == received

    def test_the_reason_does_not_repeat_the_caller_s_number(self) -> None:
        sent = json.loads(encode(MESSAGES[0])) | {"started_at_ms": "+15550100"}
        with pytest.raises(ControlError) as refusal:
            decode(json.dumps(sent).encode(), AssignRequest)
        assert "5550100" not in str(refusal.value)


def test_messages_cannot_be_changed_after_they_were_received() -> None:
    with pytest.raises(AttributeError):
        MESSAGES[0].v = 2  # type: ignore[misc]  # the point of the test


def test_a_stop_reason_is_the_payload_of_a_stop_frame_as_it_is() -> None:
    assert StopReason("caller-hung-up") is StopReason.CALLER_HUNG_UP
    assert all(reason.value.isascii() and reason.value == reason.value.lower() for reason in StopReason)
    assert control.VERSION == 1
