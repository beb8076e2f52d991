"""Pure: what to log only the first time: whoever sends it a thousand times does not fill the log."""

from collections import OrderedDict
from typing import Final

KEYS_MAX: Final = 1_024
"""Beyond, the oldest is forgotten, and would be logged again."""


class LoggedOnce:
    """Remembers what was logged."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def is_first(self, *key: str) -> bool:
        """Return whether this was not asked for before, as far as it is remembered."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > KEYS_MAX:
            self._keys.popitem(last=False)
        return True
