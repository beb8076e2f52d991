"""Pure: the shapes of the Realtime wire, one codec for each, chosen by OPENAI_REALTIME_DIALECT.

The call knows none of them: events and echoes come in the GA shape whatever was spoken.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from trunkline_worker import commands, events, realtime_api, realtime_beta

Dialect = Literal["ga", "beta"]


class Codec(Protocol):
    """What a dialect's module offers."""

    @property
    def HEADERS(self) -> Mapping[str, str]:  # noqa: N802 - a constant of the module
        """What the dialect adds to the upgrade request."""

    def decode(self, data: str | bytes, session: int) -> events.ModelEvent | None:
        """Return what a server event means, or None for one that means nothing to a call; raises nothing."""

    def encode(self, event: commands.ClientEvent) -> bytes:
        """Return a client event as it goes over the websocket."""

    def left_out(self, session: dict[str, Any]) -> list[str]:
        """Return the paths of a session's settings that the dialect cannot say, and so leaves out."""


CODECS: Final[Mapping[Dialect, Codec]] = {"ga": realtime_api, "beta": realtime_beta}
