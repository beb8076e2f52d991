"""Shell: the worker's way to the model, shared by its calls: how fast they may connect, and whether it works."""

import asyncio

from trunkline_common import log
from trunkline_common.call_events import ModelLost
from trunkline_worker import metrics, realtime_refusals
from trunkline_worker.breaker import Breaker
from trunkline_worker.connect_limiter import ConnectLimiter

_log = log.get(__name__)


class ModelAccess:
    """One for all calls of a worker."""

    def __init__(self, fleet_connects_per_s: float) -> None:
        self.breaker = Breaker()
        self.limiter = ConnectLimiter(fleet_connects_per_s)

    def connect_delay_s(self) -> float:
        """Return how long the next session has to wait before it connects."""
        delay_s = self.limiter.delay_s(_now())
        if delay_s > 0:
            metrics.MODEL_CONNECTS_DELAYED.inc()
        return delay_s

    def allows_new_call(self) -> bool:
        """Return whether a call that is taken now has a prospect of a session."""
        return self.breaker.allows(_now())

    @property
    def is_on_trial(self) -> bool:
        """Whether the next call is there to show that sessions begin again."""
        return self.breaker.is_open

    def took_call(self) -> None:
        """A new call was taken."""
        self.breaker.took_call(_now())

    def session_began(self) -> None:
        """A session serves."""
        self.breaker.succeeded()
        metrics.MODEL_BREAKER_OPEN.set(0)

    def session_lost(self, lost: ModelLost, agent: str, *, served: bool) -> None:
        """A session of this agent ended that had served, or did not begin."""
        account = lost.reason in realtime_refusals.ACCOUNT_REASONS
        if served and not account:
            return
        profile = agent if realtime_refusals.is_of_the_profile(lost.reason) else None
        if self.breaker.failed(_now(), account=account, profile=profile):
            metrics.MODEL_BREAKER_OPEN.set(1)
            _log.error("model-breaker-open", reason=lost.reason, do=realtime_refusals.advice(lost.reason))


def _now() -> float:
    return asyncio.get_running_loop().time()
