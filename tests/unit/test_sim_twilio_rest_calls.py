"""What Twilio's REST API takes and refuses (see `twilio_rest_calls`)."""

import base64

import pytest

from trunkline_simulators import twilio_rest_calls as rules
from trunkline_simulators.twilio_program import Updated
from trunkline_simulators.twilio_rest_calls import Account, RestError

ACCOUNT = Account("AC1", "token", {"SK1": "secret"})
CALLS = "/2010-04-01/Accounts/AC1/Calls"
CALL_SID = "CA" + "a" * 32
FORM = {"To": "+12025550100", "From": "+12025550147", "Url": "https://voice.example.com/voice"}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_call_is_placed_with_what_the_form_says() -> None:
    detection = {
        "MachineDetection": "Enable",
        "AsyncAmd": "true",
        "AsyncAmdStatusCallback": "https://voice.example.com/machine",
    }
    create = rules.read_create(FORM | detection | {"Timeout": "20"}, numbers=("+12025550147",))

    assert (create.to, create.from_, create.url, create.ring_s) == (*FORM.values(), 20)
    assert create.detection_callback == "https://voice.example.com/machine"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21201),
        ({"To": "5550100"}, 21211),
        ({"From": ""}, 21213),
        ({"From": "desk"}, 21212),
        ({"From": "+12025550199"}, 21210),
        ({"Url": ""}, 21205),
        ({"Url": "voice"}, 21205),
        ({"StatusCallback": "status"}, 21609),
        ({"Timeout": "0"}, 20001),
        ({"Timeout": "601"}, 20001),
        ({"MachineDetection": "yes"}, 20001),
        ({"MachineDetection": "Enable", "AsyncAmd": "true"}, 20001),
    ],
    ids=str,
)
def test_a_call_that_cannot_be_placed_has_its_number(changes: dict[str, str], code: int) -> None:
    with pytest.raises(RestError) as refusal:
        rules.read_create(FORM | changes, numbers=("+12025550147",))

    assert (refusal.value.status, refusal.value.code) == (400, code)
    assert refusal.value.body()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


def test_a_call_may_be_ended_or_given_another_document() -> None:
    assert rules.read_change({"Status": "completed"}).end
    assert rules.read_change({"Twiml": "<Response/>"}).update == Updated(b"<Response/>")
    assert rules.read_change({"Url": FORM["Url"], "Method": "GET"}).update == Updated(
        None, FORM["Url"], "GET"
    )


@pytest.mark.parametrize("form", [{"Status": "busy"}, {"Twiml": "x" * 4_001}, {"Url": "voice"}])
def test_a_change_that_means_nothing_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(RestError):
        rules.read_change(form)


def test_the_account_and_its_keys_may_sign_in() -> None:
    ACCOUNT.check(basic("AC1", "token"))
    ACCOUNT.check(basic("SK1", "secret"))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer token",
        "Basic ???",
        basic("AC1", ""),
        basic("AC1", "secret"),
        basic("AC2", "token"),
        basic("", ""),
    ],
)
def test_nobody_else_may(authorization: str) -> None:
    with pytest.raises(RestError) as refusal:
        ACCOUNT.check(authorization)

    assert (refusal.value.status, refusal.value.code) == (401, 20003)


def test_requests_find_their_resource() -> None:
    assert rules.route("AC1", "POST", f"{CALLS}.json") is None
    assert rules.route("AC1", "POST", f"{CALLS}/{CALL_SID}.json") == CALL_SID


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{CALLS}.json", 405),
        ("POST", f"{CALLS}/CA1.json", 404),
        ("POST", CALLS, 404),
        ("POST", "/2010-04-01/Accounts/AC2/Calls.json", 404),
    ],
)
def test_other_resources_are_not_there(method: str, path: str, status: int) -> None:
    with pytest.raises(RestError) as refusal:
        rules.route("AC1", method, path)

    assert refusal.value.status == status
