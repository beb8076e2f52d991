"""Pure: when the first session begins to listen, where the agent does not listen during its greeting."""

from typing import Final

LISTEN_S: Final = 20.0
"""The longest greeting that is not listened to; a longer one must be interruptible."""

LISTEN_BACK_MS: Final = 700
"""Of the caller's audio before listening begins: who answers at once begins before the last mark is back. What came
earlier is dropped, and counted: with it would come the echo that the agent shall not hear."""


class GreetingEar:
    """Covered until the greeting was heard, failed, took too long, or lost its session."""

    def __init__(self, *, listens: bool) -> None:
        self.is_covered = not listens
        self._listen_by: float | None = None

    def greeted(self, now: float) -> None:
        """The greeting was asked for."""
        self._listen_by = now + LISTEN_S

    def greeting_failed(self, now: float) -> None:
        """A response did not come to its end; once there was a greeting, it was that."""
        if self._listen_by is not None:
            self._listen_by = now

    def wake_at(self) -> float | None:
        """Return when listening begins at the latest."""
        return self._listen_by if self.is_covered else None

    def is_due(self, now: float, *, heard: bool) -> bool:
        """Return whether listening should begin; `heard`: nothing is to be said or heard any more."""
        return self.is_covered and self._listen_by is not None and (heard or now >= self._listen_by)
