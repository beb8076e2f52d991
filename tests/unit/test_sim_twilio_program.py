"""Twilio's way through the documents of one call (see `twilio_program`)."""

import pytest

from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_program import (
    APPLICATION_ERROR,
    DOCUMENTS_MAX,
    Answered,
    Command,
    DialEnded,
    DialStatus,
    Failed,
    Fetch,
    Finish,
    Program,
    StreamEnded,
    Updated,
    VerbDone,
)
from trunkline_simulators.twilio_twiml import Warned

VOICE = "https://voice.example.com/voice"
FALLBACK = "https://fallback.example.com/voice"
STREAM = "<Stream url='wss://voice.example.com/media-stream'/>"
BROKEN = Warned(31903, "the connection broke")


def answered(verbs: str, content_type: str = "text/xml") -> Answered:
    return Answered(content_type, f"<Response>{verbs}</Response>".encode())


def running(verbs: str) -> tuple[Program, list[Command]]:
    program = Program(VOICE)
    program.begin()
    return program, program.handle(answered(verbs))


def test_a_call_begins_with_the_numbers_webhook() -> None:
    assert Program(VOICE).begin() == [Fetch(VOICE)]


def test_verbs_run_one_after_another_and_then_the_call_is_hung_up() -> None:
    program, first = running("<Say>One</Say><Pause/>")

    assert first == [twiml.Say("One", 1)]
    assert program.handle(VerbDone()) == [twiml.Pause(1)]
    assert program.handle(VerbDone()) == [Finish("end-of-twiml")]


@pytest.mark.parametrize(
    ("verb", "reason"), [("<Hangup/>", "hangup"), ("<Reject/>", "reject"), ("", "end-of-twiml")]
)
def test_a_document_may_end_the_call(verb: str, reason: str) -> None:
    assert [type(each) for each in running(verb)[1]] == [Finish]
    assert running(verb)[1] == [Finish(reason)]  # type: ignore[arg-type]  # pytest gives a plain str


def test_a_redirect_goes_on_with_another_document() -> None:
    program, commands = running("<Redirect>/full</Redirect><Say>Never said</Say>")

    assert commands == [Fetch("https://voice.example.com/full")]
    assert program.handle(answered("<Hangup/>")) == [Finish("hangup")]


def test_relative_addresses_follow_the_document() -> None:
    program, _ = running("<Redirect>/deep/one</Redirect>")

    assert program.handle(answered("<Redirect>two</Redirect>")) == [
        Fetch("https://voice.example.com/deep/two")
    ]


def test_a_stream_that_ends_asks_the_action_and_runs_no_further_verb() -> None:
    program, commands = running(f"<Connect action='/reattach'>{STREAM}</Connect><Say>Never said</Say>")
    assert [type(each) for each in commands] == [twiml.Stream]

    commands = program.handle(StreamEnded("MZ1", None))

    assert commands == [Fetch("https://voice.example.com/reattach", parameters={"StreamSid": "MZ1"})]


def test_without_action_the_next_verb_runs() -> None:
    program, _ = running(f"<Connect>{STREAM}</Connect><Redirect>/reattach</Redirect>")

    assert program.handle(StreamEnded("MZ1", None)) == [Fetch("https://voice.example.com/reattach")]


def test_without_action_and_verb_the_call_is_hung_up() -> None:
    program, _ = running(f"<Connect>{STREAM}</Connect>")

    assert program.handle(StreamEnded("MZ1", None)) == [Finish("end-of-twiml")]


@pytest.mark.parametrize("code", [31901, 31902, 31903, 31910, 31920, 31921])
def test_a_lost_stream_is_reported_and_the_call_goes_on(code: int) -> None:
    program, _ = running(f"<Connect action='/reattach'>{STREAM}</Connect>")
    error = Warned(code, "lost")

    reported, fetch = program.handle(StreamEnded("MZ1", error))

    assert reported == error
    assert isinstance(fetch, Fetch)


def test_a_lost_stream_may_end_the_call_instead() -> None:
    program = Program(VOICE, after_lost_stream="hang-up")
    program.begin()
    program.handle(answered(f"<Connect action='/reattach'>{STREAM}</Connect>"))

    assert program.handle(StreamEnded("MZ1", BROKEN)) == [BROKEN, Finish("stream-lost")]


