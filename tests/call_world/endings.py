"""How a call may end: which verdict what happened demands, and what Twilio does next."""

from trunkline_common.control import NextStep, StopReason
from trunkline_common.verdict import Verdict
from trunkline_worker import commands

FALLBACK_VERDICTS = {
    *(Verdict.MODEL_LOST, Verdict.MODEL_REFUSED, Verdict.RATE_LIMITED),
    *(Verdict.WORKER_STOPPED, Verdict.GATEWAY_LOST),
}
CALLER_VERDICTS = {Verdict.CALLER_HUNG_UP, Verdict.CALLER_LEFT_EARLY, Verdict.BAD_STREAM}


def demanded(reason: StopReason, *, agent_was_heard: bool) -> Verdict | None:
    """Return the verdict that the end of a stream demands, if any."""
    match reason:
        case StopReason.CALLER_HUNG_UP:
            return Verdict.CALLER_HUNG_UP if agent_was_heard else Verdict.CALLER_LEFT_EARLY
        case StopReason.BAD_STREAM:
            return Verdict.BAD_STREAM
    return None


def check(finish: commands.Finish, wanted: Verdict | None, *, hung_up: bool) -> None:
    """Check how a call ended; `wanted` is the verdict that was demanded, `hung_up` whether Twilio was told."""
    assert (finish.next is NextStep.FALLBACK) == (finish.verdict in FALLBACK_VERDICTS)
    assert hung_up or finish.verdict not in FALLBACK_VERDICTS
    if wanted is not None:
        assert finish.verdict is wanted
    else:
        assert finish.verdict not in CALLER_VERDICTS
