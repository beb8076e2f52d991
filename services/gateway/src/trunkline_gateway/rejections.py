"""Counts what was refused from outside, and logs it with restraint."""

import time
from collections.abc import Callable
from typing import Any, Final

from trunkline_common import log
from trunkline_gateway import metrics
from trunkline_gateway.reasons import EXPLANATIONS, Rejection

LOG_LINES_MAX: Final = 10
LOG_PERIOD_S: Final = 60
"""At most ten lines a minute for each reason: a scanner must not be able to fill a disk."""

_log = log.get(__name__)


class Rejections:
    """One counter and one log line per rejection; `suppressed` tells how many lines were held back before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._period_ends_at = dict.fromkeys(Rejection, float("-inf"))
        self._lines = dict.fromkeys(Rejection, 0)

    def note(self, rejection: Rejection, *, log_it: bool = True, **fields: Any) -> None:
        """Count `rejection` and `log_it`; `fields` go into the line and hold no secrets and no numbers."""
        metrics.REJECTED.labels(rejection).inc()
        if not log_it:
            return
        now = self._clock()
        if now >= self._period_ends_at[rejection]:
            suppressed = max(self._lines[rejection] - LOG_LINES_MAX, 0)
            if suppressed:
                fields["suppressed"] = suppressed
            self._period_ends_at[rejection] = now + LOG_PERIOD_S
            self._lines[rejection] = 0
        self._lines[rejection] += 1
        if self._lines[rejection] <= LOG_LINES_MAX:
            _log.warning("input-rejected", reason=rejection.value, why=EXPLANATIONS[rejection], **fields)
