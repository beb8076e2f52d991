"""TwiML read as Twilio reads it: a document becomes verbs, and what is wrong with it gets Twilio's number.

Rules (Twilio: TwiML for Programmable Voice, and each verb's page):
- Anything but XML with the root `<Response>` is 12100; any other content type is 12300.
- Unknown verbs, nouns and attribute values are skipped with warning 12200.
- URLs may be relative to the document's; a stream's query string is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

PARSE_FAILURE = 12100
SCHEMA_WARNING = 12200
WRONG_CONTENT_TYPE = 12300
DIAL_WRONG_TIMEOUT = 13212
DIAL_WRONG_NUMBER = 13223
STREAM_WRONG_SCHEME = 31922
STREAM_WRONG_TRACK = 31941

CONTENT_TYPES = ("text/xml", "application/xml")
DOCUMENT_BYTES_MAX = 64 * 1024  # larger TwiML is refused by Twilio
PARAMETER_CHARACTERS_MAX = 500  # name and value together (Twilio: TwiML Stream)
RING_S = 30  # of <Dial>, unless it says (Twilio: TwiML Dial)
RING_S_MAX = 600
DIGITS = re.compile(r"[0-9*#wW]+")  # of <Play>; `w` is half a second of silence, `W` a whole one
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
QUEUE_NAME_CHARACTERS_MAX = 64  # (Twilio: TwiML Enqueue)
LOOPS_MAX = 1000  # Twilio's own limit; `loop="0"` asks for it


@dataclass(frozen=True, slots=True)
class Warned:
    """One line of Twilio's debugger: its error number, and what this one was about."""

    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text to the caller."""

    text: str
    loops: int


@dataclass(frozen=True, slots=True)
class Play:
    """Play a sound file to the caller."""

    url: str
    loops: int


@dataclass(frozen=True, slots=True)
class PlayDigits:
    """Play keys as DTMF."""

    digits: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing for a while."""

    length_s: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go on with another document."""

    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect the caller with somebody else; `error` says why nobody can be dialled."""

    numbers: tuple[str, ...]
    action: str | None
    method: str
    ring_s: int = RING_S
    answer_on_bridge: bool = False
    error: Warned | None = None


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the call."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the call before it is answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Wait in a queue and hear what `wait_url` answers, if it is not empty."""

    queue: str
    wait_url: str
    wait_method: str
    action: str | None
    method: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the queue; only for the documents of a `waitUrl`."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The bidirectional stream of a `<Connect>`; `error` says why it cannot even be tried."""

    url: str
    name: str | None
    parameters: Mapping[str, str]
    status_callback: str | None
    status_callback_method: str
    error: Warned | None


@dataclass(frozen=True, slots=True)
class Connect:
    """Hold the call in a stream until that ends."""

    stream: Stream
    action: str | None
    method: str


Verb = Say | Play | PlayDigits | Pause | Redirect | Dial | Hangup | Reject | Connect | Enqueue | Leave


@dataclass(frozen=True, slots=True)
class Document:
    """The verbs of one document in order, and what was skipped on the way."""

    verbs: tuple[Verb, ...]
    warnings: tuple[Warned, ...]


class TwimlError(Exception):
    """A document that cannot be run at all; `code` is Twilio's error number."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def parse(content_type: str, body: bytes, document_url: str) -> Document:
    """Read one HTTP answer as TwiML; raises `TwimlError` when there is nothing to run."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in CONTENT_TYPES:
        raise TwimlError(WRONG_CONTENT_TYPE, f"Content-Type is {media_type or 'missing'!r}, not text/xml")
    reader = _Reader(document_url)
    verbs = tuple(verb for element in _root(body) if (verb := reader.verb(element)) is not None)
    return Document(verbs, tuple(reader.warnings))


