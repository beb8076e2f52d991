"""One owner's part of a call's event log."""

from trunkline_common.call_events import DtmfReceived, Envelope
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


def recorded(log: EventLog) -> CallRecord:
    access = ModelAccess(1)
    return CallRecord(REQUEST, AGENT, log, access)  # type: ignore[arg-type]  # what it needs of a log


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
