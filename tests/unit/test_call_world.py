"""The core of a call in a world drawn from a seed: invariants after each step, thousands of calls in seconds.

`TRUNKLINE_WORLD_SEEDS=n` runs n seeds instead of the default; `TRUNKLINE_WORLD_SEED=n` runs one and prints it.
"""

import os
from collections import Counter

import pytest

from call_world.world import World

SEEDS = int(os.environ.get("TRUNKLINE_WORLD_SEEDS", "2000"))
CHUNKS = 8
"""So that pytest-xdist can spread them."""


def test_x() -> None:
    pass
