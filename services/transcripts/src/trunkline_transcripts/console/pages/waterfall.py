"""Where the time of each answer went, as parts of a bar. Pure."""

from typing import Final, NamedTuple

from trunkline_transcripts.console.answers import Latency, Turn

BUDGET_MS: Final = 200
"""What the design of this system gives a whole round trip (ARCHITECTURE.md, Limits and budgets)."""

PARTS: Final = (
    ("twilio_to_gateway_ms", "telephone", "Twilio → gateway"),
    ("gateway_to_worker_ms", "ours", "gateway → worker"),
    ("worker_to_model_ms", "network", "worker → model"),
    ("model_ms", "model", "model"),
    ("model_to_worker_ms", "network", "model → worker"),
    ("worker_ms", "ours", "worker"),
    ("worker_to_gateway_ms", "ours", "worker → gateway"),
    ("gateway_to_twilio_ms", "telephone", "gateway → Twilio"),
)
"""In the order in which sound and answer pass them: column, colour, name."""


class Part(NamedTuple):
    """A piece of a bar, in percent of the widest one."""

    kind: str
    left: float
    width: float


class Answer(NamedTuple):
    """One answer of the agent."""

    turn: Turn
    latency: Latency
    parts: list[Part]
    cells: list[float | None]
    """The parts in ms, in the order of `PARTS`."""


class Waterfall(NamedTuple):
    """All answers of a call on one scale."""

    answers: list[Answer]
    budget: float
    """Where the budget is, in percent."""


def waterfall(conversation: list[Turn]) -> Waterfall:
    """Return the answers whose latency was measured."""
    measured = [(turn, turn.latency) for turn in conversation if turn.latency is not None]
    longest_ms = max([_total_ms(latency) for _, latency in measured], default=0)
    # Some room behind the longest, and the budget is always on the drawing.
    scale = 100 / max(longest_ms, BUDGET_MS * 1.25)
    answers = [
        Answer(turn, latency, _parts(latency, scale), [getattr(latency, column) for column, _, _ in PARTS])
        for turn, latency in measured
    ]
    return Waterfall(answers, BUDGET_MS * scale)


def _total_ms(latency: Latency) -> float:
    return max(latency.response_ms or 0, sum(_known(latency)))


def _known(latency: Latency) -> list[float]:
    return [getattr(latency, column) or 0.0 for column, _, _ in PARTS]


def _parts(latency: Latency, scale: float) -> list[Part]:
    parts = []
    left = 0.0
    for (_, kind, _), value_ms in zip(PARTS, _known(latency), strict=True):
        if value_ms > 0:
            parts.append(Part(kind, left, value_ms * scale))
            left += value_ms * scale
    rest = (latency.response_ms or 0) * scale - left
    if rest > 0.1:
        parts.append(Part("unknown", left, rest))
    return parts
