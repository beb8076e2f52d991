"""Twilio's queues: who is where, and a call's way through the documents of a `waitUrl`."""

import pytest

from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_program import (
    HASTY_DOCUMENTS_MAX,
    Answered,
    Command,
    Failed,
    Fetch,
    Finish,
    Joined,
    JoinQueue,
    LeaveQueue,
    NotJoined,
    Program,
    QueueLeft,
    VerbDone,
)
from trunkline_simulators.twilio_queues import Queues

VOICE = "https://voice.example.com/voice"
WAIT = "https://voice.example.com/wait?attach=1"
WAITED = "https://voice.example.com/waited"
ENQUEUE = "<Enqueue action='/waited' waitUrl='/wait?attach=1'>desk</Enqueue><Say>Next</Say>"
AGAIN = Fetch(WAIT, of_queue=True)


def answered(verbs: str) -> Answered:
    return Answered("text/xml", f"<Response>{verbs}</Response>".encode())


def waiting(verbs: str, *, redirects_are_told: bool = True) -> tuple[Program, list[Command]]:
    """A call in its queue, and what it does when its first wait document has these verbs."""
    program = Program(VOICE, redirects_in_queue_are_told=redirects_are_told)
    program.begin()
    assert program.handle(answered(ENQUEUE)) == [JoinQueue("desk")]
    assert program.handle(Joined()) == [AGAIN]
    return program, program.handle(answered(verbs))


def test_a_caller_moves_up_when_somebody_in_front_leaves() -> None:
    queues = Queues()
    first, second = queues.join("desk", "CA1", now_s=10), queues.join("desk", "CA2", now_s=20)
    assert first
    assert second

    before = second.wait_fields(now_s=40)
    left = first.leave("leave", now_s=40)

    assert {name: before[name] for name in ("QueuePosition", "QueueTime", "AvgQueueTime")} == {
        "QueuePosition": "2",
        "QueueTime": "20",
        "AvgQueueTime": "25",
    }
    assert before["CurrentQueueSize"] == "2"
    assert (left["QueueResult"], left["QueueTime"], left["QueueSid"]) == ("leave", "30", before["QueueSid"])
    assert second.wait_fields(now_s=40)["QueuePosition"] == "1"


def test_a_queue_has_an_end() -> None:
    queues = Queues(size_max=1)
    queues.join("desk", "CA1", now_s=0)

    assert queues.join("desk", "CA2", now_s=0) is None
    assert queues.join("sales", "CA2", now_s=0) is not None


def test_a_document_that_ran_out_is_asked_for_again() -> None:
    program, commands = waiting("<Say>Hold</Say><Play>/m.wav</Play>")

    assert commands == [twiml.Say("Hold", 1)]
    assert program.handle(VerbDone()) == [twiml.Play("https://voice.example.com/m.wav", 1)]
    assert program.handle(VerbDone()) == [AGAIN]


@pytest.mark.parametrize("told", [True, False])
def test_a_redirect_leads_elsewhere_once(told: bool) -> None:
    program, commands = waiting("<Redirect>/wait?told=2</Redirect>", redirects_are_told=told)

    assert commands == [Fetch("https://voice.example.com/wait?told=2", of_queue=told)]
    assert program.handle(answered("<Pause/>")) == [twiml.Pause(1)]
    assert program.handle(VerbDone()) == [AGAIN]


def test_leaving_is_told_to_the_action() -> None:
    program, commands = waiting("<Leave/>")

    assert commands == [LeaveQueue("leave")]
    left = {"QueueResult": "leave", "QueueTime": "3"}
    assert program.handle(QueueLeft(left)) == [Fetch(WAITED, parameters=left)]


def test_without_an_action_the_next_verb_runs() -> None:
    program = Program(VOICE)
    program.begin()
    program.handle(answered("<Enqueue waitUrl='/wait'>desk</Enqueue><Say>Next</Say>"))
    program.handle(Joined())
    program.handle(answered("<Leave/>"))

    assert program.handle(QueueLeft({"QueueResult": "leave"})) == [twiml.Say("Next", 1)]


def test_a_full_queue_is_told_to_the_action() -> None:
    program = Program(VOICE)
    program.begin()
    program.handle(answered(ENQUEUE))

    assert program.handle(NotJoined()) == [Fetch(WAITED, parameters={"QueueResult": "queue-full"})]


def test_a_verb_that_is_not_for_queues_is_an_error() -> None:
    _, commands = waiting("<Dial>+12025550100</Dial>")

    assert [type(each) for each in commands] == [twiml.Warned, LeaveQueue]
    assert commands[-1] == LeaveQueue("error")


def test_a_wait_url_that_fails_is_an_error() -> None:
    program, _ = waiting("<Pause/>")
    program.handle(VerbDone())

    assert program.handle(Failed("HTTP 500"))[-1] == LeaveQueue("error")


def test_documents_that_take_no_time_end_the_call() -> None:
    program, commands = waiting("")
    for _ in range(HASTY_DOCUMENTS_MAX - 1):
        assert commands == [AGAIN]
        commands = program.handle(answered(""))

    assert commands == [Finish("too-many-documents")]


@pytest.mark.parametrize("verbs", ["<Enqueue/>", f"<Enqueue>{'x' * 65}</Enqueue>", "<Leave/>"])
def test_what_twilio_would_not_run_is_warned_of(verbs: str) -> None:
    program = Program(VOICE)
    program.begin()

    commands = program.handle(answered(verbs))

    assert [type(each) for each in commands] == [twiml.Warned, Finish]


@pytest.mark.parametrize(("reason", "status"), [("busy", "busy"), ("rejected", "no-answer")])
def test_a_refused_call_has_a_status_of_its_own(reason: str, status: str) -> None:
    program = Program(VOICE)
    program.begin()
    program.handle(answered(f"<Reject reason='{reason}'/>"))

    assert program.rejected_as == status
