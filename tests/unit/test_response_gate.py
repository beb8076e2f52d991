"""One response at a time: what is asked for when, what waits, and what is asked for again."""

import pytest
from talk import sent

from trunkline_worker.commands import Command, Count, CreateResponse, Measure
from trunkline_worker.events import ResponseDone
from trunkline_worker.response_gate import (
    CREATED_S,
    RETRIES_MAX,
    RETRY_S,
    RETRY_S_MAX,
    STALL_S,
    Request,
    ResponseGate,
    Wish,
    retry_after_s,
)


def opened() -> ResponseGate:
    gate = ResponseGate()
    gate.open(now=0.0)
    return gate


def done(
    gate: ResponseGate, response_id: str = "R1", status: str = "completed", now: float = 1.0, reason: str = ""
) -> list[Command]:
    return gate.done(ResponseDone(1, response_id, status, reason, None), now)


# While the caller speaks


def test_nothing_is_asked_for_while_the_caller_speaks() -> None:
    # A tool that returns then must not make the model talk over the caller.
    gate = opened()
    gate.caller_started()

    assert gate.request(Wish.ANSWER, 1.0) == []
    assert gate.request(Wish.FAREWELL, 2.0, "Say goodbye.") == []


def test_what_waited_for_the_caller_is_part_of_the_answer_that_the_model_gives_by_itself() -> None:
    gate = opened()
    gate.caller_started()
    gate.request(Wish.ANSWER, 1.0)
    assert gate.caller_stopped(2.0) == []
    assert gate.tick(2.5) == []
    gate.created("R1", 3.0)

    assert done(gate) == []


def test_where_the_model_does_not_answer_by_itself_it_is_asked() -> None:
    gate = opened()
    gate.caller_started()

    assert sent(gate.caller_stopped(2.0, asks=True)) == [CreateResponse("respond_1")]


def test_it_is_asked_once_what_the_caller_interrupted_is_done() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    gate.caller_started()
    gate.cancel()
    assert gate.caller_stopped(2.0, asks=True) == []

    assert sent(done(gate, status="cancelled")) == [CreateResponse("respond_2")]


def test_an_answer_is_overdue_although_the_interrupted_one_ended_only_after_the_turn() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    gate.caller_started()
    gate.caller_stopped(2.0)
    done(gate, status="cancelled", now=2.5)

    assert gate.is_overdue(2.5 + CREATED_S)


# Asking


def test_what_is_asked_for_is_asked_for_at_once() -> None:
    assert sent(opened().request(Wish.GREETING, 0.0, "Say hello.")) == [
        CreateResponse("respond_1", "Say hello.")
    ]


def test_nothing_is_asked_for_without_a_session_or_without_a_caller() -> None:
    gate = ResponseGate()
    assert gate.request(Wish.ANSWER, 0.0) == []
    gate.hold()
    assert gate.open(1.0) == []

    assert sent(gate.release(2.0)) == [CreateResponse("respond_1")]


def test_while_a_response_is_active_a_wish_waits() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    assert gate.request(Wish.ANSWER, 0.5) == []

    assert sent(done(gate)) == [CreateResponse("respond_1")]


def test_between_asking_and_response_created_a_wish_waits_too() -> None:
    gate = opened()
    gate.request(Wish.GREETING, 0.0)

    assert gate.request(Wish.ANSWER, 0.1) == []
    gate.created("R1", 0.2)
    assert sent(done(gate)) == [CreateResponse("respond_2")]


def test_the_greater_wish_goes_first_and_the_lesser_is_dropped() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    gate.request(Wish.FAREWELL, 0.1, "Say goodbye.")
    gate.request(Wish.PROMPT, 0.2, "Ask whether they are there.")

    assert sent(done(gate)) == [CreateResponse("respond_1", "Say goodbye.")]
    gate.created("R2", 1.1)
    assert done(gate, "R2") == []


def test_an_answer_that_the_model_begins_by_itself_fulfils_a_plain_wish() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    gate.request(Wish.ANSWER, 0.1)
    done(gate, "R0")
    gate.created("R2", 0.3)

    assert done(gate, "R2") == []


