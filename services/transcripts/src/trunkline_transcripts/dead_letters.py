"""Events that can never be stored: a stream of their own in JetStream, where they lie as they came.

`table` in `dead_letter_table` has a row for each, for people who look with SQL; the bytes are here only.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, RawStreamMsg, StreamConfig
from nats.js.errors import NotFoundError

from trunkline_common import subjects

STREAM: Final = "DLQ"
MAX_BYTES: Final = 256 * 1024**2
"""Full means that the oldest go. Refusing the newest would keep unusable events in the way of good ones."""
MAX_AGE_S: Final = 90 * 24 * 3600
TIMEOUT_S: Final = 5
WHY_CHARACTERS_MAX: Final = 200

_SUBJECT: Final = "Trunkline-Subject"
_REASON: Final = "Trunkline-Reason"
_WHY: Final = "Trunkline-Why"
_ID_PREFIX: Final = f"{subjects.EVENT_STREAM}-"


class Reason(NamedTuple):
    """Why an event is set aside."""

    word: str
    """`unreadable` or `refused` by Postgres."""
    why: str
    """One line, for people who may see the event itself: it may quote it."""


class Letter(NamedTuple):
    """An event that was set aside."""

    number: int
    """Its place in the stream of dead letters: what people name it by."""
    set_aside_at: datetime
    reason: Reason
    subject: str
    """Where it was published: `ev.v1.<call>.<kind>`."""
    event_sequence: int
    """Its place in the event log; 0 when the letter does not tell."""
    payload: bytes


def reason(word: str, why: str) -> Reason:
    """Return the reason; `why` is cut to one short line that headers and Postgres take."""
    # NUL is whitespace neither to `split` nor to Postgres; a lone surrogate is no text to either.
    printable = why.replace("\0", "\ufffd").encode(errors="replace").decode()
    return Reason(word, " ".join(printable.split())[:WHY_CHARACTERS_MAX])


async def ensure_stream(jetstream: JetStreamContext, replicas: int) -> None:
    """Create the stream, on so many servers, if it is not there."""
    try:
        await jetstream.stream_info(STREAM)
    except NotFoundError:
        await jetstream.add_stream(
            StreamConfig(
                name=STREAM,
                description="Events that could not be stored, as they came, with the reason in their headers",
                subjects=[subjects.DEAD_LETTERS],
                discard=DiscardPolicy.OLD,
                max_bytes=MAX_BYTES,
                max_age=MAX_AGE_S,
                num_replicas=replicas,
            )
        )


async def send(jetstream: JetStreamContext, message: Msg, why: Reason) -> None:
    """Copy an event of the log to the dead letters; on return JetStream has it."""
    headers: dict[str, str] = {
        Header.MSG_ID: f"{_ID_PREFIX}{message.metadata.sequence.stream}",
        _SUBJECT: message.subject,
        _REASON: why.word,
        _WHY: why.why,
    }
    await jetstream.publish(subjects.DEAD_LETTERS, message.data, TIMEOUT_S, headers=headers)


async def each(jetstream: JetStreamContext) -> AsyncIterator[Letter]:
    """Yield every letter, the oldest first, one at a time: each may be as large as an event can be."""
    number = 0
    while True:
        try:
            found = await jetstream.get_msg(STREAM, number + 1, subject=subjects.DEAD_LETTERS, next=True)
        except NotFoundError:
            return
        letter = _letter(found)
        number = letter.number
        yield letter


async def find(jetstream: JetStreamContext, number: int) -> Letter | None:
    """Return the letter, or None when there is none of that number."""
    try:
        return _letter(await jetstream.get_msg(STREAM, number))
    except NotFoundError:
        return None


async def delete(jetstream: JetStreamContext, number: int) -> None:
    """Take a letter out of the stream; one that is gone already is no error."""
    try:
        await jetstream.delete_msg(STREAM, number)
    except NotFoundError:
        return


def _letter(found: RawStreamMsg) -> Letter:
    headers = found.headers or {}
    sequence = headers.get(Header.MSG_ID, "").removeprefix(_ID_PREFIX)
    assert found.seq is not None, "JetStream numbers every message"
    return Letter(
        number=found.seq,
        set_aside_at=found.time or datetime.fromtimestamp(0, UTC),
        reason=Reason(headers.get(_REASON, ""), headers.get(_WHY, "")),
        subject=headers.get(_SUBJECT, ""),
        event_sequence=int(sequence) if sequence.isascii() and sequence.isdigit() else 0,
        payload=found.data or b"",
    )
