"""What one call does next: Twilio's way through the documents that the webhooks answer. Pure.

Rules (Twilio: TwiML for Programmable Voice; TwiML Connect, Enqueue, Leave; Availability and reliability):
- Verbs run in order; at the end of a document the call is hung up.
- `action` is asked for the next document when its verb has ended; without it the next verb runs.
- `<Dial>` tells its action what came of it as `DialCallStatus`, and so it does for a number that cannot be dialled.
- A call that is updated by the REST API leaves what it does for the new document.
- A stream that ends, however it ends, ends `<Connect>`.
- A call that leaves its queue, or does not get into it, ends `<Enqueue>`; its action is told `QueueResult`.
- In a queue only `<Play>`, `<Say>`, `<Pause>`, `<Redirect>`, `<Leave>` and `<Hangup>` run (`<Gather>` is not simulated).
  Anything else, or a `waitUrl` that fails, is `QueueResult=error`. A document without verbs left leads back to
  `waitUrl`, also after a `<Redirect>`; whether that one's request has the queue's parameters is not documented.
- `<Reject>` as the first verb refuses a call that has not been answered, so that its status is `busy` or `no-answer`
  (not documented; remembered). Later it can only hang up.
- A webhook that fails is reported and the fallback URL asked once, with `ErrorCode` and `ErrorUrl`;
  without one the caller hears that an application error has occurred, and is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from trunkline_simulators import twilio_twiml as twiml
from trunkline_simulators.twilio_queues import QueueResult
from trunkline_simulators.twilio_twiml import Warned

HTTP_FAILURE = 11200
LOST_STREAM_CODES = frozenset({31901, 31902, 31903, 31910, 31920})

# A document that redirects to itself would otherwise run for ever.
DOCUMENTS_MAX = 50

SILENCE_S = 10  # of an empty waitUrl, over and over
HASTY_DOCUMENTS_MAX = 10  # in a row without a verb that takes time: a loop

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
    status: int | None = None
    """Of its answer; None: there was none."""


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


@dataclass(frozen=True, slots=True)
class Joined:
    """The call is in its queue."""


@dataclass(frozen=True, slots=True)
class NotJoined:
    """The queue is full."""


@dataclass(frozen=True, slots=True)
class QueueLeft:
    """The call is not in its queue any more; `parameters` are what the action is told."""

    parameters: Mapping[str, str]


Event = Answered | Failed | VerbDone | DialEnded | StreamEnded | Updated | Joined | NotJoined | QueueLeft


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask a webhook; `parameters` come on top of the call's own."""

    url: str
    method: str = "POST"
    parameters: Mapping[str, str] = field(default_factory=dict)
    of_queue: bool = False  # and those of the call's place in its queue


