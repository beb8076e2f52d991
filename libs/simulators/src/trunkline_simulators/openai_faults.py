"""What can be made to go wrong, on purpose, at a chosen moment.

A fault is written `KIND[=VALUE][@EVENT[:N]][*]`: it strikes at the Nth event of that type in a
session, counting what the server sends and what it receives, or at `connect`. It strikes once in
the server's life, or with `*` in every session. Examples:

    close=1011@response.created:2     the second response is created and the connection lost
    failed=rate_limit_exceeded@response.created:3*
    refuse=5                          for 5 s after a fault has closed a session, nobody gets in
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CLOSE_CODES = (1000, 1001, 1006, 1011, 1012, 1013)

# kind: (what it does, the event it strikes at unless another is named, an example of its value)
KINDS: dict[str, tuple[str, str, str]] = {
    "close": ("close the connection with this code; 1006 drops it without a close frame", "response.created", "1011"),
    "stall": ("stay connected, but send nothing and answer no ping", "response.created", ""),
    "expire": ("end the session this many seconds later with session_expired", "session.created", "30"),
    "refuse": ("answer 503 to every connect for this many seconds, from @start or after each fault close",
               "close", "5"),
    "error": ("refuse the client event with this error code", "response.create", "server_error"),
    "anonymous-error": ("leave out which client event an error is about", "error", ""),
    "unknown-event": ("also send an event type that no client knows", "response.created", ""),
    "failed": ("fail the response: rate_limit_exceeded or server_error", "response.created", "rate_limit_exceeded"),
    "half": ("stop sending the response half-way; it never ends by itself", "response.created", ""),
    "slow": ("send the response at this multiple of real time", "response.created", "0.8"),
    "no-created": ("never announce the response with response.created", "response.created", ""),
    "text-only": ("answer with text although audio was asked for", "response.created", ""),
    "text-twice": ("repeat the spoken answer as a second, written item", "response.created", ""),
    "phases": ("say a commentary before the final answer, their events interleaved", "response.created", ""),
}  # fmt: skip

# These change a response that has just been created.
SHAPING = frozenset({"failed", "half", "slow", "no-created", "text-only", "text-twice", "phases"})

_SYNTAX = re.compile(
    r"(?P<kind>[a-z-]+)(=(?P<value>[^@*]+))?(@(?P<event>[a-z_.]+)(:(?P<nth>[1-9]\d*))?)?(?P<always>\*)?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that will go wrong."""

    kind: str
    value: str
    event: str
    nth: int
    every_session: bool


def parse_fault(text: str) -> Fault:
    """Return the fault that a command line names; `ValueError` says what is wrong with it."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not of the form KIND[=VALUE][@EVENT[:N]][*]")
    kind, value = match["kind"], match["value"] or ""
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no fault; there are {', '.join(KINDS)}")
    _, event, example = KINDS[kind]
    if bool(value) != bool(example):
        raise ValueError(
            f"'{kind}' needs a value, such as {kind}={example}" if example else f"'{kind}' takes no value"
        )
    _check_value(kind, value)
    if kind in SHAPING and match["event"] not in {None, event}:
        raise ValueError(f"'{kind}' shapes a response, so it can only strike at {event}")
    return Fault(kind, value, match["event"] or event, int(match["nth"] or 1), bool(match["always"]))


class ArmedFaults:
    """The faults of one server that have not struck yet; shared by its sessions."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed = list(faults)

    def strike(self, event: str, nth: int) -> list[Fault]:
        """Return the faults that strike now, and disarm those that strike only once."""
        if not self._armed:
            return []
        struck = [fault for fault in self._armed if (fault.event, fault.nth) == (event, nth)]
        for fault in struck:
            if not fault.every_session:
                self._armed.remove(fault)
        return struck

    def refusals(self, event: str) -> float:
        """Return for how many seconds connects are refused after this (`start` or `close`)."""
        return max(
            (float(fault.value) for fault in self._armed if (fault.kind, fault.event) == ("refuse", event)),
            default=0.0,
        )


def _check_value(kind: str, value: str) -> None:
    if kind == "close" and value not in map(str, CLOSE_CODES):
        raise ValueError(f"close knows {', '.join(map(str, CLOSE_CODES))}, not {value}")
    if kind == "failed" and value not in {"rate_limit_exceeded", "server_error"}:
        raise ValueError(f"a response fails with rate_limit_exceeded or server_error, not {value}")
    if kind in {"expire", "refuse", "slow"}:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"{kind} needs a number, not {value}") from None
        if not 0 < number < 1e6:
            raise ValueError(f"{kind} needs a number above 0, not {value}")
