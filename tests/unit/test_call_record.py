"""One owner's part of a call's event log."""

from trunkline_common import call_events
from trunkline_common.call_events import CallStarted, DtmfReceived, Envelope, Redaction
from trunkline_common.control import AssignRequest
from trunkline_common.frames import Fence
from trunkline_worker.agent import Agent
from trunkline_worker.call_record import CallRecord
from trunkline_worker.model_access import ModelAccess

REQUEST = AssignRequest(call_id="CA1", fence=Fence(1, 2), started_at_ms=1, caller="+1555", called="+1666")
AGENT = Agent()
EVENT = DtmfReceived(at_ms=5)


class EventLog:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[Envelope] = []

    def append(self, envelope: Envelope) -> None:
        self.written.append(envelope)


def recorded(log: EventLog, agent: Agent = AGENT) -> CallRecord:
    access = ModelAccess(1)
    return CallRecord(REQUEST, agent, log, access)  # type: ignore[arg-type]  # what it needs of a log


def test_nothing_is_written_before_the_call_is_ours_and_then_all_of_it_in_order() -> None:
    log = EventLog()
    record = recorded(log)
    record.write(EVENT)
    record.write(EVENT)
    assert log.written == []

    record.release()
    record.write(EVENT)

    assert [envelope.n for envelope in log.written] == [0, 1, 2]
    assert {envelope.fence for envelope in log.written} == {Fence(1, 2)}


def test_a_call_that_never_became_ours_leaves_no_trace() -> None:
    log = EventLog()
    record = recorded(log)
    record.write(EVENT)

    record.forget()
    record.release()

    assert log.written == []


def test_each_event_tells_what_is_to_be_redacted_and_the_first_how_long_the_call_is_kept() -> None:
    log = EventLog()
    record = recorded(log, Agent(redact=(Redaction.PHONE_NUMBERS,), retention_days=30))
    record.write(CallStarted(caller="+1555", called="+1666", agent="desk", worker="w"))
    record.write(EVENT)
    record.release()

    read = [call_events.decode(call_events.encode(envelope)) for envelope in log.written]

    assert [(envelope.redact, envelope.line) for envelope in read] == [(("phone-numbers",), "+1666")] * 2
    assert b'"retention_days":30' in bytes(read[0].data)


def test_a_line_is_told_only_to_those_who_need_it() -> None:
    log = EventLog()
    record = recorded(log, Agent(redact=(Redaction.EMAILS,)))
    record.write(EVENT)
    record.release()

    assert [(envelope.redact, envelope.line) for envelope in log.written] == [(("emails",), "")]