def test_an_answer_that_began_before_an_item_arrived_does_not_fulfil_the_wish() -> None:
    gate = opened()
    gate.caller_started()
    gate.caller_stopped(0.9)
    gate.sent("tool_1")
    assert gate.request(Wish.ANSWER, 1.0) == []
    gate.created("R1", 1.1)
    gate.added("tool_1")

    assert sent(done(gate)) == [CreateResponse("respond_1")]


def test_from_the_callers_first_word_to_the_models_answer_nothing_is_asked_for() -> None:
    gate = opened()
    gate.caller_started()
    assert gate.request(Wish.PROMPT, 0.1, "Say that it takes a moment.") == []
    gate.sent("tool_1")
    assert gate.request(Wish.ANSWER, 0.2) == []
    gate.added("tool_1")
    gate.caller_stopped(0.5)
    gate.created("R1", 0.6)

    assert done(gate) == []


def test_a_refusal_tells_that_the_response_which_began_is_the_models_own() -> None:
    gate = opened()
    gate.request(Wish.FAREWELL, 0.0, "Say goodbye.")
    gate.created("R1", 0.1)
    assert gate.refused("respond_1", busy=True, now=0.2) == []

    assert sent(done(gate)) == [CreateResponse("respond_2", "Say goodbye.")]


def test_the_callers_words_replace_what_was_about_to_be_said_but_not_a_farewell() -> None:
    prompting, leaving = opened(), opened()
    for gate, wish in ((prompting, Wish.PROMPT), (leaving, Wish.FAREWELL)):
        gate.created("R1", 0.0)
        gate.request(wish, 0.1, "…")
        gate.caller_started()
        assert done(gate) == []
        gate.caller_stopped(1.0)
        gate.created("R2", 1.1)

    assert done(prompting, "R2") == []
    assert sent(done(leaving, "R2")) == [CreateResponse("respond_1", "…")]


def test_the_agents_instructions_go_with_every_order() -> None:
    # Those of a single response replace the session's.
    gate = ResponseGate("You are Robin.")
    gate.open(0.0)

    assert sent(gate.request(Wish.GREETING, 0.0, "Say hello.")) == [
        CreateResponse("respond_1", "You are Robin.\n\nSay hello.")
    ]


def test_a_refusal_because_a_response_is_active_waits_for_its_end() -> None:
    gate = opened()
    gate.request(Wish.ANSWER, 0.0)
    assert gate.refused("respond_1", busy=True, now=0.1) == []
    gate.created("R1", 0.1)
    gate.request(Wish.ANSWER, 0.2)

    assert sent(done(gate)) == [CreateResponse("respond_2")]


def test_a_refusal_of_something_else_changes_nothing() -> None:
    gate = opened()
    gate.request(Wish.ANSWER, 0.0)

    assert gate.refused("truncate_9", busy=False, now=0.1) == []
    assert gate.busy


# Failing and trying again


def test_a_rate_limit_is_waited_for_as_long_as_the_model_says() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    gate.done(ResponseDone(1, "R1", "failed", "rate_limit_exceeded", None, retry_after_s=2.5), now=1.0)

    assert gate.wake_at() == 3.5
    assert gate.tick(3.4) == []
    assert sent(gate.tick(3.5)) == [CreateResponse("respond_1")]


def test_without_a_hint_the_waits_grow_and_end() -> None:
    gate = opened()
    gate.request(Wish.GREETING, 0.0, "Say hello.")
    waits_s = []
    now = 0.0
    for number in range(RETRIES_MAX):
        done(gate, f"R{number}", "failed", now, "server_error")
        wake_at = gate.wake_at()
        assert wake_at is not None
        waits_s.append(wake_at - now)
        now = wake_at
        assert sent(gate.tick(now)) == [CreateResponse(f"respond_{number + 2}", "Say hello.")]

    assert waits_s == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S]
    assert not gate.gave_up
    done(gate, "R9", "failed", now, "server_error")
    assert gate.gave_up


