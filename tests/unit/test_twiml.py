from xml.etree import ElementTree

import pytest

from trunkline_common.control import Transfer
from trunkline_gateway import twiml
from trunkline_gateway.public_url import RETRIES, PublicUrl
from trunkline_gateway.stream_token import Facts
from trunkline_gateway.waiting import Stay, Words

PUBLIC_URL = PublicUrl("https://calls.example.com")
FACTS = Facts("CA1", "AC1", "+12025550100", "+12025550101", attach=1, started_at_ms=1_700_000_000_000)


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def parameters(response: ElementTree.Element) -> dict[str, str]:
    return {element.attrib["name"]: element.attrib["value"] for element in response.iter("Parameter")}


def test_connect_opens_one_stream_with_the_caller_and_the_token() -> None:
    response = parse(twiml.connect(PUBLIC_URL, FACTS, "the-token"))

    stream = response.find("Connect/Stream")
    assert stream is not None
    assert stream.attrib == {
        "url": "wss://calls.example.com/media-stream",
        "statusCallback": "https://calls.example.com/voice/status",
        "statusCallbackMethod": "POST",
    }
    assert parameters(response) == {
        "callerNumber": "+12025550100",
        "calledNumber": "+12025550101",
        "token": "the-token",
    }


def test_after_the_stream_twilio_asks_for_the_next_attach_on_either_way() -> None:
    response = parse(twiml.connect(PUBLIC_URL, FACTS._replace(attach=2), "the-token"))

    reattach = f"https://calls.example.com/voice/reattach?attach=3&started=1700000000000#{RETRIES}"
    connect, redirect = response
    assert (connect.tag, connect.attrib) == ("Connect", {"action": reattach, "method": "POST"})
    assert (redirect.tag, redirect.text) == ("Redirect", reattach)


def test_a_withheld_number_is_no_parameter() -> None:
    response = parse(twiml.connect(PUBLIC_URL, FACTS._replace(caller=""), "the-token"))

    assert "callerNumber" not in parameters(response)


def test_callers_cannot_write_twiml() -> None:
    caller = twiml.clean_number('sip:"><Dial>1</Dial>\x00\x1b' + "x" * 1_000)

    response = parse(twiml.connect(PUBLIC_URL, FACTS._replace(caller=caller), "the-token"))

    assert response.find(".//Dial") is None
    assert parameters(response)["callerNumber"].startswith('sip:"><Dial>1</Dial>x')
    assert len(parameters(response)["callerNumber"]) == twiml.NUMBER_CHARS_MAX


def test_a_sentence_and_the_end() -> None:
    say, hangup = parse(twiml.say_and_hang_up(Words("Tom & Jerry", "en-GB")))

    assert (say.tag, say.text, say.attrib) == ("Say", "Tom & Jerry", {"language": "en-GB"})
    assert hangup.tag == "Hangup"


def test_the_end() -> None:
    assert [element.tag for element in parse(twiml.hang_up())] == ["Hangup"]


def test_a_transfer_dials_the_number_and_asks_us_on_either_way() -> None:
    text = twiml.dial(PUBLIC_URL, FACTS._replace(attach=2), Transfer(number="+12025550177", timeout_s=20), 1)

    dialed = f"https://calls.example.com/voice/dialed?attach=2&detours=1&started=1700000000000#{RETRIES}"
    dialed = dialed.replace("&", "&amp;")
    assert text == (
        '<?xml version="1.0" encoding="UTF-8"?><Response>'
        f'<Dial action="{dialed}" answerOnBridge="true" method="POST" timeout="20">'
        "<Number>+12025550177</Number></Dial>"
        f'<Redirect method="POST">{dialed}</Redirect></Response>'
    )


@pytest.mark.parametrize(("asked_s", "told_s"), [(-1, "1"), (0, "1"), (600, "600"), (9_999, "600")])
def test_a_telephone_rings_as_long_as_twilio_can_let_it(asked_s: int, told_s: str) -> None:
    transfer = Transfer(number="+12025550177", timeout_s=asked_s)

    (dial, _) = parse(twiml.dial(PUBLIC_URL, FACTS, transfer, 1))

    assert dial.attrib["timeout"] == told_s


def test_digits_are_played_before_the_stream_opens_again() -> None:
    response = parse(twiml.connect(PUBLIC_URL, FACTS._replace(attach=2), "the-token", 1, "1w2#"))

    play, connect, redirect = response
    assert (play.tag, play.attrib, play.text) == ("Play", {"digits": "1w2#"}, None)
    assert connect.tag == "Connect"
    assert redirect.text is not None
    assert redirect.text.endswith(f"attach=3&detours=1&started=1700000000000#{RETRIES}")


def test_a_caller_with_too_many_calls_hears_the_busy_tone() -> None:
    (reject,) = parse(twiml.reject())

    assert (reject.tag, reject.attrib) == ("Reject", {"reason": "busy"})


@pytest.mark.parametrize(
    "number",
    ["", "12025550177", "+02025550177", "+1202", "+1" * 9, "+12025550177x", "+1202555017\u0661", "sip:a@b"],
)
def test_what_is_no_telephone_number(number: str) -> None:
    assert not twiml.is_e164(number)


@pytest.mark.parametrize(
    ("digits", "valid"),
    [("0123456789*#w", True), ("1" * 32, True), ("", False), ("1" * 33, False), ("W", False), ("1 2", False)],
)
def test_what_can_be_played_as_dtmf(digits: str, valid: bool) -> None:
    assert twiml.are_digits(digits) is valid


def test_a_queue_asks_us_for_its_music_and_when_it_ends() -> None:
    stay = Stay(before_s=20)

    response = parse(twiml.enqueue(PUBLIC_URL, FACTS, 1, stay, "front desk", Words("Please hold.", "en-GB")))

    say, enqueue, redirect = response
    query = "attach=1&detours=1&started=1700000000000&waited=20"
    assert (say.text, enqueue.text) == ("Please hold.", "front desk")
    assert enqueue.attrib == {
        "action": f"https://calls.example.com/voice/waited?{query}#{RETRIES}",
        "method": "POST",
        "waitUrl": f"https://calls.example.com/voice/wait?{query}#{RETRIES}",
        "waitUrlMethod": "POST",
    }
    assert redirect.text == enqueue.attrib["action"]


def test_what_a_waiting_caller_was_told_stands_in_the_next_address() -> None:
    told = Stay(told_position=2, told_at_s=31)

    response = parse(twiml.hold(PUBLIC_URL, FACTS, 0, told, Words("Number 2.", "en-US"), "https://m/x.wav"))

    assert [each.tag for each in response] == ["Say", "Play", "Redirect"]
    assert response.findtext("Redirect") == (
        f"https://calls.example.com/voice/wait?attach=1&started=1700000000000&told=2&told_at=31#{RETRIES}"
    )


def test_without_anything_told_the_music_just_ends() -> None:
    response = parse(twiml.hold(PUBLIC_URL, FACTS, 0, Stay(), Words("", "en-US"), "https://m/x.wav"))

    assert [each.tag for each in response] == ["Play"]


def test_somebody_dialled_in_place_of_an_agent_is_dialled_once() -> None:
    response = parse(twiml.overflow(PUBLIC_URL, FACTS, Transfer(number="+12025550160", timeout_s=30), "full"))

    overflowed = (
        f"https://calls.example.com/voice/overflowed?attach=1&started=1700000000000&why=full#{RETRIES}"
    )
    dial, redirect = response
    assert dial.findtext("Number") == "+12025550160"
    assert (dial.attrib["action"], redirect.text) == (overflowed, overflowed)
