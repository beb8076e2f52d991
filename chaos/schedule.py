"""Pure: which faults strike in which order, whom, and for how long, all of it drawn from one seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PAUSE_S: Final = (1.5, 4.0)
"""From when the fleet is whole again until the next fault: clients find their way back in a second, and calls may be in
any state then."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come. Its draws lie in [0, 1), so that the plan knows nothing of who will be alive then."""

    number: int
    fault: str
    pause_s: float
    victim: float
    """Which of those that could be struck, in the order of their names."""
    hold: float
    """How long it lasts, between the fault's shortest and longest."""


def plan(
    seed: int, faults: Sequence[str], hits: int, pause_s: tuple[float, float] = PAUSE_S
) -> list[Planned]:
    """Return every fault `hits` times, each round of all of them in an order of its own."""
    chance = random.Random(seed)
    planned: list[Planned] = []
    for _ in range(hits):
        for fault in chance.sample(faults, len(faults)):
            rests_s = round(chance.uniform(*pause_s), 3)
            planned.append(Planned(len(planned), fault, rests_s, chance.random(), chance.random()))
    return planned


def pick(draw: float, among: Sequence[str]) -> str:
    """Return the one of `among` (not empty) that a draw in [0, 1) means."""
    ordered = sorted(among)
    return ordered[int(draw * len(ordered))]


def between(draw: float, shortest_s: float, longest_s: float) -> float:
    """Return the duration that a draw in [0, 1) means."""
    return shortest_s + draw * (longest_s - shortest_s)
