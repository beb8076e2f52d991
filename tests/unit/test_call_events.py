import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import subjects
from trunkline_common.bus import EVENT_BYTES_MAX
from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallEnded,
    CallerTurn,
    CallEvent,
    CallStarted,
    CallTakenOver,
    DtmfReceived,
    Envelope,
    EventError,
    LimitReached,
    ModelConnected,
    ModelLost,
    ToolCalled,
    ToolOutcome,
    ToolReturned,
    TranscriptionUsage,
    TransferChanged,
    TurnLatency,
    Usage,
    decode,
    encode,
    kind_of,
    open_envelope,
    seal,
)
from trunkline_common.frames import Fence
from trunkline_common.verdict import Outcome, Verdict

CALL_SID = "CA0123456789abcdef0123456789abcdef"
KINDS = get_args(CallEvent)

DTMF = DtmfReceived(at_ms=5000)
EVENTS: list[Any] = [
    CallStarted(caller="+15550100", called="+15550199", agent="desk", worker="wk-1"),
    CallAttached(gateway="gw-1", stream_sid="MZ01"),
    CallTakenOver(worker="wk-2", cause="worker-lost", previous_fence="1.1", items=4, lost_ms=212.5),
    ModelConnected(session=1, model="m", session_id="sess_1", connect_ms=312.5, media_start_ms=40),
    ModelLost(session=1, reason="closed"),
    CallerTurn(
        item_id="item_1", position=1, start_ms=900, end_ms=2100, text="Grüß Gott.", transcription="completed"
    ),
    AgentTurn(
        item_id="item_2",
        position=2,
        start_ms=2500,
        end_ms=4000,
        generated_text="Hello, this is Robin.",
        heard_text="Hello, this",
        generated_ms=2200,
        heard_ms=1500,
        interrupted=True,
    ),
    TurnLatency(
        item_id="item_2",
        position=2,
        response_ms=412.0,
        twilio_to_gateway_ms=None,
        gateway_to_worker_ms=0.4,
        worker_to_model_ms=12.0,
        model_ms=380.0,
        model_to_worker_ms=12.0,
        worker_to_gateway_ms=0.4,
        gateway_to_twilio_ms=None,
        worker_ms=1.2,
    ),
    ToolCalled(tool_call_id="call_1", item_id="item_3", name="book", arguments="{}", at_ms=3000),
    ToolReturned(
        tool_call_id="call_1", name="book", outcome=ToolOutcome.OK, output="booked", duration_ms=80.5
    ),
    TransferChanged(target="front-desk", status="dialing", at_ms=4000),
    LimitReached(limit="minutes", at_ms=4500),
    Usage(
        response_id="resp_1",
        input_tokens=9,
        input_text_tokens=4,
        input_audio_tokens=5,
        cached_tokens=0,
        output_tokens=7,
        output_text_tokens=2,
        output_audio_tokens=5,
    ),
    TranscriptionUsage(item_id="item_1", model="gpt-realtime-whisper", seconds=3.0, cost_usd=0.001),
    DTMF,
    CallEnded(
        outcome=Outcome.SUCCESS,
        reason="caller-hung-up",
        duration_ms=20_000,
        interruptions=1,
        events_expected=12,
    ),
]

of_every_kind = pytest.mark.parametrize("event", EVENTS, ids=kind_of)


def sealed(event: Any, n: int = 7) -> Envelope:
    return seal(
        event,
        call_id=CALL_SID,
        call_started_at_ms=1_795_366_735_123,
        fence=Fence(1, 2),
        n=n,
        at_ms=1_795_366_736_000,
    )


def test_the_events_above_are_one_of_each_kind() -> None:
    assert [type(event) for event in EVENTS] == list(KINDS)


@of_every_kind
def test_an_event_comes_back_out_of_its_envelope(event: Any) -> None:
    envelope = decode(encode(sealed(event)))

    assert envelope == sealed(event)
    assert open_envelope(envelope) == event


@of_every_kind
def test_a_kind_is_a_token_of_a_subject(event: Any) -> None:
    assert subjects.event(CALL_SID, kind_of(event)).endswith(f".{sealed(event).kind}")


@of_every_kind
def test_texts_too_long_for_the_log_are_cut(event: Any) -> None:
    texts = [name for name in event.__struct_fields__ if type(getattr(event, name)) is str]
    endless = msgspec.structs.replace(event, **dict.fromkeys(texts, "\x00" * EVENT_BYTES_MAX))

    envelope = sealed(endless)

    assert len(encode(envelope)) < EVENT_BYTES_MAX
    assert type(open_envelope(envelope)) is type(event)


def test_on_the_wire() -> None:
    """What lies in streams and tables already."""
    assert json.loads(encode(sealed(EVENTS[1]))) == {
        "v": 1,
        "call_id": CALL_SID,
        "call_started_at_ms": 1_795_366_735_123,
        "fence": [1, 2],
        "n": 7,
        "at_ms": 1_795_366_736_000,
        "kind": "call_attached",
        "data": {"kind": "call_attached", "gateway": "gw-1", "stream_sid": "MZ01"},
        "redact": [],
        "line": "",
    }


