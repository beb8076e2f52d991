"""Numbers as the console's pages show them, and the places of its drawings."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from trunkline_transcripts.console.answers import Latency, Turn
from trunkline_transcripts.console.day import Day
from trunkline_transcripts.console.pages import figures, plots, timeline, waterfall


@pytest.mark.parametrize(
    ("value_ms", "expected"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.5, "0.5 ms"),
        (431.4, "431 ms"),
        (12_449, "12.4 s"),
        (59_960, "1 min 00 s"),
        (90_000, "1 min 30 s"),
        (7_500_000, "2 h 05 min"),
    ],
)
def test_how_long_it_lasted(value_ms: float | None, expected: str) -> None:
    assert figures.length(value_ms) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0, "$0"), (0.0421, "$0.0421"), (1234.567, "$1,234.57")]
)
def test_what_it_cost(value: float | None, expected: str) -> None:
    assert figures.usd(value) == expected


@pytest.mark.parametrize(
    ("at_ms", "expected"), [(0, "0:00.0"), (7_349, "0:07.3"), (59_999, "1:00.0"), (None, "–")]
)
def test_when_in_the_call(at_ms: int | None, expected: str) -> None:
    assert figures.clock(at_ms) == expected


def test_moments_are_told_in_utc_for_the_script_to_rewrite() -> None:
    tokyo = datetime(2026, 11, 21, 3, 0, tzinfo=timezone(timedelta(hours=9)))

    assert figures.moment(tokyo) == '<time datetime="2026-11-20T18:00:00Z">2026-11-20 18:00:00 UTC</time>'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"day": "Saturday", "people": 2}, 'day: "Saturday", people: 2'),
        ({}, ""),
        ("no JSON {", "no JSON {"),
        ([1], "[1]"),
        (None, "null"),
    ],
)
def test_what_a_tool_was_given(given: object, expected: str) -> None:
    assert figures.arguments(given) == expected


def turn(
    text: str | None, heard_text: str | None, speaker: str = "agent", latency: Latency | None = None
) -> Turn:
    return Turn(
        item_id="item_2", attach=1, assign=1, position=2, speaker=speaker, start_ms=0, end_ms=1000, text=text,
        heard_text=heard_text, generated_ms=2000, heard_ms=1000, interrupted=True, transcription=None, latency=latency,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "heard_text", "expected"),
    [
        ("Sixty dollars. That includes", "Sixty dollars. ", "That includes"),
        ("Sixty dollars.", "", "Sixty dollars."),
        ("Sixty dollars.", "Sixty dollars.", None),
        ("Sixty dollars.", "something else", None),
        ("Sixty dollars.", None, None),
        (None, None, None),
    ],
)
def test_what_nobody_heard(text: str | None, heard_text: str | None, expected: str | None) -> None:
    assert timeline.unheard_text(turn(text, heard_text)) == expected


def test_names_of_the_model_become_safe_anchors() -> None:
    assert timeline.anchor("turn", 'item_1"> <') == "turn-item-1----"


def test_the_parts_of_an_answer_add_up_and_the_rest_is_not_measured() -> None:
    latency = Latency(
        response_ms=500, twilio_to_gateway_ms=20, gateway_to_worker_ms=None, worker_to_model_ms=None, model_ms=380,
        model_to_worker_ms=None, worker_ms=None, worker_to_gateway_ms=None, gateway_to_twilio_ms=20,
    )  # fmt: skip
    shown = waterfall.waterfall([turn("a", "a", latency=latency), turn("b", None, "caller")])

    (answer,) = shown.answers
    assert [part.kind for part in answer.parts] == ["telephone", "model", "telephone", "unknown"]
    assert [part.width for part in answer.parts] == pytest.approx([4, 76, 4, 16])
    assert shown.budget == pytest.approx(40)


def test_fast_answers_leave_room_for_the_budget() -> None:
    assert waterfall.waterfall([]).budget < 100


def test_plots_have_round_axes_and_bars_that_stack() -> None:
    first = date(2026, 11, 20)
    days = [
        Day(first, {"success": 30, "caller": 13}, 0, 0, 480.0, 960.0, 3.2, 0, 0),
        Day(first + timedelta(days=1), {}, 0, 0, None, None, 0.0, 0, 0),
        Day(first + timedelta(days=2), {"live": 1}, 0, 0, 500.0, 1200.0, 0.5, 0, 0),
    ]
    calls, latency, cost = plots.plots(days)

    assert [line.label for line in calls.lines] == ["0", "20", "40", "60"]
    assert [line.label for line in cost.lines] == ["$0", "$1", "$2", "$3", "$4"]
    success, caller = calls.pieces[:2]
    assert success.top == pytest.approx(50)
    assert caller.top + caller.height == pytest.approx(success.top)
    # A day without answers interrupts the line.
    assert [(dot.kind, dot.to_left) for dot in latency.dots] == [
        ("p95", None),
        ("p95", None),
        ("p50", None),
        ("p50", None),
    ]


def test_days_without_anything_have_plots_too() -> None:
    shown = plots.plots([Day(datetime(2026, 11, 20, tzinfo=UTC).date(), {}, 0, 0, None, None, 0.0, 0, 0)])

    assert [plot.pieces for plot in shown] == [[], [], []]
