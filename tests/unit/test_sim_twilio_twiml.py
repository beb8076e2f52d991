"""How Twilio reads a TwiML document (see `twilio_twiml`)."""

import pytest

from trunkline_simulators import twilio_twiml as twiml

URL = "https://voice.example.com/voice?attempt=1"


def parsed(verbs: str) -> twiml.Document:
    return twiml.parse("text/xml; charset=utf-8", f"<Response>{verbs}</Response>".encode(), URL)


def stream(attributes: str, nouns: str = "") -> twiml.Stream:
    (connect,) = parsed(f"<Connect><Stream {attributes}>{nouns}</Stream></Connect>").verbs
    assert isinstance(connect, twiml.Connect)
    return connect.stream


def test_verbs_are_read_in_order() -> None:
    document = parsed(
        "<Say>Please  <emphasis>hold</emphasis></Say><Play loop='2'>/music.wav</Play><Pause/><Pause length='5'/>"
        "<Dial action='/dialled'><Number>+12025550100</Number></Dial><Redirect method='get'>/again</Redirect>"
        "<Reject reason='busy'/><Hangup/>"
    )

    assert document.verbs == (
        twiml.Say("Please hold", loops=1),
        twiml.Play("https://voice.example.com/music.wav", loops=2),
        twiml.Pause(1),
        twiml.Pause(5),
        twiml.Dial(("+12025550100",), "https://voice.example.com/dialled", "POST"),
        twiml.Redirect("https://voice.example.com/again", "GET"),
        twiml.Reject("busy"),
        twiml.Hangup(),
    )
    assert document.warnings == ()


def test_a_connect_carries_its_stream_and_parameters() -> None:
    document = parsed(
        "<Connect action='/reattach?attempt=2' method='POST'>"
        "<Stream url='wss://voice.example.com/media-stream' name='agent' statusCallback='https://voice.example.com/s'>"
        "<Parameter name='token' value='t'/><Parameter name='callerNumber' value='+1'/></Stream></Connect>"
    )

    assert document.verbs == (
        twiml.Connect(
            twiml.Stream(
                url="wss://voice.example.com/media-stream",
                name="agent",
                parameters={"token": "t", "callerNumber": "+1"},
                status_callback="https://voice.example.com/s",
                status_callback_method="POST",
                error=None,
            ),
            action="https://voice.example.com/reattach?attempt=2",
            method="POST",
        ),
    )


def test_a_relative_stream_keeps_the_host_and_is_secure() -> None:
    assert stream("url='/media-stream'").url == "wss://voice.example.com/media-stream"


def test_a_streams_query_string_is_dropped_without_a_word() -> None:
    document = parsed("<Connect><Stream url='wss://voice.example.com/media?token=t'/></Connect>")

    (connect,) = document.verbs
    assert isinstance(connect, twiml.Connect)
    assert connect.stream.url == "wss://voice.example.com/media"
    assert document.warnings == ()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ("url='ws://voice.example.com/media'", 31922),
        ("url='https://voice.example.com/media'", 31922),
        ("url='wss://voice.example.com/media' track='both_tracks'", 31941),
        ("url='wss://voice.example.com/media' track='outbound_track'", 31941),
    ],
)
def test_a_stream_that_cannot_be_tried_knows_why(attributes: str, code: int) -> None:
    error = stream(attributes).error

    assert error is not None
    assert error.code == code


def test_the_inbound_track_may_be_named() -> None:
    assert stream("url='wss://voice.example.com/media' track='inbound_track'").error is None


@pytest.mark.parametrize(
    "verbs",
    [
        "<Gather/>",
        "<Connect/>",
        "<Connect><Stream url='/a'/><Stream url='/b'/></Connect>",
        "<Connect><Room>a</Room></Connect>",
        "<Connect><Stream url='/a'><Parameter name='token'/></Stream></Connect>",
        f"<Connect><Stream url='/a'><Parameter name='token' value='{'t' * 495}'/></Stream></Connect>",
        "<Redirect method='PUT'>/again</Redirect>",
        "<Pause length='long'/>",
        "<Play digits='one'/>",
        "<Play digits=''/>",
        "<Reject reason='tired'/>",
        "<Dial answerOnBridge='yes'>+12025550100</Dial>",
        "<Dial><Sip>sip:a@example.com</Sip></Dial>",
    ],
    ids=lambda verbs: verbs[:60],
)
def test_what_is_not_understood_is_skipped_with_a_warning(verbs: str) -> None:
    document = parsed(verbs + "<Hangup/>")

    assert document.verbs[-1] == twiml.Hangup()
    assert 12200 in {warned.code for warned in document.warnings}


def test_a_parameter_may_have_499_characters() -> None:
    parameters = stream("url='/a'", f"<Parameter name='token' value='{'t' * 494}'/>").parameters

    assert list(parameters) == ["token"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<Response>",
        b"<Answer/>",
        b"\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Response><Say>&a;</Say></Response>',
        b"<Response>" + b" " * 65_536 + b"</Response>",
    ],
    ids=["empty", "not-xml", "cut", "wrong-root", "not-utf-8", "entities", "too-large"],
)
def test_a_document_that_cannot_be_read_is_a_parse_failure(body: bytes) -> None:
    with pytest.raises(twiml.TwimlError) as failure:
        twiml.parse("application/xml", body, URL)

    assert failure.value.code == 12100


@pytest.mark.parametrize("content_type", ["", "application/json", "text/html; charset=utf-8", "text/plain"])
def test_any_other_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(twiml.TwimlError) as failure:
        twiml.parse(content_type, b"<Response/>", URL)

    assert failure.value.code == 12300


def test_a_dial_knows_how_long_it_rings() -> None:
    (dial,) = parsed("<Dial timeout='20' answerOnBridge='true'><Number>+12025550100</Number></Dial>").verbs

    assert dial == twiml.Dial(("+12025550100",), None, "POST", ring_s=20, answer_on_bridge=True)


@pytest.mark.parametrize(
    ("dial", "code"),
    [
        ("<Dial/>", 13223),
        ("<Dial>5550100</Dial>", 13223),
        ("<Dial><Number>sip:a@example.com</Number></Dial>", 13223),
        ("<Dial timeout='0'>+12025550100</Dial>", 13212),
        ("<Dial timeout='601'>+12025550100</Dial>", 13212),
    ],
)
def test_a_dial_that_cannot_be_tried_knows_why(dial: str, code: int) -> None:
    (verb,) = parsed(dial).verbs

    assert isinstance(verb, twiml.Dial)
    assert verb.error is not None
    assert verb.error.code == code


def test_keys_are_played_instead_of_a_file() -> None:
    assert parsed("<Play digits='12w3W*#'/>").verbs == (twiml.PlayDigits("12w3W*#"),)
