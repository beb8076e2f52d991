"""Pure: the keys that the caller pressed, collected into one message to the model.

A key may be a digit of a card number: no digit is written to a log or an event.
"""

from typing import Final

PAUSE_S: Final = 1.5
"""Between two keys of one number people take less; after it they wait for an answer."""

DIGITS_MAX: Final = 32
END: Final = "#"


class Keypad:
    """Keys until a pause or `#`."""

    def __init__(self) -> None:
        self._digits = ""
        self._due_at: float | None = None

    @property
    def digits(self) -> str:
        """The keys so far."""
        return self._digits

    def restore(self, digits: str, now: float) -> None:
        """Go on where another owner of the call was."""
        self._digits = digits
        self._due_at = now + PAUSE_S if digits else None

    def press(self, digit: str, now: float) -> str | None:
        """Take a key; return the message when it was the last one."""
        self._digits += digit
        self._due_at = now + PAUSE_S
        if digit == END or len(self._digits) >= DIGITS_MAX:
            return self._take()
        return None

    def wake_at(self) -> float | None:
        """Return when `tick` is due."""
        return self._due_at

    def tick(self, now: float) -> str | None:
        """Return the message once the caller paused."""
        return self._take() if self._due_at is not None and now >= self._due_at else None

    def _take(self) -> str:
        digits, self._digits, self._due_at = self._digits, "", None
        return f"The caller pressed {digits} on the keypad."
