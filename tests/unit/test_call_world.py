"""The core of a call in a world drawn from a seed: what must hold after each step is in `call_world/checks.py`.

`TRUNKLINE_WORLD_SEEDS=n` runs n seeds instead of the default. A failure names its seed and shows the last steps;
`TRUNKLINE_WORLD_SEED=n` runs that one alone, and a seed that found a fault joins `PAST_FAILURES`.
"""

import os
from collections import Counter

import pytest
from call_world.world import World
from trunkline_common.call_events import Verdict

SEEDS = int(os.environ.get("TRUNKLINE_WORLD_SEEDS", "2000"))
ONE_SEED = os.environ.get("TRUNKLINE_WORLD_SEED")
CHUNKS = 8
"""So that pytest-xdist can spread the seeds."""

PAST_FAILURES = {
    2: "an answer that began while the stream was away was played to nobody",
    0: "the caller's words after the second attach counted as repeated, for its timestamps start again",
    16: "the clock ran on for a round trip when the audio had only just been sent",
    26: "the words at which the caller hung up got place 0, before the greeting",
    23: "of two short items the second was taken as unheard while the first one's mark was on its way",
    284: "padding was counted as heard speech",
    361: "an answer was not cancelled when the line broke, and went on",
    388: "a session that was lost already was closed again at the end of the offer",
    456: "silence that was due for a second was filled in ten wake-ups",
    2779: "an answer without response.created was asked for twice",
}

THINGS_TO_SEE = {
    *("Play", "ClearPlayback", "TruncateItem", "DeleteItem", "CancelResponse", "CreateResponse", "HangUp"),
    *("RecordLatency", "line broke", "session lost"),
    *("barge-in", "late-delta", "stale-mark", "stale-session", "model-error", "response-failed"),
    *("caller-audio-dropped-ms", "caller-audio-repeated", "caller-gap-padded-ms"),
    *("response completed", "response cancelled", "response incomplete", "response failed"),
    *("transcript completed", "transcript failed", "transcript missing"),
    *(verdict.name for verdict in Verdict if verdict not in {Verdict.WORKER_ERROR, Verdict.GATEWAY_LOST}),
}


@pytest.mark.skipif(ONE_SEED is not None, reason="one seed is being replayed")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_seed_keeps_the_rules_of_a_call(chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        run(seed)


@pytest.mark.parametrize("seed", PAST_FAILURES)
def test_a_seed_that_found_a_fault_stays_fixed(seed: int) -> None:
    run(seed)


@pytest.mark.skipif(ONE_SEED is None, reason="TRUNKLINE_WORLD_SEED is not set")
def test_the_seed_of_the_environment() -> None:
    assert ONE_SEED is not None
    world = run(int(ONE_SEED))
    print(world.last_steps())  # noqa: T201 - shown by pytest -s, to look at a call that goes well


def test_the_seeds_reach_everything_that_can_happen() -> None:
    seen: Counter[str] = Counter()
    for seed in range(250):
        seen += run(seed).seen

    assert not THINGS_TO_SEE - seen.keys()


def run(seed: int) -> World:
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        raise AssertionError(
            f"{error}\n{world.last_steps()}\nseed {seed}: TRUNKLINE_WORLD_SEED={seed} replays it"
        ) from error
    return world