@dataclass(frozen=True, slots=True)
class JoinQueue:
    """Wait in a queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class LeaveQueue:
    """Wait no longer."""

    result: QueueResult


@dataclass(frozen=True, slots=True)
class Finish:
    """The call is over."""

    reason: EndReason


Order = (
    Fetch
    | JoinQueue
    | LeaveQueue
    | twiml.Say
    | twiml.Play
    | twiml.PlayDigits
    | twiml.Pause
    | twiml.Dial
    | twiml.Stream
)
Command = Warned | Order | Finish


class Program:
    """One call's run; every list of commands ends with an order, whose outcome is the next event, or with `Finish`."""

    def __init__(
        self,
        voice_url: str,
        fallback_url: str | None = None,
        after_lost_stream: Literal["continue", "hang-up"] = "continue",
        redirects_in_queue_are_told: bool = True,
    ) -> None:
        self._voice_url = voice_url
        self._fallback_url = fallback_url
        # Not documented by Twilio, so both can be simulated.
        self._after_lost_stream = after_lost_stream
        self._url = voice_url
        self._documents = 0
        self._verbs: list[twiml.Verb] = []
        self._verb: twiml.Verb | None = None
        self._redirects_in_queue_are_told = redirects_in_queue_are_told
        self._waiting: _Waiting | None = None

    @property
    def rejected_as(self) -> Literal["busy", "no-answer"]:
        """The CallStatus of a call that was refused."""
        is_busy = isinstance(self._verb, twiml.Reject) and self._verb.reason == "busy"
        return "busy" if is_busy else "no-answer"

    def begin(self) -> list[Command]:
        """Return the first request, to the number's own webhook."""
        return self._fetch(Fetch(self._voice_url))

    def handle(self, event: Event) -> list[Command]:
        """Apply the outcome of the last command and return what follows."""
        if self._waiting is not None and isinstance(event, Answered | Failed | VerbDone):
            return self._waiting.handle(event)
        match event:
            case Answered(content_type, body):
                return self._run(content_type, body)
            case Failed(detail):
                return self._fail(HTTP_FAILURE, detail)
            case VerbDone():
                return self._after_verb()
            case DialEnded(status):
                return self._after_dial(status)
            case Joined():
                return self._wait()
            case NotJoined():
                return self._after_queue({"QueueResult": "queue-full"})
            case QueueLeft(parameters):
                return self._after_queue(parameters)
            case Updated(document, url, method):
                self._waiting = None
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
            case twiml.Enqueue(queue):
                return [JoinQueue(queue)]
            case twiml.Leave():
                return [
                    Warned(twiml.SCHEMA_WARNING, "<Leave> outside of a waitUrl's document"),
                    *self._next(),
                ]
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

    def _wait(self) -> list[Command]:
        assert isinstance(self._verb, twiml.Enqueue)
        self._waiting = _Waiting(self._verb, redirects_are_told=self._redirects_in_queue_are_told)
        return self._waiting.begin()

    def _after_queue(self, parameters: Mapping[str, str]) -> list[Command]:
        self._waiting = None
        match self._verb:
            case twiml.Enqueue(action=str(action), method=method):
                return self._fetch(Fetch(action, method, parameters))
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


class _Waiting:
    """One call's stay in a queue; every list of commands ends as those of `Program`."""

    def __init__(self, enqueue: twiml.Enqueue, *, redirects_are_told: bool) -> None:
        self._enqueue = enqueue
        self._redirects_are_told = redirects_are_told
        self._url = enqueue.wait_url
        self._verbs: list[twiml.Verb] = []
        self._hasty_documents = 0

    def begin(self) -> list[Command]:
        """Return the first request, or the first silence."""
        if not self._enqueue.wait_url:
            return [twiml.Pause(SILENCE_S)]
        return self._fetch(self._enqueue.wait_url, self._enqueue.wait_method, told=True)

    def handle(self, event: Answered | Failed | VerbDone) -> list[Command]:
        """Apply the outcome of the last command and return what follows."""
        match event:
            case Answered(content_type, body):
                return self._run(content_type, body)
            case Failed(detail):
                return self._fail(HTTP_FAILURE, detail)
            case VerbDone():
                return self._next()

    def _run(self, content_type: str, body: bytes) -> list[Command]:
        try:
            document = twiml.parse(content_type, body, self._url)
        except twiml.TwimlError as error:
            return self._fail(error.code, error.detail)
        self._verbs = list(document.verbs)
        return [*document.warnings, *self._next()]

    def _next(self) -> list[Command]:
        if not self._verbs:
            return self.begin()
        verb = self._verbs.pop(0)
        match verb:
            case twiml.Say() | twiml.Play() | twiml.Pause():
                self._hasty_documents = 0
                return [verb]
            case twiml.Redirect(url, method):
                return self._fetch(url, method, told=self._redirects_are_told)
            case twiml.Leave():
                return [LeaveQueue("leave")]
            case twiml.Hangup():
                return [Finish("hangup")]
            case _:
                return self._fail(twiml.SCHEMA_WARNING, f"<{type(verb).__name__}> in a waitUrl's document")

    def _fail(self, code: int, detail: str) -> list[Command]:
        return [Warned(code, detail), LeaveQueue("error")]

    def _fetch(self, url: str, method: str, *, told: bool) -> list[Command]:
        self._hasty_documents += 1
        if self._hasty_documents > HASTY_DOCUMENTS_MAX:
            return [Finish("too-many-documents")]
        self._url = url
        return [Fetch(url, method, of_queue=told)]
