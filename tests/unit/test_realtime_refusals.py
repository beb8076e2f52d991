"""Errors, closes and HTTP answers of the model's side: what passes, what does not, and what to do."""

import json

import pytest

from trunkline_worker import events
from trunkline_worker.realtime_api import decode
from trunkline_worker.realtime_refusals import FATAL_CLOSES, FATAL_CODES, advice, lost_by_close

SESSION = 7


@pytest.mark.parametrize("code", sorted(FATAL_CODES))
def test_some_codes_make_trying_again_pointless(code: str) -> None:
    assert decode(error_event(code=code), SESSION) == events.ModelError(SESSION, code, fatal=True)
    assert advice(code)


def test_an_error_without_a_code_is_known_by_its_type() -> None:
    assert decode(error_event(type="insufficient_quota"), SESSION) == events.ModelError(
        SESSION, "insufficient_quota", fatal=True
    )


def test_an_error_without_anything_is_an_error() -> None:
    assert decode(error_event(), SESSION) == events.ModelError(SESSION, "unknown", fatal=False)


def test_an_expired_session_is_lost() -> None:
    # OpenAI ends every session after 60 minutes.
    assert decode(error_event(code="session_expired"), SESSION) == events.SessionLost(
        SESSION, "session_expired", fatal=False
    )


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013])
def test_a_close_that_may_pass(code: int) -> None:
    # A normal close, too: nobody but us may end a session.
    assert lost_by_close(SESSION, code, "") == events.SessionLost(SESSION, f"close-{code}", fatal=False)
    assert advice(f"close-{code}") == ""


@pytest.mark.parametrize("code", sorted(FATAL_CLOSES))
def test_a_close_that_cannot_pass_comes_with_advice(code: int) -> None:
    assert lost_by_close(SESSION, code, "") == events.SessionLost(SESSION, f"close-{code}", fatal=True)
    assert advice(f"close-{code}")


def test_a_close_may_name_its_code() -> None:
    # With a wrong key the upgrade is accepted, and then this comes.
    assert lost_by_close(SESSION, 3000, "invalid_request_error.invalid_api_key") == events.SessionLost(
        SESSION, "invalid_api_key", fatal=True
    )


def test_a_socket_that_broke_without_a_close_is_1006() -> None:
    assert lost_by_close(SESSION, None, "").reason == "close-1006"


def test_a_rejected_configuration_comes_with_advice() -> None:
    assert advice("configuration-rejected: unknown_parameter session.reasoning")


@pytest.mark.parametrize(
    ("reason", "setting"),
    [
        ("connect-http-401", "OPENAI_API_KEY"),
        ("connect-http-404", "OPENAI_REALTIME_MODEL"),
        ("connect-gaierror", "OPENAI_REALTIME_URL"),
        ("setup-timeout", "OPENAI_REALTIME_URL"),
        ("close-3000", "OPENAI_API_KEY"),
    ],
)
def test_what_keeps_a_session_from_opening_names_the_setting_to_look_at(reason: str, setting: str) -> None:
    assert setting in advice(reason)


def error_event(**error: str) -> str:
    return json.dumps({"type": "error", "event_id": "event_1", "error": {"message": "…", **error}})