def test_a_wait_that_is_longer_than_a_callers_patience_is_cut() -> None:
    gate = opened()
    gate.done(ResponseDone(1, "R1", "failed", "rate_limit_exceeded", None, retry_after_s=60.0), now=0.0)

    assert gate.wake_at() == RETRY_S_MAX


def test_a_response_that_succeeded_forgets_the_failures_before() -> None:
    gate = opened()
    for _ in range(2 * RETRIES_MAX):
        done(gate, "R1", "failed", 0.0, "server_error")
        gate.tick(RETRY_S_MAX)
        gate.created("R2", 6.0)
        done(gate, "R2", now=7.0)

    assert not gate.gave_up


def test_what_cannot_pass_is_not_tried_again() -> None:
    gate = opened()
    gate.created("R1", 0.0)

    assert done(gate, status="failed", reason="insufficient_quota") == []
    assert gate.wake_at() is None


def test_a_failure_that_nobody_knows_may_pass() -> None:
    # Not to try would leave the caller in silence.
    gate = opened()
    gate.created("R1", 0.0)

    assert done(gate, status="failed", reason="failed") == [Count(Measure.RESPONSE_RETRIED)]


def test_an_end_that_is_told_twice_counts_once() -> None:
    gate = opened()
    gate.created("R1", 0.0)
    done(gate, "R1")

    assert gate.is_over("R1")
    gate.created("R1", 1.1)
    assert gate.active is None


def test_a_turn_that_ends_into_a_response_is_answered_after_it() -> None:
    # The model begins none by itself while one is active.
    gate = opened()
    gate.request(Wish.GREETING, 0.0)
    gate.caller_started()
    gate.created("R1", 0.1)

    gate.caller_stopped(1.0)

    assert sent(done(gate, "R1", "cancelled")) == [CreateResponse("respond_2")]


def test_what_a_tool_call_fulfils_is_not_owed_when_the_session_is_lost() -> None:
    gate = opened()
    gate.request(Wish.ANSWER, 0.0)
    gate.created("R1", 0.1)

    gate.acted("R1")

    assert gate.lost() is None


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [
        ("Rate limit reached … Please try again in 4.2s.", 4.2),
        ("Please try again in 840ms. Visit …", 0.84),
        ("Please try again in 2m", 120.0),
        ("Rate limit reached.", None),
        ("try again in a moment", None),
    ],
)
def test_the_wait_is_read_from_the_message(message: str, wait_s: float | None) -> None:
    assert retry_after_s(message) == wait_s


# Mute sessions


def test_an_answer_is_overdue_when_the_model_does_not_begin_it() -> None:
    asked, heard = opened(), opened()
    asked.request(Wish.ANSWER, 1.0)
    heard.caller_stopped(1.0)

    for gate in (asked, heard):
        assert gate.wake_at() == 1.0 + CREATED_S
        assert not gate.is_overdue(0.9 + CREATED_S)
        assert gate.is_overdue(1.0 + CREATED_S)


def test_an_answer_is_overdue_when_it_stops_in_the_middle() -> None:
    gate = opened()
    gate.spoke("R1", 1.0)
    gate.spoke("R1", 5.0)

    assert gate.wake_at() == 5.0 + STALL_S


# A lost session


def test_a_lost_session_owes_what_it_had_not_begun_to_say() -> None:
    gate = opened()
    gate.request(Wish.GREETING, 0.0, "Say hello.")
    gate.created("R1", 0.1)

    assert gate.lost() == Request(Wish.GREETING, "Say hello.", "respond_1")
    assert not gate.busy


def test_a_lost_session_owes_nothing_of_what_it_was_saying() -> None:
    gate = opened()
    gate.request(Wish.GREETING, 0.0, "Say hello.")
    gate.spoke("R1", 0.2)

    assert gate.lost() is None


def test_a_lost_session_does_not_owe_what_the_caller_spoke_into() -> None:
    gate = opened()
    gate.request(Wish.GREETING, 0.0, "Say hello.")
    gate.caller_started()

    assert gate.lost() is None