def test_a_stream_closed_by_the_server_never_ends_the_call() -> None:
    program = Program(VOICE, after_lost_stream="hang-up")
    program.begin()
    program.handle(answered(f"<Connect>{STREAM}</Connect><Say>Goodbye</Say>"))
    closed = Warned(31921, "close code 1000")

    assert program.handle(StreamEnded("MZ1", closed)) == [closed, twiml.Say("Goodbye", 1)]


def test_a_stream_that_cannot_be_tried_ends_at_once() -> None:
    _, commands = running("<Connect action='/ended'><Stream url='ws://voice.example.com/m'/></Connect>")

    reported, fetch = commands
    assert isinstance(reported, Warned)
    assert reported.code == 31922
    assert fetch == Fetch("https://voice.example.com/ended")


@pytest.mark.parametrize("status", ["completed", "busy", "no-answer", "failed"])
def test_a_dial_asks_its_action_with_the_outcome(status: DialStatus) -> None:
    program, _ = running("<Dial action='/dialled'>+12025550100</Dial>")

    assert program.handle(DialEnded(status)) == [
        Fetch("https://voice.example.com/dialled", parameters={"DialCallStatus": status})
    ]


def test_a_number_that_cannot_be_dialled_has_failed_at_once() -> None:
    _, commands = running("<Dial action='/dialled'><Number>colleague</Number></Dial>")

    assert commands == [
        Warned(13223, "<Dial> without a number in E.164 format"),
        Fetch("https://voice.example.com/dialled", parameters={"DialCallStatus": "failed"}),
    ]


def test_a_dial_without_action_goes_on_with_the_next_verb() -> None:
    program, _ = running("<Dial>+12025550100</Dial><Pause/>")

    assert program.handle(DialEnded("busy")) == [twiml.Pause(1)]


def test_an_updated_call_leaves_its_document_for_the_new_one() -> None:
    program, _ = running(f"<Connect action='/reattach'>{STREAM}</Connect>")

    assert program.handle(Updated(b"<Response><Pause/></Response>")) == [twiml.Pause(1)]
    assert program.handle(Updated(None, "https://voice.example.com/new", "GET")) == [
        Fetch("https://voice.example.com/new", "GET")
    ]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Failed("HTTP 500"), 11200),
        (answered("", "application/json"), 12300),
        (Answered("text/xml", b"oops"), 12100),
    ],
    ids=["status", "content-type", "twiml"],
)
def test_a_failed_webhook_leads_to_the_fallback_once(outcome: Failed | Answered, code: int) -> None:
    program = Program(VOICE, FALLBACK)
    program.begin()

    reported, fetch = program.handle(outcome)
    again, say = program.handle(Failed("HTTP 500"))

    assert isinstance(reported, Warned)
    assert reported.code == code
    assert fetch == Fetch(FALLBACK, parameters={"ErrorCode": str(code), "ErrorUrl": VOICE})
    assert again == Warned(11200, "HTTP 500")
    assert say == twiml.Say(APPLICATION_ERROR, 1)


def test_without_a_fallback_the_caller_hears_of_an_error_and_is_cut_off() -> None:
    program = Program(VOICE)
    program.begin()

    commands = program.handle(Failed("HTTP 403"))

    assert commands == [Warned(11200, "HTTP 403"), twiml.Say(APPLICATION_ERROR, 1)]
    assert program.handle(VerbDone()) == [Finish("application-error")]


def test_the_fallbacks_document_goes_on_with_the_call() -> None:
    program = Program(VOICE, FALLBACK)
    program.begin()
    program.handle(Failed("HTTP 500"))

    assert program.handle(answered("<Say>We call you back</Say>")) == [twiml.Say("We call you back", 1)]


def test_what_a_document_gets_wrong_is_reported_before_it_runs() -> None:
    warned, finish = running("<Gather/>")[1]

    assert isinstance(warned, Warned)
    assert warned.code == 12200
    assert finish == Finish("end-of-twiml")


def test_a_circle_of_redirects_ends() -> None:
    program = Program(VOICE)
    commands = program.begin()
    for _ in range(DOCUMENTS_MAX):
        assert commands == [Fetch(VOICE)]
        commands = program.handle(answered("<Redirect/>"))

    assert commands == [Finish("too-many-documents")]
