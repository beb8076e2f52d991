"""The plots of the day view: calls by outcome, latency, cost. Pure.

Places are percentages, as in `timeline`; 0 is at the top.
"""

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple

from trunkline_common.verdict import Outcome
from trunkline_transcripts.console.day import UNDECIDED, Day
from trunkline_transcripts.console.pages import figures

OUTCOMES: Final = (*(str(outcome) for outcome in Outcome), UNDECIDED)
"""From the bottom of a bar to its top."""
LABELS_MAX: Final = 8
_BAR_SHARE: Final = 0.64
"""Of a day's width."""


class Piece(NamedTuple):
    """A piece of a bar."""

    kind: str
    left: float
    top: float
    width: float
    height: float
    label: str


class Dot(NamedTuple):
    """A point of a line, and where the next one is; None: the line ends here."""

    kind: str
    left: float
    top: float
    to_left: float | None
    to_top: float | None
    label: str


class Line(NamedTuple):
    """A value of the axis."""

    top: float
    label: str


class Plot(NamedTuple):
    """One drawing."""

    title: str
    pieces: list[Piece]
    dots: list[Dot]
    lines: list[Line]
    days: list[tuple[float, date]]
    """The days that have a label."""
    kinds: list[tuple[str, str]]
    """The legend: colour and name."""


def plots(days: Sequence[Day]) -> list[Plot]:
    """Return the drawings, from left to right the days in their order."""
    return [_calls(days), _latency(days), _cost(days)]


def _calls(days: Sequence[Day]) -> Plot:
    top, lines = _axis(max((day.calls for day in days), default=0), _whole, least=4)
    pieces = []
    for place, day in enumerate(days):
        below = 0
        for outcome in OUTCOMES:
            number = day.outcomes.get(outcome, 0)
            if number:
                label = f"{day.day}: {number} {outcome}"
                pieces.append(_piece(outcome, place, len(days), below / top, number / top, label))
                below += number
    there = [outcome for outcome in OUTCOMES if any(outcome in day.outcomes for day in days)]
    return Plot("Calls", pieces, [], lines, _labels(days), [(outcome, outcome) for outcome in there])


def _latency(days: Sequence[Day]) -> Plot:
    top, lines = _axis(
        max((day.response_p95_ms or 0 for day in days), default=0), figures.milliseconds, least=1000
    )
    dots = [
        *_dots("p95", [day.response_p95_ms for day in days], days, top),
        *_dots("p50", [day.response_p50_ms for day in days], days, top),
    ]
    return Plot(
        "Time to answer", [], dots, lines, _labels(days), [("p50", "median"), ("p95", "95th percentile")]
    )


def _cost(days: Sequence[Day]) -> Plot:
    top, lines = _axis(max((day.cost_usd for day in days), default=0), _short_usd, least=0.01)
    pieces = [
        _piece("cost", place, len(days), 0, day.cost_usd / top, f"{day.day}: {figures.usd(day.cost_usd)}")
        for place, day in enumerate(days)
        if day.cost_usd
    ]
    return Plot("Cost", pieces, [], lines, _labels(days), [])


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _short_usd(value: float) -> str:
    return f"${value:g}"


def _piece(kind: str, place: int, count: int, below: float, height: float, label: str) -> Piece:
    width = 100 / count
    left = place * width + width * (1 - _BAR_SHARE) / 2
    return Piece(kind, left, 100 - 100 * (below + height), width * _BAR_SHARE, 100 * height, label)


def _dots(kind: str, values: Sequence[float | None], days: Sequence[Day], top: float) -> list[Dot]:
    width = 100 / len(days)
    places = [
        None if value is None else (place * width + width / 2, 100 - 100 * value / top)
        for place, value in enumerate(values)
    ]
    dots = []
    for place, here in enumerate(places):
        if here is not None:
            to_left, to_top = (places[place + 1] if place + 1 < len(places) else None) or (None, None)
            label = f"{days[place].day}: {kind} {figures.milliseconds(values[place])}"
            dots.append(Dot(kind, here[0], here[1], to_left, to_top, label))
    return dots


def _axis(most: float, told: Callable[[float], str], least: float) -> tuple[float, list[Line]]:
    """Return the value at the top, and lines at round values up to it."""
    wanted = max(most, least)
    power = 10.0 ** math.floor(math.log10(wanted / 4))
    step = next(power * times for times in (1, 2, 5, 10) if power * times * 4 >= wanted)
    steps = math.ceil(wanted / step)
    lines = [Line(100 - 100 * number / steps, told(number * step)) for number in range(steps + 1)]
    return steps * step, lines


def _labels(days: Sequence[Day]) -> list[tuple[float, date]]:
    every = math.ceil(len(days) / LABELS_MAX)
    width = 100 / len(days)
    # Counted from the newest, which is always told.
    return [
        (place * width + width / 2, day.day)
        for place, day in enumerate(days)
        if (len(days) - 1 - place) % every == 0
    ]
