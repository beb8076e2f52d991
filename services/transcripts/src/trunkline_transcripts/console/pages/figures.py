"""Numbers and times as people read them, with their units. Pure."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from markupsafe import Markup

NONE: Final = "–"
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000


def moment(value: datetime | None) -> str:
    """Return a `time` element in UTC; times.js rewrites it for the zone of whoever looks."""
    if value is None:
        return NONE
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"), utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def length(value_ms: float | None) -> str:
    """Return how long something lasted: 431 ms, 12.4 s, 1 min 30 s, 2 h 05 min."""
    if value_ms is None:
        return NONE
    if value_ms < 1_000:
        return milliseconds(value_ms)
    if round(value_ms, -2) < _MINUTE_MS:
        return f"{value_ms / 1000:.1f} s"
    if value_ms < _HOUR_MS:
        minutes, seconds = divmod(round(value_ms / 1000), 60)
        return f"{minutes} min {seconds:02} s"
    hours, minutes = divmod(int(value_ms // _MINUTE_MS), 60)
    return f"{hours} h {minutes:02} min"


def milliseconds(value_ms: float | None) -> str:
    """Return it in ms; below 10 with a decimal."""
    if value_ms is None:
        return NONE
    return f"{value_ms:.1f} ms" if 0 < value_ms < 10 else f"{value_ms:,.0f} ms"


def bare_milliseconds(value_ms: float | None) -> str:
    """Return it without a unit, for columns whose head has it."""
    return milliseconds(value_ms).removesuffix(" ms")


def clock(at_ms: float | None) -> str:
    """Return a place in a call: 0:07.3."""
    if at_ms is None:
        return NONE
    tenths = round(at_ms / 100)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02}.{rest % 10}"


def usd(value: float | Decimal | None) -> str:
    """Return an amount: calls cost cents, so what is below a dollar has four decimals."""
    if value is None:
        return NONE
    amount = float(value)
    if amount == 0:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def count(value: int | None) -> str:
    """Return it with thousands apart."""
    return NONE if value is None else f"{value:,}"


def arguments(value: Any) -> str:
    """Return what a tool was given, as it would be called; what is no JSON object stays as it is."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {msgspec.json.encode(given).decode()}" for name, given in value.items())
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
