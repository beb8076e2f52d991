"""A number of a Twilio account: does it lead here, and if not, why?"""

from typing import Any

import pytest

from trunkline_gateway.number_check import checked, masked
from trunkline_gateway.public_url import PublicUrl

HERE = PublicUrl("https://calls.example.com")
NUMBER = {
    "phone_number": "+12025550147",
    "voice_url": "https://calls.example.com/voice#rc=4&rp=all",
    "voice_method": "POST",
    "voice_fallback_url": "https://handler.twilio.com/twiml/EH1",
    "status_callback": "https://calls.example.com/voice/status",
    "status_callback_method": "POST",
    "voice_application_sid": None,
    "trunk_sid": None,
}


@pytest.mark.parametrize("voice_url", [NUMBER["voice_url"], "https://calls.example.com/voice#rc=2"])
def test_a_number_that_is_set_up_leads_here(voice_url: str) -> None:
    check = checked(NUMBER | {"voice_url": voice_url}, HERE)

    assert check.leads_here
    assert (check.wrong, check.unwise) == ((), ())
    assert check.shown == masked("+12025550147") == "…0147"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"voice_url": "https://calls.example.com/"}, "its voice webhook is https://calls.example.com/, not"),
        ({"voice_url": "http://calls.example.com/voice"}, "its voice webhook is http://"),
        (
            {"voice_url": "https://u:secret@calls.example.com/voice"},
            "is https://calls.example.com/voice, not",
        ),
        ({"voice_method": "GET"}, "asked by GET, not by POST"),
        ({"voice_application_sid": "AP1"}, "a TwiML application is set"),
        ({"trunk_sid": "TK1"}, "a SIP trunk is set"),
    ],
)
def test_a_number_that_is_meant_for_us_and_does_not_arrive_is_wrong(
    changes: dict[str, Any], why: str
) -> None:
    check = checked(NUMBER | changes, HERE)

    assert not check.leads_here
    assert why in " ".join(check.wrong)
    assert "secret" not in " ".join(check.wrong)


@pytest.mark.parametrize("voice_url", ["https://elsewhere.example.com/voice", None, "https://[broken"])
def test_a_number_that_leads_elsewhere_is_none_of_ours(voice_url: str | None) -> None:
    check = checked(NUMBER | {"voice_url": voice_url}, HERE)

    assert not check.leads_here
    assert check.wrong == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"voice_url": "https://calls.example.com/voice"},
            "dies over its question is not asked again; add #ct=",
        ),
        ({"status_callback": ""}, "status callback is not set"),
        ({"status_callback": "https://elsewhere.example.com"}, "status callback is another"),
        ({"status_callback_method": "GET"}, "not asked by POST"),
        ({"voice_fallback_url": None}, "no fallback"),
        ({"voice_fallback_url": "https://calls.example.com/sorry"}, "fallback leads here"),
    ],
)
def test_what_is_unwise_is_told_and_keeps_no_call_away(changes: dict[str, Any], why: str) -> None:
    check = checked(NUMBER | changes, HERE)

    assert check.leads_here
    assert why in " ".join(check.unwise)
