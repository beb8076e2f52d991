"""How Twilio asks one webhook: timeouts and retries, as the fragment of its URL sets them.

(Twilio: Webhooks, Connection overrides)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

CONNECT_MS: Final = (100, 5_000, 10_000)  # `ct`: at least, by default, at most
READ_MS: Final = (100, 15_000, 15_000)  # `rt`
TOTAL_MS: Final = (100, 15_000, 15_000)  # `tt`, retries included
RETRIES: Final = (0, 1, 5)  # `rc`

POLICIES: Final = frozenset({"4xx", "5xx", "ct", "rt", "all"})  # `rp`: what is tried again


@dataclass(frozen=True, slots=True)
class Overrides:
    """What holds for one request."""

    connect_s: float
    read_s: float
    total_s: float
    retries: int
    policies: frozenset[str]

    @classmethod
    def of(cls, url: str) -> Overrides:
        """Read a URL's fragment; what is missing or out of bounds is as if it were not there."""
        pairs = dict(parse_qsl(urlsplit(url).fragment))
        policies = frozenset(pairs.get("rp", "ct").split(",")) & POLICIES
        return cls(
            connect_s=_within(pairs.get("ct"), CONNECT_MS) / 1000,
            read_s=_within(pairs.get("rt"), READ_MS) / 1000,
            total_s=_within(pairs.get("tt"), TOTAL_MS) / 1000,
            retries=_within(pairs.get("rc"), RETRIES),
            policies=policies or frozenset({"ct"}),
        )

    def retries_after(self, what: str) -> bool:
        """Return whether this is tried again: `ct`, `rt`, `4xx`, `5xx`, or `reset`, which only `all` covers."""
        return what in self.policies or "all" in self.policies


def _within(text: str | None, bounds: tuple[int, int, int]) -> int:
    least, default, most = bounds
    return int(text) if text and text.isascii() and text.isdigit() and least <= int(text) <= most else default
