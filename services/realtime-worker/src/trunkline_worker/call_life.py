"""Pure: the life of a call: its states, how long each may last, and the verdicts of the ends that others decide.

The life of a call:

    OFFERED ──Attached──▶ TALKING ──stream lost──▶ ORPHANED ──Attached──▶ TALKING
       │                     │                        │
       └────── too long ─────┴── caller hung up ──────┴──── too long ───▶ LINGERING ──▶ ENDED

    TALKING ──the agent transfers or presses keys──▶ LEAVING ──Attached──▶ TALKING, or answered ──▶ ENDED

    STANDING_BY ──Owned──▶ TALKING ──YieldAsked, in a quiet moment──▶ ENDED, without a word

The second row is a call that goes on at another worker: it restores what is known of it (`resumption.py`).

LINGERING lasts only while the caller's last words are still being transcribed.
"""

from enum import Enum
from typing import Final

from trunkline_common.call_events import CallEnded
from trunkline_common.control import StopReason
from trunkline_common.verdict import Verdict

OFFER_S: Final = 60.0
"""Twilio attaches within a few seconds, or the call is gone. Not shorter than a stream's token lives: a stream
that comes late must not find the call ended."""

ORPHAN_S: Final = 30.0
"""How long a call waits for Twilio to attach it again after its stream broke."""

GATEWAY_SILENCE_S: Final = 30.0
"""A gateway sends something about every stream at least once a second, even when the caller's audio pauses. So
long without a word, it is gone, and Twilio did not bring the call to another one."""

SESSION_MAX_S: Final = 55 * 60.0
"""OpenAI ends a session after 60 minutes."""

LINGER_S: Final = 3.0
"""The last transcript is worth this wait; the caller is gone."""


class State(Enum):
    """Where a call is in its life."""

    STANDING_BY = "standing-by"
    """Another worker owns the call; this one could go on with it."""
    OFFERED = "offered"
    TALKING = "talking"
    ORPHANED = "orphaned"
    LEAVING = "leaving"
    """Twilio is told to do what the agent asked for, and there is no stream meanwhile."""
    LINGERING = "lingering"
    ENDED = "ended"


STOPPED_FOR_GOOD: Final = {
    StopReason.CALLER_HUNG_UP: Verdict.CALLER_HUNG_UP,
    StopReason.BAD_STREAM: Verdict.BAD_STREAM,
}
"""Every other reason leaves the caller on the line: Twilio may attach the call again."""

OURS: Final = {
    *(Verdict.MODEL_LOST, Verdict.MODEL_REFUSED, Verdict.RATE_LIMITED),
    *(Verdict.WORKER_STOPPED, Verdict.GATEWAY_LOST),
}
"""The caller did not want the end: Twilio is told to say so."""


def ended(verdict: Verdict, duration_ms: int, interruptions: int) -> CallEnded:
    """Return the last event of a call; whoever writes it knows how many events there were."""
    return CallEnded(
        outcome=verdict.outcome,
        reason=verdict.reason,
        duration_ms=duration_ms,
        interruptions=interruptions,
        events_expected=0,
    )