class TestMessageId:
    def test_is_the_same_for_a_retry(self) -> None:
        assert sealed(EVENTS[0]).message_id == sealed(EVENTS[0]).message_id == f"{CALL_SID}-1.2-7"

    def test_differs_for_another_event_and_another_fence(self) -> None:
        first = sealed(EVENTS[0])
        others = [
            sealed(EVENTS[0], n=8),
            msgspec.structs.replace(first, fence=Fence(1, 27)),
            msgspec.structs.replace(first, fence=Fence(11, 2)),
            msgspec.structs.replace(first, call_id="CA2"),
        ]
        assert first.message_id not in {other.message_id for other in others}


class TestOldAndNewPeers:
    @of_every_kind
    def test_fields_added_later_are_ignored_in_the_envelope_and_inside(self, event: Any) -> None:
        newer = json.loads(encode(sealed(event)))
        newer["added_later"] = True
        newer["data"]["added_later"] = [1]

        assert open_envelope(decode(json.dumps(newer).encode())) == event

    def test_fields_that_an_old_writer_did_not_know_have_defaults(self) -> None:
        older = json.loads(encode(sealed(EVENTS[5])))
        del older["v"], older["data"]["revision"]

        event = open_envelope(decode(json.dumps(older).encode()))

        assert isinstance(event, CallerTurn)
        assert event.revision == 1

    def test_an_unknown_kind_keeps_its_place_unread(self) -> None:
        newer = json.loads(encode(sealed(EVENTS[0]))) | {
            "kind": "hold_music",
            "data": {"kind": "hold_music", "name": "book"},
        }

        envelope = decode(json.dumps(newer).encode())

        assert open_envelope(envelope) is None
        assert envelope.n == 7
        assert json.loads(bytes(envelope.data))["name"] == "book"

    def test_a_newer_version_is_refused_by_its_number_whatever_its_shape(self) -> None:
        with pytest.raises(EventError, match="event version 2, this process reads 1"):
            decode(b'{"v": 2, "call": {"id": "CA1"}}')


class TestBadBytes:
    @of_every_kind
    def test_a_known_kind_without_its_fields_is_refused(self, event: Any) -> None:
        envelope = sealed(event)
        for field in msgspec.structs.fields(event):
            content = json.loads(bytes(envelope.data))
            del content[field.name]
            incomplete = msgspec.structs.replace(envelope, data=msgspec.Raw(json.dumps(content).encode()))
            if field.required:
                with pytest.raises(EventError, match=f"no {envelope.kind}: .*{field.name}"):
                    open_envelope(incomplete)
            else:
                assert open_envelope(incomplete) is not None

    def test_an_envelope_that_announces_another_kind_is_refused(self) -> None:
        envelope = msgspec.structs.replace(sealed(DTMF), kind="usage")

        with pytest.raises(EventError, match="a usage that holds a dtmf"):
            open_envelope(envelope)

    @pytest.mark.parametrize(
        "content",
        [
            b"[]",
            b"null",
            b"{}",
            b'{"kind": "dtmf"',
            b'{"kind": 3}',
            b'{"kind": "dtmf", "at_ms": 1.5}',
            b"\xff",
        ],
    )
    def test_content_that_is_no_event_is_refused(self, content: bytes) -> None:
        with pytest.raises(EventError, match="no dtmf"):
            open_envelope(msgspec.structs.replace(sealed(DTMF), data=msgspec.Raw(content)))

    def test_text_that_is_no_utf_8_is_refused_when_it_is_opened(self) -> None:
        """The envelope's reader does not look inside, so the bytes get that far."""
        message = encode(sealed(EVENTS[1])).replace(b"gw-1", b"gw-\xff")

        with pytest.raises(EventError, match="no call_attached"):
            open_envelope(decode(message))

    @pytest.mark.parametrize("depth", [b"[", b'{"a":'])
    def test_endless_nesting_is_refused(self, depth: bytes) -> None:
        nested = depth * 100_000
        with pytest.raises(EventError, match="nested too deep"):
            decode(b'{"data": ' + nested)
        with pytest.raises(EventError, match="nested too deep"):
            open_envelope(msgspec.structs.replace(sealed(DTMF), data=msgspec.Raw(b'{"kind": ' + nested)))

    @given(st.binary(max_size=80))
    def test_random_bytes_raise_nothing_else(self, data: bytes) -> None:
        with pytest.raises(EventError):
            decode(data)

    @given(event=st.sampled_from(EVENTS), position=st.integers(0, 1000), byte=st.integers(0, 255))
    def test_one_broken_byte_raises_nothing_else(self, event: Any, position: int, byte: int) -> None:
        message = bytearray(encode(sealed(event)))
        message[position % len(message)] = byte
        try:
            envelope = decode(bytes(message))
            open_envelope(envelope)
        except EventError:
            return
        assert decode(encode(envelope)) == envelope


class TestVerdict:
    def test_each_reason_is_a_word_of_its_own(self) -> None:
        reasons = [verdict.reason for verdict in Verdict]
        assert len(set(reasons)) == len(reasons)
        assert all(reason.replace("-", "").isalpha() and reason.islower() for reason in reasons)

    def test_every_outcome_can_happen(self) -> None:
        assert {verdict.outcome for verdict in Verdict} == set(Outcome)
