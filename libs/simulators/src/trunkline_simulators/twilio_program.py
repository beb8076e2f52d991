"""What one call does next: Twilio's way through the documents that the webhooks answer. Pure.

Rules (Twilio: TwiML for Programmable Voice; TwiML Connect; Availability and reliability):
- Verbs run in order; at the end of a document the call is hung up.
- `action` is asked for the next document when its verb has ended; without it the next verb runs.
- `<Dial>` tells its action what came of it as `DialCallStatus`, and so it does for a number that cannot be dialled.
- A call that is updated by the REST API leaves what it does for the new document.
- A stream that ends, however it ends, ends `<Connect>`.
- A webhook that fails is reported and the fallback URL asked once, with `ErrorCode` and `ErrorUrl`;
  without one the caller hears that an application error has occurred, and is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_twiml import Warned

HTTP_FAILURE = 11200
LOST_STREAM_CODES = frozenset({31901, 31902, 31903, 31910, 31920})

# A document that redirects to itself would otherwise run for ever.
DOCUMENTS_MAX = 50

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."

EndReason = Literal[
    "hangup",  # <Hangup>
    "reject",  # <Reject>
    "end-of-twiml",
    "application-error",
    "stream-lost",  # only with `after_lost_stream="hang-up"`
    "too-many-documents",
    "caller-hung-up",  # by the script
    "ended-by-api",
    "not-answered",  # an outbound call
    "caller-gave-up",  # the agent was silent for too long
    "time-limit",
]


@dataclass(frozen=True, slots=True)
class Answered:
    """A webhook answered with a status that HTTP calls a success."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A webhook did not answer, or with an error status."""

    detail: str


@dataclass(frozen=True, slots=True)
class VerbDone:
    """The verb that was ordered has run."""


DialStatus = Literal["completed", "answered", "busy", "no-answer", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class DialEnded:
    """The `<Dial>` that was ordered is over."""

    status: DialStatus


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream that was ordered is over; `error` is what Twilio reports, if anything."""

    stream_sid: str
    error: Warned | None


@dataclass(frozen=True, slots=True)
class Updated:
    """The REST API has given the call another document: this one, or what `url` answers."""

    twiml: bytes | None
    url: str = ""
    method: str = "POST"


Event = Answered | Failed | VerbDone | DialEnded | StreamEnded | Updated


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask a webhook; `parameters` come on top of the call's own."""

    url: str
    method: str = "POST"
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finish:
    """The call is over."""

    reason: EndReason


Order = Fetch | twiml.Say | twiml.Play | twiml.PlayDigits | twiml.Pause | twiml.Dial | twiml.Stream
Command = Warned | Order | Finish


class Program:
    """One call's run; every list of commands ends with an order, whose outcome is the next event, or with `Finish`."""

    def __init__(
        self,
        voice_url: str,
        fallback_url: str | None = None,
        after_lost_stream: Literal["continue", "hang-up"] = "continue",
    ) -> None:
        self._voice_url = voice_url
        self._fallback_url = fallback_url
        # Not documented by Twilio, so both can be simulated.
        self._after_lost_stream = after_lost_stream
        self._url = voice_url
        self._documents = 0
        self._verbs: list[twiml.Verb] = []
        self._verb: twiml.Verb | None = None

    def begin(self) -> list[Command]:
        """Return the first request, to the number's own webhook."""
        return self._fetch(Fetch(self._voice_url))

    def handle(self, event: Event) -> list[Command]:
        """Apply the outcome of the last command and return what follows."""
        match event:
            case Answered(content_type, body):
                return self._run(content_type, body)
            case Failed(detail):
                return self._fail(HTTP_FAILURE, detail)
            case VerbDone():
                return self._after_verb()
            case DialEnded(status):
                return self._after_dial(status)
            case Updated(document, url, method):
                if document is None:
                    return self._fetch(Fetch(url, method))
                return self._run("text/xml", document)
            case StreamEnded(stream_sid, error):
                return self._after_stream(stream_sid, error)
            case _:
                assert_never(event)

    def _run(self, content_type: str, body: bytes) -> list[Command]:
        try:
            document = twiml.parse(content_type, body, self._url)
        except twiml.TwimlError as error:
            return self._fail(error.code, error.detail)
        self._verbs = list(document.verbs)
        return [*document.warnings, *self._next()]

    def _fail(self, code: int, detail: str) -> list[Command]:
        reported = Warned(code, detail)
        self._verbs = []
        if self._fallback_url is None or self._url == self._fallback_url:
            self._verb = None
            return [reported, twiml.Say(APPLICATION_ERROR, loops=1)]
        parameters = {"ErrorCode": str(code), "ErrorUrl": self._url}
        return [reported, *self._fetch(Fetch(self._fallback_url, parameters=parameters))]

    def _next(self) -> list[Command]:
        if not self._verbs:
            return [Finish("end-of-twiml")]
        self._verb = self._verbs.pop(0)
        match self._verb:
            case twiml.Redirect(url, method):
                return self._fetch(Fetch(url, method))
            case twiml.Connect(stream):
                if stream.error is not None:
                    return self._after_stream("", stream.error)
                return [stream]
            case twiml.Hangup():
                return [Finish("hangup")]
            case twiml.Reject():
                return [Finish("reject")]
            case twiml.Dial(error=Warned() as error):
                return [error, *self._after_dial("failed")]
            case twiml.Say() | twiml.Play() | twiml.PlayDigits() | twiml.Pause() | twiml.Dial():
                return [self._verb]
            case _:
                assert_never(self._verb)

    def _after_verb(self) -> list[Command]:
        match self._verb:
            case None:
                return [Finish("application-error")]
            case _:
                return self._next()

    def _after_dial(self, status: DialStatus) -> list[Command]:
        match self._verb:
            case twiml.Dial(action=str(action), method=method):
                return self._fetch(Fetch(action, method, {"DialCallStatus": status}))
            case _:
                return self._next()

    def _after_stream(self, stream_sid: str, error: Warned | None) -> list[Command]:
        reported: list[Command] = [] if error is None else [error]
        if error is not None and error.code in LOST_STREAM_CODES and self._after_lost_stream == "hang-up":
            return [*reported, Finish("stream-lost")]
        match self._verb:
            case twiml.Connect(action=str(action), method=method):
                # Which fields a stream adds is not documented.
                parameters = {"StreamSid": stream_sid} if stream_sid else {}
                return [*reported, *self._fetch(Fetch(action, method, parameters))]
            case _:
                return [*reported, *self._next()]

    def _fetch(self, request: Fetch) -> list[Command]:
        self._documents += 1
        if self._documents > DOCUMENTS_MAX:
            return [Finish("too-many-documents")]
        self._url = request.url
        return [request]