def _root(body: bytes) -> ET.Element:
    if len(body) > DOCUMENT_BYTES_MAX:
        _fail(f"{len(body)} bytes of TwiML, more than {DOCUMENT_BYTES_MAX}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _fail(f"not UTF-8: {error}")
    if "<!DOCTYPE" in text:
        _fail("a document type declaration is not allowed")
    try:
        root = ET.fromstring(text)  # noqa: S314 - small, and without declarations there are no entities
    except ET.ParseError as error:
        _fail(f"not XML: {error}")
    if root.tag != "Response":
        _fail(f"the root is <{root.tag}>, not <Response>")
    return root


def _fail(detail: str) -> NoReturn:
    raise TwimlError(PARSE_FAILURE, detail)


class _Reader:
    def __init__(self, document_url: str) -> None:
        self.warnings: list[Warned] = []
        self._document_url = document_url

    def verb(self, element: ET.Element) -> Verb | None:
        match element.tag:
            case "Say":
                return Say(" ".join("".join(element.itertext()).split()), self._loops(element))
            case "Play":
                return self._play(element)
            case "Pause":
                return Pause(self._integer(element, "length", 1))
            case "Redirect":
                return Redirect(self._url(element.text), self._method(element, "method"))
            case "Dial":
                return self._dial(element)
            case "Hangup":
                return Hangup()
            case "Reject":
                return Reject(self._word(element, "reason", "rejected", "busy"))
            case "Connect":
                return self._connect(element)
            case "Enqueue":
                return self._enqueue(element)
            case "Leave":
                return Leave()
            case _:
                self._skip(f"<{element.tag}> is unknown or not simulated")
                return None

    def _play(self, element: ET.Element) -> Play | PlayDigits | None:
        digits = element.get("digits")
        if digits is None:
            return Play(self._url(element.text), self._loops(element))
        if DIGITS.fullmatch(digits):
            return PlayDigits(digits)
        self._skip(f"digits {digits[:10]!r} of <Play>")
        return None

    def _dial(self, element: ET.Element) -> Dial:
        for noun in element:
            if noun.tag != "Number":
                self._skip(f"<{noun.tag}> in <Dial> is not simulated")
        nouns = [(noun.text or "").strip() for noun in element.findall("Number")]
        numbers = tuple(number for number in [(element.text or "").strip(), *nouns] if number)
        ring_s = self._integer(element, "timeout", RING_S)
        error = None
        if not 1 <= ring_s <= RING_S_MAX:
            error = Warned(DIAL_WRONG_TIMEOUT, f"timeout {ring_s} of <Dial>")
        elif not numbers or not all(E164.fullmatch(number) for number in numbers):
            error = Warned(DIAL_WRONG_NUMBER, "<Dial> without a number in E.164 format")
        return Dial(
            numbers,
            self._action(element),
            self._method(element, "method"),
            ring_s,
            self._word(element, "answerOnBridge", "false", "true") == "true",
            error,
        )

    def _enqueue(self, element: ET.Element) -> Enqueue | None:
        queue = (element.text or "").strip()
        if not 1 <= len(queue) <= QUEUE_NAME_CHARACTERS_MAX or len(element):
            self._skip(f"<Enqueue> must hold a name of 1 to {QUEUE_NAME_CHARACTERS_MAX} characters")
            return None
        wait_url = element.get("waitUrl")
        if wait_url is None:
            self._skip("Twilio's own hold music of an <Enqueue> without waitUrl is not simulated")
        return Enqueue(
            queue,
            self._url(wait_url) if wait_url else "",
            self._method(element, "waitUrlMethod"),
            self._action(element),
            self._method(element, "method"),
        )

    def _connect(self, element: ET.Element) -> Connect | None:
        streams = element.findall("Stream")
        for noun in element:
            if noun.tag != "Stream":
                self._skip(f"<{noun.tag}> in <Connect> is not simulated")
        if len(streams) != 1:
            self._skip(f"<Connect> with {len(streams)} <Stream>s")
            return None
        return Connect(self._stream(streams[0]), self._action(element), self._method(element, "method"))

    def _stream(self, element: ET.Element) -> Stream:
        # A relative address keeps the document's host; Twilio speaks to streams only by TLS.
        secure = urlsplit(self._document_url)._replace(scheme="wss")
        parts = urlsplit(urljoin(urlunsplit(secure), element.get("url", "")))
        track = element.get("track", "inbound_track")
        error = None
        if parts.scheme != "wss":
            error = Warned(STREAM_WRONG_SCHEME, f"the stream's scheme is {parts.scheme!r}, not wss")
        elif track != "inbound_track":
            error = Warned(STREAM_WRONG_TRACK, f"track {track!r} is not allowed in <Connect>")
        callback = element.get("statusCallback")
        return Stream(
            url=urlunsplit(parts._replace(query="", fragment="")),
            name=element.get("name"),
            parameters=self._parameters(element),
            status_callback=self._url(callback) if callback else None,
            status_callback_method=self._method(element, "statusCallbackMethod"),
            error=error,
        )

    def _parameters(self, element: ET.Element) -> dict[str, str]:
        parameters = {}
        for parameter in element.findall("Parameter"):
            name, value = parameter.get("name"), parameter.get("value")
            if not name or value is None:
                self._skip("<Parameter> without name or value")
            elif len(name) + len(value) >= PARAMETER_CHARACTERS_MAX:
                self._skip(
                    f"<Parameter name={name[:40]!r}> has {PARAMETER_CHARACTERS_MAX} characters or more"
                )
            else:
                parameters[name] = value
        return parameters

    def _action(self, element: ET.Element) -> str | None:
        action = element.get("action")
        return self._url(action) if action else None

    def _method(self, element: ET.Element, attribute: str) -> str:
        method = element.get(attribute, "POST").upper()
        if method in ("GET", "POST"):
            return method
        self._skip(f"{attribute} {method[:10]!r} of <{element.tag}>")
        return "POST"

    def _word(self, element: ET.Element, attribute: str, default: str, other: str) -> str:
        word = element.get(attribute, default)
        if word in (default, other):
            return word
        self._skip(f"{attribute} {word[:10]!r} of <{element.tag}>")
        return default

    def _loops(self, element: ET.Element) -> int:
        return min(self._integer(element, "loop", 1) or LOOPS_MAX, LOOPS_MAX)

    def _integer(self, element: ET.Element, attribute: str, default: int) -> int:
        text = element.get(attribute, str(default))
        if text.isascii() and text.isdigit() and len(text) < 6:
            return int(text)
        self._skip(f"{attribute} {text[:10]!r} of <{element.tag}>")
        return default

    def _url(self, text: str | None) -> str:
        return urljoin(self._document_url, (text or "").strip())

    def _skip(self, detail: str) -> None:
        self.warnings.append(Warned(SCHEMA_WARNING, detail))
