from xml.etree import ElementTree

from trunkline_gateway import twiml
from trunkline_gateway.public_url import PublicUrl
from trunkline_gateway.stream_token import Facts

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

    reattach = "https://calls.example.com/voice/reattach?attach=3&started=1700000000000"
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
    say, hangup = parse(twiml.say_and_hang_up("Tom & Jerry", "en-GB"))

    assert (say.tag, say.text, say.attrib) == ("Say", "Tom & Jerry", {"language": "en-GB"})
    assert hangup.tag == "Hangup"


def test_the_end() -> None:
    assert [element.tag for element in parse(twiml.hang_up())] == ["Hangup"]
