"""How a call ended: the same words are log fields, metric labels and columns."""

from enum import Enum, StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """Whose doing the end of a call was."""

    SUCCESS = "success"
    CALLER = "caller"
    SERVER = "server"
    UPSTREAM = "upstream"
    INDETERMINATE = "indeterminate"


class _Verdict(NamedTuple):
    outcome: Outcome
    reason: str


class Verdict(Enum):
    """How a call ended: one of a closed list, the same words in logs, metrics and columns."""

    CALLER_HUNG_UP = _Verdict(Outcome.SUCCESS, "caller-hung-up")
    AGENT_HUNG_UP = _Verdict(Outcome.SUCCESS, "agent-hung-up")
    TRANSFERRED = _Verdict(Outcome.SUCCESS, "transferred")
    TIME_LIMIT = _Verdict(Outcome.SUCCESS, "time-limit")
    COST_LIMIT = _Verdict(Outcome.SUCCESS, "cost-limit")
    TOOL_LIMIT = _Verdict(Outcome.SUCCESS, "tool-limit")
    CALLER_SILENT = _Verdict(Outcome.CALLER, "caller-silent")
    CALLER_LEFT_EARLY = _Verdict(Outcome.CALLER, "left-before-answer")
    BAD_STREAM = _Verdict(Outcome.CALLER, "bad-stream")
    NEVER_ATTACHED = _Verdict(Outcome.CALLER, "never-attached")
    WORKER_ERROR = _Verdict(Outcome.SERVER, "worker-error")
    WORKER_STOPPED = _Verdict(Outcome.SERVER, "worker-stopped")
    GATEWAY_LOST = _Verdict(Outcome.SERVER, "gateway-lost")
    MODEL_REFUSED = _Verdict(Outcome.UPSTREAM, "model-refused")
    MODEL_LOST = _Verdict(Outcome.UPSTREAM, "model-lost")
    RATE_LIMITED = _Verdict(Outcome.UPSTREAM, "model-rate-limited")
    STREAM_LOST = _Verdict(Outcome.INDETERMINATE, "stream-lost")
    END_UNKNOWN = _Verdict(Outcome.INDETERMINATE, "end-unknown")
    """No worker's word: the transcripts service closes a call with it of which nobody has written the end."""

    @property
    def outcome(self) -> Outcome:
        """Whose doing it was."""
        return self.value.outcome

    @property
    def reason(self) -> str:
        """The short word for it."""
        return self.value.reason
