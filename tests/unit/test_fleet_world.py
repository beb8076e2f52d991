"""Several services in a world drawn from a seed: what must hold is in `fleet_world/checks.py`.

`TRUNKLINE_FLEET_SEEDS=n` runs n seeds instead of the default. A failure names its seed and shows the last steps;
`TRUNKLINE_FLEET_SEED=n` runs that one alone, and a seed that found a fault joins `PAST_FAILURES`.
"""

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from fleet_world.full_worker import FullWorker
from fleet_world.paused_worker import OnlyWorkerPaused, PausedBeforeATool
from fleet_world.world import World

SEEDS = int(os.environ.get("TRUNKLINE_FLEET_SEEDS", "0"))
"""The first 24 are run in any case, to see what they reach."""
ONE_SEED = os.environ.get("TRUNKLINE_FLEET_SEED")
CHUNKS = 8
"""So that pytest-xdist can spread the seeds."""

EVERY_SEED = [range(chunk, SEEDS, CHUNKS) for chunk in range(CHUNKS)]

PAST_FAILURES = {
    1: "a new owner took its gateway for lost before the first frame had come",
    200014: "the model only called tools, and the world took a caller who heard none of that for unserved",
    329: "what a gateway did for a request that it answered late was taken for the caller's hang-up",
}

THINGS_TO_SEE = {
    *("worker-crash", "worker-pause", "worker-drain", "gateway-crash", "gateway-pause", "gateway-drain"),
    *("link", "bus", "frame-loss", "comfort", "redirect", "served to the end", "tool GET", "tool POST"),
}


@pytest.mark.parametrize("seeds", EVERY_SEED if ONE_SEED is None else [[int(ONE_SEED)]], ids=str)
def test_every_seed_keeps_the_rules_of_the_fleet(seeds: Iterable[int]) -> None:
    for seed in seeds:
        run(seed)


@pytest.mark.parametrize("seed", PAST_FAILURES)
def test_a_seed_that_found_a_fault_stays_fixed(seed: int) -> None:
    run(seed)


def test_the_seeds_reach_everything_that_can_happen() -> None:
    seen: Counter[str] = Counter()
    for seed in range(24):
        seen += run(seed)

    assert not THINGS_TO_SEE - seen.keys()


def test_a_worker_with_fifty_calls_hands_all_of_them_over_within_a_minute() -> None:
    run(0, FullWorker)


@pytest.mark.parametrize("seed", [4, 24, 64])
def test_a_worker_that_was_paused_runs_no_tool_for_a_call_that_another_owns_by_then(seed: int) -> None:
    assert run(seed, PausedBeforeATool)["paused before a tool"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_paused_worker_goes_on_with_its_call_when_nobody_else_could(seed: int) -> None:
    run(seed, OnlyWorkerPaused)


def run(seed: int, kind: type[World] = World) -> Counter[str]:
    world = kind(seed)
    try:
        world.run()
    except Exception as error:
        raise AssertionError(
            f"{error}\n{world.last_steps()}\nseed {seed}: TRUNKLINE_FLEET_SEED={seed} replays it"
        ) from error
    return world.seen
