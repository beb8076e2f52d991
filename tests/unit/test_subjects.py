from collections.abc import Callable
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_common import call_events, subjects
from trunkline_common.subjects import InvalidTokenError

CALL_SID = "CA0123456789abcdef0123456789abcdef"

names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@pytest.mark.parametrize("name", [CALL_SID, "wk-host-1a2b3c", "a", "A_b-9", "x" * 64])
def test_plain_names_may_stand_in_a_subject(name: str) -> None:
    assert subjects.token(name) == name


@pytest.mark.parametrize(
    "name", ["", "a.b", "*", ">", "a b", "CA1\n", "CA1\r\nPUB x 0", "x" * 65, "é", "CA1\0", "١"]
)
def test_a_name_that_could_address_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidTokenError):
        subjects.token(name)


@given(st.text(max_size=80))
def test_whatever_passes_stays_one_token(name: str) -> None:
    try:
        subject = subjects.owner(name)
    except InvalidTokenError:
        return
    assert subject.split(".") == ["call", "v1", name, "own"]
    assert not {"*", ">"} & set(subject)


def test_a_refused_name_is_quoted_but_not_at_length() -> None:
    with pytest.raises(InvalidTokenError) as refusal:
        subjects.token("no.t\n" * 1000)
    assert r"no.t\nno.t" in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "build",
    [
        subjects.assign,
        lambda name: subjects.worker_up(name, CALL_SID),
        lambda name: subjects.worker_up("wk-1", name),
        subjects.every_worker_up,
        subjects.worker_ping,
        subjects.heartbeat,
        lambda name: subjects.gateway_down(name, CALL_SID),
        lambda name: subjects.gateway_down("gw-1", name),
        subjects.every_gateway_down,
        subjects.gateway_ping,
        subjects.owner,
        subjects.caller,
        lambda name: subjects.event(name, "usage"),
        lambda name: subjects.event(CALL_SID, name),
        subjects.every_event_of,
    ],
)
def test_every_name_from_outside_is_checked(build: Callable[[str], str]) -> None:
    with pytest.raises(InvalidTokenError):
        build("a.b")


@given(process=names, call_id=names)
def test_the_call_is_found_again_in_a_frame_s_subject(process: str, call_id: str) -> None:
    assert subjects.call_of_up(subjects.worker_up(process, call_id)) == call_id
    assert subjects.call_of_down(subjects.gateway_down(process, call_id)) == call_id


def test_one_wildcard_covers_all_calls_of_a_process_and_of_no_other() -> None:
    assert matches(subjects.every_worker_up("wk-1"), subjects.worker_up("wk-1", CALL_SID))
    assert matches(subjects.every_gateway_down("gw-1"), subjects.gateway_down("gw-1", CALL_SID))
    assert not matches(subjects.every_worker_up("wk-1"), subjects.worker_up("wk-2", CALL_SID))
    assert not matches(subjects.every_worker_up("wk-1"), subjects.worker_ping("wk-1"))
    assert not matches(subjects.every_gateway_down("gw-1"), subjects.gateway_down("gw-2", CALL_SID))


@pytest.mark.parametrize("event_type", get_args(call_events.CallEvent))
def test_the_event_stream_holds_every_kind_of_event(event_type: type[msgspec.Struct]) -> None:
    subject = subjects.event(CALL_SID, str(event_type.__struct_config__.tag))
    assert matches(subjects.EVERY_EVENT, subject)
    assert matches(subjects.every_event_of(CALL_SID), subject)


def test_a_caller_is_a_hash_and_no_call() -> None:
    caller_hash = subjects.caller_hash("+12025550123")

    assert caller_hash == "d5ab8b77e69a81df"
    assert not matches(subjects.owner("by"), subjects.caller(caller_hash))


@pytest.mark.parametrize("number", ["", "anonymous", "Anonymous", "+266696687", "unknown"])
def test_a_withheld_number_is_nobody(number: str) -> None:
    assert subjects.caller_hash(number) is None


def test_dead_letters_and_audio_are_not_in_the_event_stream() -> None:
    assert not matches(subjects.EVERY_EVENT, subjects.DEAD_LETTERS)
    assert not matches(subjects.EVERY_EVENT, subjects.worker_up("wk-1", CALL_SID))


def matches(pattern: str, subject: str) -> bool:
    """NATS' rule: `*` is one token, a last `>` is one or more."""
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, found = wanted[:-1], found[: len(wanted) - 1] if len(found) >= len(wanted) else []
    return len(wanted) == len(found) and all(w in ("*", f) for w, f in zip(wanted, found, strict=True))
