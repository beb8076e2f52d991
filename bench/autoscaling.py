"""Pure: a day of calls and the autoscaler of the worker pods, second by second, everything random drawn from a seed.

The autoscaler is Kubernetes' own with KEDA's metric as in deploy/k8s/components/autoscaling: active calls over the
capacity of a pod, `AverageValue`, so it wants `ceil(active / capacity / target)` pods (Kubernetes: Horizontal Pod
Autoscaling, algorithm details; KEDA: Prometheus trigger). A caller hears "full" when every pod that is ready is full.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

DAY_S: Final = 24 * 3600

BY_HOUR: Final = (
    *(0.04, 0.03, 0.02, 0.02, 0.03, 0.06, 0.15, 0.35, 0.65, 0.85, 0.93, 0.98),
    *(1.00, 0.95, 0.90, 0.88, 0.85, 0.75, 0.55, 0.38, 0.28, 0.20, 0.12, 0.07),
)
"""Calls that begin in an hour, as a share of the busiest: a service line with its peak at noon. Assumed."""

TALK_MEDIAN_S: Final = 120.0
TALK_SIGMA: Final = 0.9
TALK_MEAN_S: Final = TALK_MEDIAN_S * math.exp(TALK_SIGMA**2 / 2)
"""Log-normal, as talk times are; 180 s. Assumed."""

TOLERANCE: Final = 0.1
"""The autoscaler leaves well alone within this share of its target (Kubernetes' default)."""
NODE_IDLE_S: Final = 600
"""After which an empty node is given back (cluster-autoscaler's default)."""

Curve = Callable[[float], float]
"""Second of the day to the rate of arrivals, as a share of the smooth day's busiest."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What an operator sets, and how slow the world is; times in seconds, ranges are drawn from evenly."""

    target: float = 0.6
    capacity_calls: int = 100
    pods_min: int = 3
    pods_max: int = 10_000
    spare_nodes: int = 0
    pods_per_node: int = 7
    scrape_s: int = 15
    poll_s: int = 30
    sync_s: int = 15
    pod_start_s: tuple[float, float] = (10, 25)
    node_start_s: tuple[float, float] = (90, 180)
    up_factor: float = 2.0
    up_pods: int = 2
    up_period_s: int = 30
    down_stabilization_s: int = 900
    down_period_s: int = 60


@dataclass(slots=True)
class Outcome:
    """What became of the day."""

    calls: int = 0
    refused: int = 0
    calls_peak: int = 0
    pods_peak: int = 0
    full_s: int = 0
    fullest: float = 0.0
    """The highest share of the ready capacity that was in use."""
    pod_s: int = 0
    talk_s: float = 0.0

    @property
    def pod_hours(self) -> float:
        """Pods that were paid for, ready or starting."""
        return self.pod_s / 3600

    def ideal_pod_hours(self, capacity_calls: int) -> float:
        """Return what pods that are always full would have taken."""
        return self.talk_s / 3600 / capacity_calls


def smooth(second: float) -> float:
    """Return the rate of an ordinary day."""
    hour = second / 3600
    before = int(hour)
    share = hour - before
    return BY_HOUR[before % 24] * (1 - share) + BY_HOUR[(before + 1) % 24] * share


def spiky(second: float) -> float:
    """Return the rate of a day with two surges: twice the calls for ten minutes, three times for five."""
    hour = second / 3600
    factor = 2.0 if 10.25 <= hour < 10.25 + 1 / 6 else 3.0 if 14.5 <= hour < 14.5 + 1 / 12 else 1.0
    return factor * smooth(second)


def opening(second: float) -> float:
    """Return the rate of a line that opens at eight: nobody before, two thirds of the peak at once."""
    return 0.0 if second < 8 * 3600 or second >= 20 * 3600 else smooth(second)


CURVES: Final[dict[str, Curve]] = {"smooth": smooth, "spiky": spiky, "opening": opening}


def simulate(fleet: Fleet, curve: Curve, calls_at_peak: int, seed: int) -> Outcome:
    """Return what became of one day whose smooth peak has so many calls at once."""
    chance = Random(seed)  # noqa: S311  # a simulation, to be repeated
    cluster = _Cluster(fleet, chance)
    autoscaler = _Autoscaler(fleet)
    outcome = Outcome()
    # Calls that end in each second; talks are cut at four hours.
    ends = [0] * (DAY_S + 4 * 3600 + 2)
    active = scraped = polled = 0
    for second in range(DAY_S):
        active -= ends[second]
        cluster.step(second)
        room = cluster.ready * fleet.capacity_calls
        for _ in range(_arrivals(curve(second) * calls_at_peak / TALK_MEAN_S, chance)):
            outcome.calls += 1
            if active >= room:
                outcome.refused += 1
                continue
            talk_s = min(chance.lognormvariate(math.log(TALK_MEDIAN_S), TALK_SIGMA), 4 * 3600)
            outcome.talk_s += talk_s
            ends[second + 1 + int(talk_s)] += 1
            active += 1
        if second % fleet.scrape_s == 0:
            scraped = active
        if second % fleet.poll_s == 0:
            polled = scraped
        if second % fleet.sync_s == 0:
            cluster.resize(second, autoscaler.wanted(second, polled / fleet.capacity_calls, cluster.pods))
        outcome.calls_peak = max(outcome.calls_peak, active)
        outcome.pods_peak = max(outcome.pods_peak, cluster.pods)
        outcome.fullest = max(outcome.fullest, active / room if room else 0.0)
        outcome.full_s += active >= room
        outcome.pod_s += cluster.pods
    return outcome


def _arrivals(rate: float, chance: Random) -> int:
    """Return how many arrive in one second at a mean `rate` (Poisson)."""
    if rate <= 0:
        return 0
    at = 0.0
    for count in itertools.count():
        at += chance.expovariate(rate)
        if at > 1:
            return count
    raise AssertionError("unreachable")


@dataclass(slots=True)
class _Autoscaler:
    """The Horizontal Pod Autoscaler: how many pods it wants, and how fast it may come there."""

    fleet: Fleet
    _wishes: deque[tuple[int, int]] = field(default_factory=deque)
    """Second and pods wanted, of the time that a scale-down looks back."""
    _sizes: deque[tuple[int, int]] = field(default_factory=deque)
    """Second and pods before each step up."""
    _down_at: int = -DAY_S

    def wanted(self, second: int, full_pods: float, pods: int) -> int:
        """Return how many pods there should be, when all calls together fill `full_pods`."""
        fleet = self.fleet
        wish = pods
        if abs(full_pods / (fleet.target * pods) - 1) > TOLERANCE:
            wish = math.ceil(full_pods / fleet.target)
        wish = max(fleet.pods_min, min(wish, fleet.pods_max))
        self._wishes.append((second, wish))
        while self._wishes[0][0] <= second - fleet.down_stabilization_s:
            self._wishes.popleft()
        if wish > pods:
            return self._up(second, wish, pods)
        highest = max(wish for _, wish in self._wishes)
        if highest < pods and second - self._down_at >= fleet.down_period_s:
            self._down_at = second
            return pods - 1
        return pods

    def _up(self, second: int, wish: int, pods: int) -> int:
        while self._sizes and self._sizes[0][0] <= second - self.fleet.up_period_s:
            self._sizes.popleft()
        before = self._sizes[0][1] if self._sizes else pods
        most = max(math.ceil(before * self.fleet.up_factor), before + self.fleet.up_pods)
        size = max(min(wish, most), pods)
        if size > pods:
            self._sizes.append((second, pods))
        return size


class _Cluster:
    """Pods that are ready, start, or wait for a node; nodes come and go with them."""

    def __init__(self, fleet: Fleet, chance: Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.ready = fleet.pods_min
        self._starting: list[float] = []
        self._waiting = 0
        self._nodes = self._nodes_for(fleet.pods_min)
        self._coming: list[float] = []
        self._needed_at = 0

    @property
    def pods(self) -> int:
        """Every pod that is paid for."""
        return self.ready + len(self._starting) + self._waiting

    def step(self, second: int) -> None:
        """Let start what is due."""
        arrived = sum(at <= second for at in self._coming)
        if arrived:
            self._nodes += arrived
            self._coming = [at for at in self._coming if at > second]
        if self._waiting and self._nodes * self._fleet.pods_per_node > self.ready + len(self._starting):
            self._schedule(second)
        if self._starting:
            started = sum(at <= second for at in self._starting)
            self.ready += started
            self._starting = [at for at in self._starting if at > second]

    def resize(self, second: int, pods: int) -> None:
        """Go for so many pods; a pod that is taken away hands its calls over to the others."""
        if pods > self.pods:
            self._waiting += pods - self.pods
            self._schedule(second)
        while self.pods > pods:
            if self._waiting:
                self._waiting -= 1
            elif self._starting:
                self._starting.remove(max(self._starting))
            else:
                self.ready -= 1
        needed = self._nodes_for(self.pods)
        missing = needed - self._nodes - len(self._coming)
        self._coming += [second + self._chance.uniform(*self._fleet.node_start_s) for _ in range(missing)]
        if needed >= self._nodes:
            self._needed_at = second
        elif second - self._needed_at >= NODE_IDLE_S:
            self._nodes -= 1

    def _schedule(self, second: int) -> None:
        room = self._nodes * self._fleet.pods_per_node - self.ready - len(self._starting)
        for _ in range(min(room, self._waiting)):
            self._starting.append(second + self._chance.uniform(*self._fleet.pod_start_s))
            self._waiting -= 1

    def _nodes_for(self, pods: int) -> int:
        return math.ceil(pods / self._fleet.pods_per_node) + self._fleet.spare_nodes
