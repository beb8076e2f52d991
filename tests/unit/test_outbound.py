"""What may be called, how often, and how a request is read (see `outbound`)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_gateway.outbound import (
    NUMBERS_MAX,
    OutboundLimits,
    Problem,
    Refused,
    check_key,
    claim_name,
    fingerprint,
    read_request,
)

CALLEE = "+12025550123"
LINE = "+12025550147"
BODY = {"to": CALLEE, "from": LINE}


def body(**changes: object) -> bytes:
    return json.dumps(BODY | changes).encode()


def limits(per_minute: int = 60, per_number: int = 2) -> OutboundLimits:
    return OutboundLimits(("+1202", "+31"), per_minute, per_number)


def test_a_request_needs_two_numbers_and_has_defaults_for_the_rest() -> None:
    request = read_request(body())

    assert (request.to, request.from_) == (CALLEE, LINE)
    assert (request.machine_detection, request.timeout_s) == ("off", 30)


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "12025550123"},
        {"to": "+1202555012x"},
        {"to": "+" + "1" * 16},
        {"to": None},
        {"from": "sip:desk@example.com"},
        {"machine_detection": "maybe"},
        {"timeout_s": 4},
        {"timeout_s": 601},
        {"timeout_s": "30"},
        {"url": "https://evil.example.com"},
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_its_value_is_not(changes: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        read_request(body(**changes))

    (field,) = changes
    assert refused.value.problem is Problem.INVALID
    assert field in refused.value.detail
    assert "5550123" not in refused.value.detail


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"to=+12025550123"])
def test_what_is_not_json_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_request(data)

    assert refused.value.problem is Problem.BAD_REQUEST


@given(st.binary(max_size=80))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Refused):
        read_request(data)


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 256, "é", "a\n"])
def test_a_key_is_printable_and_short(key: str | None) -> None:
    with pytest.raises(Refused) as refused:
        check_key(key)

    assert refused.value.problem is Problem.KEY_MISSING


def test_a_claim_belongs_to_one_holder_and_one_request() -> None:
    claim = claim_name("api-key", "key")

    assert claim != claim_name("other-api-key", "key")
    assert fingerprint(read_request(body()), claim) == fingerprint(read_request(body(timeout_s=30)), claim)
    assert fingerprint(read_request(body()), claim) != fingerprint(read_request(body(timeout_s=31)), claim)


@pytest.mark.parametrize(
    ("number", "allowed"),
    [(CALLEE, True), ("+31201234567", True), ("+12125550123", False), ("+882161", False)],
)
def test_a_destination_must_begin_with_an_allowed_prefix(number: str, allowed: bool) -> None:
    assert limits().allows(number) is allowed


def test_without_prefixes_nothing_may_be_called() -> None:
    assert not OutboundLimits((), 60, 2).allows(CALLEE)


def test_one_number_is_called_twice_a_minute_and_another_meanwhile() -> None:
    calls = limits(per_number=2)

    assert [calls.wait_s(CALLEE, 100.0) for _ in range(3)] == [0, 0, 30]
    assert calls.wait_s("+12025550199", 100.0) == 0
    assert calls.wait_s(CALLEE, 129.0) == pytest.approx(1)
    assert calls.wait_s(CALLEE, 130.0) == 0


def test_all_numbers_together_have_a_limit_and_a_refusal_costs_nothing() -> None:
    calls = limits(per_minute=3, per_number=3)

    assert [calls.wait_s(f"+1202555010{n}", 0.0) for n in range(3)] == [0, 0, 0]
    assert calls.wait_s(CALLEE, 0.0) == 20
    assert [calls.wait_s(CALLEE, 60.0) for _ in range(3)] == [0, 0, 0]


def test_an_hour_of_silence_saves_up_no_more_than_a_minute() -> None:
    calls = limits(per_number=2)
    calls.wait_s(CALLEE, 0.0)

    assert [calls.wait_s(CALLEE, 3_600.0) == 0 for _ in range(3)] == [True, True, False]


def test_the_numbers_remembered_are_bounded() -> None:
    calls = limits(per_minute=6_000)
    for number in range(NUMBERS_MAX + 10):
        calls.wait_s(f"+1202{number}", float(number))

    assert len(calls._numbers) == NUMBERS_MAX


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_says_what_to_do(problem: Problem) -> None:
    details = problem.body()

    assert details.keys() == {"type", "title", "status", "detail"}
    assert details["type"] == f"urn:trunkline:problem:{problem.word}"
    assert details["detail"]
