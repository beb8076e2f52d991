"""What can be made to go wrong, on purpose, at a chosen moment.

A fault is written `KIND[=VALUE][@EVENT[:N][+MS]][*]`: it strikes at the Nth event of that type in a
session, counting what the server sends and what it receives, or at `connect`; some can wait MS
milliseconds longer. It strikes once in the server's life, or with `*` in every session. Examples:

    close=1011@response.created:2     the second response is created and the connection lost
    stall@response.done:2+1500        while the second answer is still being played
    failed=rate_limit_exceeded@response.created:3*
    refuse=5:429                      for 5 s after a fault has closed a session, nobody gets in

`Losses` are the other way to lose sessions: each at a random moment, for runs of many calls.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from trunkline_simulators.openai_dice import Dice

CLOSE_CODES = (1000, 1001, 1006, 1011, 1012, 1013)
FATAL_CLOSE_CODES = (3000, 4000)  # a client that comes again gets nowhere
REFUSAL_STATUSES = (429, 500, 502, 503)

# kind: (what it does, the event it strikes at unless another is named, an example of its value)
KINDS: dict[str, tuple[str, str, str]] = {
    "close": ("close the connection with this code; 1006 drops it without a close frame", "response.created", "1011"),
    "stall": ("stay connected, but send nothing and answer no ping", "response.created", ""),
    "mute": ("stay connected and answer pings, but send nothing more", "connect", ""),
    "withhold": ("do not send this event, and nothing else is different", "session.updated", ""),
    "expire": ("end the session this many seconds later with session_expired", "session.created", "30"),
    "refuse": ("answer every connect for this many seconds with 503 or this status, from @start or after each"
               " fault close", "close", "5:429"),
    "error": ("refuse the client event with this error code", "response.create", "server_error"),
    "anonymous-error": ("leave out which client event an error is about", "error", ""),
    "unknown-event": ("also send an event type that no client knows", "response.created", ""),
    "twice": ("send this event twice", "response.function_call_arguments.done", ""),
    "failed": ("fail the response: rate_limit_exceeded, server_error or insufficient_quota", "response.created",
               "rate_limit_exceeded"),
    "half": ("stop sending the response half-way; it never ends by itself", "response.created", ""),
    "slow": ("send the response at this multiple of real time", "response.created", "0.8"),
    "no-created": ("never announce the response with response.created", "response.created", ""),
    "text-only": ("answer with text although audio was asked for", "response.created", ""),
    "text-twice": ("repeat the spoken answer as a second, written item", "response.created", ""),
    "phases": ("say a commentary before the final answer, their events interleaved", "response.created", ""),
    "arguments": ("call the tool with arguments that are garbage, a list or foreign to its schema",
                  "response.created", "garbage"),
    "unknown-tool": ("call a tool that was not offered", "response.created", ""),
    "mcp-failed": ("let the tool server's call fail", "response.created", ""),
}  # fmt: skip

# These change a response that has just been created.
SHAPING = frozenset({
    "failed", "half", "slow", "no-created", "text-only", "text-twice", "phases", "arguments", "unknown-tool",
    "mcp-failed",
})  # fmt: skip

# These end a session, so that they may also strike some time after an event.
ENDING = frozenset({"close", "stall", "mute"})

FAILURES = ("rate_limit_exceeded", "server_error", "insufficient_quota")
ARGUMENTS = {"garbage": '{"time": "10', "list": "[]", "foreign": '{"no_such_field": true}'}

_SYNTAX = re.compile(
    r"(?P<kind>[a-z-]+)(=(?P<value>[^@*]+))?"
    r"(@(?P<event>[a-z_.]+)(:(?P<nth>[1-9]\d*))?(\+(?P<after_ms>\d+))?)?(?P<always>\*)?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that will go wrong."""

    kind: str
    value: str
    event: str
    nth: int
    every_session: bool
    after_ms: int = 0


def parse_fault(text: str) -> Fault:
    """Return the fault that a command line names; `ValueError` says what is wrong with it."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not of the form KIND[=VALUE][@EVENT[:N][+MS]][*]")
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
    if match["after_ms"] and kind not in ENDING:
        raise ValueError(f"only {', '.join(sorted(ENDING))} can strike some time after an event")
    after_ms = int(match["after_ms"] or 0)
    return Fault(
        kind, value, match["event"] or event, int(match["nth"] or 1), bool(match["always"]), after_ms
    )


@dataclass(frozen=True, slots=True)
class Losses:
    """Every session is lost once, at a moment and in a way that are drawn from its seed."""

    mean_s: float

    def draw(self, dice: Dice) -> tuple[float, Fault]:
        """Return after how many seconds, exponentially distributed, a session is lost, and how."""
        share = dice.between(1, 1_000_000) / 1_000_000
        ways = [("close", str(code)) for code in CLOSE_CODES] + [("stall", ""), ("expire", "0")]
        kind, value = ways[dice.between(0, len(ways) - 1)]
        return -self.mean_s * math.log(share), Fault(kind, value, "connect", 1, every_session=True)


class ArmedFaults:
    """The faults of one server that have not struck yet; shared by its sessions."""

    def __init__(self, faults: Iterable[Fault] = (), losses: Losses | None = None) -> None:
        self.losses = losses
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

    def refusals(self, event: str) -> tuple[float, HTTPStatus]:
        """Return for how many seconds connects are refused after this (`start` or `close`), and with which status."""
        refusals = [
            _refusal(fault.value) for fault in self._armed if (fault.kind, fault.event) == ("refuse", event)
        ]
        return max(refusals, default=(0.0, HTTPStatus.SERVICE_UNAVAILABLE))


def _check_value(kind: str, value: str) -> None:
    close_codes = [str(code) for code in CLOSE_CODES + FATAL_CLOSE_CODES]
    if kind == "close" and value not in close_codes:
        raise ValueError(f"close knows {', '.join(close_codes)}, not {value}")
    if kind == "failed" and value not in FAILURES:
        raise ValueError(f"a response fails with {', '.join(FAILURES)}, not {value}")
    if kind == "arguments" and value not in ARGUMENTS:
        raise ValueError(f"arguments can be {', '.join(ARGUMENTS)}, not {value}")
    if kind == "refuse":
        value, _, status = value.partition(":")
        if status and status not in map(str, REFUSAL_STATUSES):
            raise ValueError(f"refuse knows {', '.join(map(str, REFUSAL_STATUSES))}, not {status}")
    if kind in {"expire", "refuse", "slow"}:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"{kind} needs a number, not {value}") from None
        if not 0 < number < 1e6:
            raise ValueError(f"{kind} needs a number above 0, not {value}")


def _refusal(value: str) -> tuple[float, HTTPStatus]:
    seconds, _, status = value.partition(":")
    return float(seconds), HTTPStatus(int(status or HTTPStatus.SERVICE_UNAVAILABLE))
