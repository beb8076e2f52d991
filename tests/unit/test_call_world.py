"""The core of a call in a world drawn from a seed: what must hold after each step is in `call_world/checks.py`.

`TRUNKLINE_WORLD_SEEDS=n` runs n seeds instead of the default. A failure names its seed and shows the last steps;
`TRUNKLINE_WORLD_SEED=n` runs that one alone, and a seed that found a fault joins `PAST_FAILURES`.
"""

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from call_world.world import World

SEEDS = int(os.environ.get("TRUNKLINE_WORLD_SEEDS", "1000"))
OWNERS_SEEDS = int(os.environ.get("TRUNKLINE_WORLD_SEEDS", "400"))
"""Of calls that change hands."""
ONE_SEED = os.environ.get("TRUNKLINE_WORLD_SEED")
CHUNKS = 8
"""So that pytest-xdist can spread the seeds."""

EVERY_SEED = [range(chunk, SEEDS, CHUNKS) for chunk in range(CHUNKS)]
EVERY_OWNERS_SEED = [range(chunk, OWNERS_SEEDS, CHUNKS) for chunk in range(CHUNKS)]

PAST_FAILURES = {
    0: "the caller's words on a second stream counted as repeated, because its timestamps start again",
    2: "an answer that began while there was no stream was played to nobody",
    16: "the heard position ran a round trip ahead of audio that had only just been sent",
    23: "an item whose audio all came after the interruption stayed in the model's conversation",
    26: "the words at which the caller hung up got place 0, before the greeting",
    284: "padding counted as heard speech",
    361: "an answer whose line broke was deleted while the model still made it",
    388: "a session that was lost already was closed again at the end of the offer",
    392: "a second item was taken as unheard while the mark of the first was on its way",
    456: "silence that was due was filled in by one wake-up after the other without time passing",
    2779: "an answer without response.created was asked for twice",
    166: "a cough stopped the agent because Twilio sent nothing behind it, and the time for its end passed",
    354: "a call whose line broke during a greeting that nobody could interrupt kept itself busy",
    384: "a departure that was asked for while there was no line woke the call for ever",
    390: "an item of a lost session was truncated, though its successor knew it as text only",
    2413: "a turn that no session answered was lost when the call ended first",
    8663: "a caller was listened to although the greeting, which a limit had cut, still played",
    4226: "an item that the session had not been told of was deleted from it",
    4320: "a turn was heard twice, because the line had been silent since",
    105729: "a first retry was due at once, and the call woke itself for it",
    102746: "a caller who was being answered already was greeted when the stream came back",
}

PAST_FAILURES_OF_OWNERS = {
    **dict.fromkeys(
        [11, 13, 30, 50, 69, 85, 132, 202, 279, 342, 369, 456, 684, 920, 1223, 1264, 1383],
        "found while takeover was made",
    ),
    **dict.fromkeys([3435, 3457, 3556, 3743], "found while takeover was made"),
    3255: "a session that had just been given the caller's words vouched for them, and they were not heard again",
    5153: "what one owner had taken as a turn was not heard again by the third, after the second had no answer",
    7889: "a session that was let go as soon as it served left out what it had been given",
    6029: "the clock of what is heard stopped at marks that another owner was only reckoned to have set",
    **dict.fromkeys([6291, 7938, 7968], "the same, in other calls"),
    3517: "the world took speech that a session was given in one piece for none",
    **dict.fromkeys([2206, 3676], "the same, in other calls"),
    **dict.fromkeys([1623, 1649], "the world counted a rounding error as sound"),
    10108: "the world took a stream that was heard again for nobody",
    11525: "the world gave a call away whose stream was another by then",
    13038: "the same, in another call",
    **dict.fromkeys([201181, 201996], "the world took speech that went on over two streams for two"),
}

THINGS_TO_SEE = {
    *("UseSession", "SetTurnDetection", "CreateMessage", "CreateCallerAudio"),
    *("response-retried", "answer-overdue", "session rotated", "session restored"),
    *("Play", "ClearPlayback", "TruncateItem", "DeleteItem", "CancelResponse", "CreateResponse", "HangUp"),
    *("filler-ms", "short-speech", "idle timeout", "listened after the greeting"),
    *("RecordLatency", "line broke", "session lost", "AskForRedirect", "RecordOrphan"),
    *("barge-in", "late-delta", "stale-mark", "stale-session", "model-error", "response-failed"),
    *("caller-audio-dropped-ms", "caller-audio-repeated", "caller-gap-padded-ms"),
    *("response completed", "response cancelled", "response incomplete", "response failed"),
    *("transcript completed", "transcript failed", "transcript missing"),
    *(
        "CALLER_HUNG_UP",
        "CALLER_LEFT_EARLY",
        "BAD_STREAM",
        "NEVER_ATTACHED",
        "WORKER_STOPPED",
        "GATEWAY_LOST",
    ),
    *("MODEL_REFUSED", "MODEL_LOST", "STREAM_LOST", "TIME_LIMIT"),
    *("RunTool", "CancelTool", "CreateFunctionOutput", "CreateFunctionCall", "transfer", "send-digits"),
    *("tool ok", "tool refused", "tool failed", "tool timeout", "tool cancelled", "TRANSFERRED"),
}


@pytest.mark.parametrize("seeds", EVERY_SEED if ONE_SEED is None else [[int(ONE_SEED)]], ids=str)
def test_every_seed_keeps_the_rules_of_a_call(seeds: Iterable[int]) -> None:
    for seed in seeds:
        run(seed)


@pytest.mark.parametrize("seed", PAST_FAILURES)
def test_a_seed_that_found_a_fault_stays_fixed(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seeds", EVERY_OWNERS_SEED if ONE_SEED is None else [[int(ONE_SEED)]], ids=str)
def test_every_seed_keeps_the_rules_of_a_call_that_changes_hands(seeds: Iterable[int]) -> None:
    for seed in seeds:
        run(seed, owners_change=True)


@pytest.mark.parametrize("seed", PAST_FAILURES_OF_OWNERS)
def test_a_seed_that_found_a_fault_of_changing_hands_stays_fixed(seed: int) -> None:
    run(seed, owners_change=True)


def test_the_seeds_reach_everything_that_can_happen() -> None:
    seen: Counter[str] = Counter()
    for seed in range(400):
        seen += run(seed).seen

    assert not THINGS_TO_SEE - seen.keys()


def test_calls_change_hands_in_every_way() -> None:
    seen: Counter[str] = Counter()
    for seed in range(100):
        seen += run(seed, owners_change=True).seen

    assert {"worker died", "let go", "session taken-over", "SendCheckpoint", "LetGo"} <= seen.keys()


def run(seed: int, *, owners_change: bool = False) -> World:
    world = World(seed, owners_change=owners_change)
    try:
        world.run()
    except Exception as error:
        raise AssertionError(
            f"{error}\n{world.last_steps()}\nseed {seed}: TRUNKLINE_WORLD_SEED={seed} replays it"
        ) from error
    return world
