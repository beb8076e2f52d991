"""Shell: one timer of the event loop, at or before the time that was asked for; an early one only asks again."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Wakes its owner; asking for a later time costs nothing."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def ask(self, wake_at: float | None) -> None:
        """Wake at this time, by the loop's clock; None: no time is known."""
        if wake_at is None or (self._timer is not None and self._timer_at <= wake_at):
            return
        self.cancel()
        self._timer_at = wake_at
        self._timer = self._loop.call_at(wake_at, self._on_timer)

    def cancel(self) -> None:
        """Do not wake any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()
