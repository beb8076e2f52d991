"""What one owner of a call owes to the next: a response that was asked for and has not begun."""

from talk import sent

from trunkline_worker.commands import CreateResponse
from trunkline_worker.response_gate import Request, ResponseGate, Wish


def opened() -> ResponseGate:
    gate = ResponseGate()
    gate.open(now=0.0)
    return gate


def test_what_was_asked_for_is_owed_until_the_agent_speaks() -> None:
    gate = opened()
    gate.request(Wish.ANSWER, 1.0)
    assert gate.owed() == Request(Wish.ANSWER, event_id="respond_1")

    gate.created("R1", 1.1)
    assert gate.owed() is not None
    gate.spoke("R1", 1.2)

    assert gate.owed() is None


def test_what_waits_for_a_line_is_owed() -> None:
    gate = opened()
    gate.hold()
    gate.request(Wish.GREETING, 1.0, "Greet.")

    assert gate.owed() == Request(Wish.GREETING, "Greet.")


def test_breaking_a_silence_is_owed_to_nobody() -> None:
    gate = opened()
    gate.request(Wish.PROMPT, 1.0)

    assert gate.owed() is None


def test_what_is_owed_is_asked_for_once_by_the_next_owner() -> None:
    gate = ResponseGate()
    gate.restore(Request(Wish.CONTINUE, "Go on."))

    following = [*gate.open(now=5.0), *gate.tick(5.1), *gate.release(5.2)]

    (asked,) = sent(following)
    assert isinstance(asked, CreateResponse)
    assert "Go on." in (asked.instructions or "")


def test_nothing_owed_is_nothing_asked_for() -> None:
    gate = ResponseGate()
    gate.restore(None)

    assert gate.open(now=5.0) == []
