"""Every NATS subject, stream and queue group, as functions of the names that fill them.

Audio is addressed to a process, never to a call: interest is then one wildcard subscription per process, and
it exists before the first frame. (A subscription per call lost its first message in 55 of 300 tries on a
three-node cluster.)
"""

import hashlib
import re
from typing import Final

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

ASSIGN_QUEUE: Final = "w"
"""Queue group of the workers that have room for another call."""

REDIRECT: Final = "gw.v1.redirect"
"""Request to the gateways that may use Twilio's REST API: have Twilio attach this call again."""

REDIRECT_QUEUE: Final = "g"
"""Queue group of these gateways."""

EVENT_STREAM: Final = "EV"
"""JetStream stream that holds every call's event log."""

EVERY_EVENT: Final = "ev.v1.>"
STORE_CONSUMER: Final = "store"
"""Durable consumer of the transcripts service."""

DEAD_LETTERS: Final = "dlq.v1.store"

CALL_CLAIMS: Final = "outbound-calls"
"""Key-value bucket of the gateways: which Idempotency-Key has led to which outbound call."""

_WITHHELD: Final = frozenset(
    {
        "",
        "anonymous",
        "blocked",
        "restricted",
        "unavailable",
        "unknown",
        "+2562533",
        "+266696687",
        "+7378742833",
        "+86282452253",
        "+8656696",
    }
)
"""What stands for a caller who does not show a number; the digits spell the words on a keypad (Twilio: Help
Center, "What do these unexpected caller IDs mean")."""


class InvalidTokenError(ValueError):
    """A name from outside may not become part of a subject."""


def token(value: str) -> str:
    """Return `value` if it may stand in a subject; raise `InvalidTokenError` otherwise.

    A call id comes from the wire, and one that held `.`, `*` or `>` would address other calls.
    """
    if not _TOKEN.fullmatch(value):
        raise InvalidTokenError(f"{value[:80]!r} does not match [A-Za-z0-9_-]{{1,64}}")
    return value


def inbox(service: str) -> str:
    """What the addresses of answers to a service begin with; of its own, so that no other service may read them."""
    return f"_INBOX.{token(service)}"


def assign(region: str) -> str:
    """Request: will a worker take this call?"""
    return f"rt.v1.assign.{token(region)}"


TREATMENT_QUEUE: Final = "t"
"""Queue group of all workers, with room or without."""


def treatment(region: str) -> str:
    """Request: what do callers of a line get who get no agent?"""
    return f"rt.v1.full.{token(region)}"


def worker_up(worker: str, call_id: str) -> str:
    """Caller audio, played marks, DTMF and stop: gateway to worker."""
    return f"rt.v1.w.{token(worker)}.c.{token(call_id)}.up"


def every_worker_up(worker: str) -> str:
    """All calls' upward frames of one worker."""
    return f"rt.v1.w.{token(worker)}.c.*.up"


def worker_assign(worker: str) -> str:
    """Request: will this worker take this call? Asked where the queue group's choice did not answer."""
    return f"rt.v1.w.{token(worker)}.assign"


def worker_ping(worker: str) -> str:
    """Request: are you alive, and how far is each call?"""
    return f"rt.v1.w.{token(worker)}.ping"


EVERY_HEARTBEAT: Final = "rt.v1.hb.*"


def heartbeat(worker: str) -> str:
    """Load of one worker, once a second: for people and scaling, not for detection."""
    return f"rt.v1.hb.{token(worker)}"


def gateway_down(gateway: str, call_id: str) -> str:
    """Agent audio, marks, clear and hang-up: worker to gateway."""
    return f"gw.v1.{token(gateway)}.c.{token(call_id)}.dn"


def every_gateway_down(gateway: str) -> str:
    """All calls' downward frames of one gateway."""
    return f"gw.v1.{token(gateway)}.c.*.dn"


def gateway_ping(gateway: str) -> str:
    """Request: are you alive? The answer is empty."""
    return f"gw.v1.{token(gateway)}.ping"


def call_of_up(subject: str) -> str:
    """Return the call id in a `worker_up` subject."""
    return subject.split(".", 6)[5]


def call_of_down(subject: str) -> str:
    """Return the call id in a `gateway_down` subject."""
    return subject.split(".", 5)[4]


def owner(call_id: str) -> str:
    """Request to the one worker that owns the call; nobody answers when nobody owns it."""
    return f"call.v1.{token(call_id)}.own"


def caller(caller_hash: str) -> str:
    """Request to every live call of one caller; each answers with its call id."""
    return f"call.v1.by.{token(caller_hash)}"


def is_withheld(number: str) -> bool:
    """Return whether it is none: the caller does not show it."""
    return number.lower() in _WITHHELD


def caller_hash(number: str) -> str | None:
    """Return what stands for a caller in a subject, 16 hex digits; None for a withheld number."""
    if is_withheld(number):
        return None
    return hashlib.sha256(number.encode()).hexdigest()[:16]


def event(call_id: str, kind: str) -> str:
    """One kind of event of one call, on the JetStream stream `EVENT_STREAM`."""
    return f"ev.v1.{token(call_id)}.{token(kind)}"


def every_event_of(call_id: str) -> str:
    """One call's whole event log."""
    return f"ev.v1.{token(call_id)}.>"


def every_event_of_kind(kind: str) -> str:
    """One kind of event of every call."""
    return f"ev.v1.*.{token(kind)}"
