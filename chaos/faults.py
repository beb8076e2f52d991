"""What can go wrong: each fault strikes one victim, lasts a while, and is healed until the fleet is what it was."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from chaos.fleet import Fleet

Act = Callable[[Fleet, str], Awaitable[None]]
"""What is done to the victim of this name."""

Strikes = Literal["worker", "gateway", "transcripts", "nats", "nats-node", "postgres", "front"]

AT_ONCE_S: Final = (0.0, 0.0)
HANG_S: Final = (2.5, 5.0)
"""Longer than every detection, so that the victim wakes up to find itself replaced."""
NODE_HANG_S: Final = (6.0, 8.0)
"""Longer than anybody waits for a node, so that all have moved to others."""
POSTGRES_HANG_S: Final = (5.0, 5.0)
AWAY_S: Final = (10.0, 10.0)
AWAY_LONG_S: Final = (60.0, 60.0)
"""Three times what a gateway lets a caller wait."""
RESTART_S: Final = (0.3, 1.0)
"""Until Kubernetes has started a container again, on a good day."""


async def _nothing(fleet: Fleet, victim: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. Times are in seconds."""

    strikes: Strikes
    """Among what the victim is drawn."""
    lasts_s: tuple[float, float]
    """From `inject` to `end`: at least, at most."""
    inject: Act
    """Returns as soon as it has happened."""
    heal: Act
    """Returns once the fleet is whole."""
    prepare: Act = _nothing
    """Done before, while nothing is wrong yet."""
    gap_max_s: float | None = None
    """What the 99th percentile of the voice gaps may be; None: only that nothing is lost."""
    end: Act = _nothing
    """Returns as soon as the fault itself is over; what `heal` waits for is recovery."""
    gap_is_after: bool = False
    """The gap counts from the end of the fault on: while it lasts nobody can speak."""
    turns_away: bool = False
    """While it lasts no call can begin."""
    gives_up: bool = False
    """It lasts so long that its calls are given up: they hear the fallback, and end with it."""
    takes_streams: bool = False
    """Calls lose their stream without our will: see `carried.py`."""
    target_is_ours: bool = False
    """Judged is our part of the gap: Twilio takes its time to find the next stream."""
    about: str = ""


async def _kill(fleet: Fleet, victim: str) -> None:
    await fleet.members[victim].kill()


async def _await_next(fleet: Fleet, victim: str) -> None:
    await fleet.members[victim].wait_until_ready()


async def _freeze(fleet: Fleet, victim: str) -> None:
    fleet.members[victim].freeze()


async def _thaw(fleet: Fleet, victim: str) -> None:
    fleet.members[victim].thaw()
    await fleet.members[victim].wait_until_ready()


async def _replace(fleet: Fleet, victim: str) -> None:
    await fleet.add(fleet.members[victim].kind)


async def _retire(fleet: Fleet, victim: str) -> None:
    await fleet.retire(fleet.members[victim])


async def _kill_nats(fleet: Fleet, victim: str) -> None:
    await asyncio.gather(*(fleet.nats.kill(number) for number in fleet.nodes(victim)))


async def _restart_nats(fleet: Fleet, victim: str) -> None:
    # Not the cluster's own way, which waits until it has elected its leaders.
    await asyncio.gather(*(fleet.nats.servers[number].restart() for number in fleet.nodes(victim)))


async def _await_nats(fleet: Fleet, _victim: str) -> None:
    await fleet.nats.until_whole()
    await fleet.wait_until_ready()


async def _freeze_nats(fleet: Fleet, victim: str) -> None:
    for number in fleet.nodes(victim):
        fleet.nats.send_signal(number, signal.SIGSTOP)


async def _thaw_nats(fleet: Fleet, victim: str) -> None:
    for number in fleet.nodes(victim):
        fleet.nats.send_signal(number, signal.SIGCONT)


async def _kill_postgres(fleet: Fleet, _victim: str) -> None:
    await fleet.postgres.kill()


async def _restart_postgres(fleet: Fleet, _victim: str) -> None:
    await fleet.postgres.restart()
    await fleet.wait_until_ready()


async def _freeze_postgres(fleet: Fleet, _victim: str) -> None:
    await fleet.postgres.freeze()


async def _thaw_postgres(fleet: Fleet, _victim: str) -> None:
    fleet.postgres.thaw()


async def _await_all(fleet: Fleet, _victim: str) -> None:
    await fleet.wait_until_ready()


async def _cut_twilio(fleet: Fleet, _victim: str) -> None:
    fleet.front.cut()


async def _swallow_twilio(fleet: Fleet, _victim: str) -> None:
    fleet.front.swallow()


async def _let_twilio_through(fleet: Fleet, _victim: str) -> None:
    fleet.front.heal()


def _cut(server: str) -> Act:
    async def cut(fleet: Fleet, victim: str) -> None:
        for link in fleet.members[victim].links[server]:
            link.cut()

    return cut


def _swallow(server: str) -> Act:
    async def swallow(fleet: Fleet, victim: str) -> None:
        for link in fleet.members[victim].links[server]:
            link.swallow()

    return swallow


def _let_through(server: str) -> Act:
    async def let_through(fleet: Fleet, victim: str) -> None:
        for link in fleet.members[victim].links[server]:
            link.heal()
        await fleet.members[victim].wait_until_ready()

    return let_through


_KILL: Final = (_kill_nats, _restart_nats)
_HANG: Final = (_freeze_nats, _thaw_nats)


def _of_nats(
    strikes: Strikes, lasts_s: tuple[float, float], acts: tuple[Act, Act], about: str, **more: Any
) -> Fault:
    inject, end = acts
    is_all = strikes == "nats"
    return Fault(
        *(strikes, lasts_s, inject, _await_nats),
        end=end,
        gap_is_after=is_all,
        turns_away=is_all,
        about=about,
        **more,
    )


FAULTS: Final = {
    "worker-kill": Fault(
        "worker", AT_ONCE_S, _kill, _await_next, gap_max_s=0.8, about="SIGKILL, started again"
    ),
    "worker-hang": Fault("worker", HANG_S, _freeze, _thaw, gap_max_s=1.6, about="SIGSTOP, then SIGCONT"),
    "worker-drain": Fault(
        "worker", AT_ONCE_S, _nothing, _retire, _replace, 0.1, about="rolling deploy: SIGTERM"
    ),
    "gateway-kill": Fault(
        *("gateway", AT_ONCE_S, _kill, _await_next),
        gap_max_s=0.3,
        takes_streams=True,
        target_is_ours=True,
        about="SIGKILL, started again",
    ),
    "gateway-hang": Fault(
        "gateway", HANG_S, _freeze, _thaw, takes_streams=True, about="SIGSTOP, then SIGCONT"
    ),
    "gateway-drain": Fault(
        "gateway", AT_ONCE_S, _nothing, _retire, _replace, 0.1, about="rolling deploy: SIGTERM"
    ),
    "transcripts-kill": Fault(
        "transcripts", AT_ONCE_S, _kill, _await_next, gap_max_s=0.1, about="SIGKILL, started again"
    ),
    "transcripts-hang": Fault(
        "transcripts", HANG_S, _freeze, _thaw, gap_max_s=0.1, about="SIGSTOP, then SIGCONT"
    ),
    "nats-node-kill": _of_nats(
        "nats-node", RESTART_S, _KILL, gap_max_s=0.1, about="one of three, SIGKILL, started again"
    ),
    "nats-node-hang": _of_nats(
        "nats-node", NODE_HANG_S, _HANG, gap_max_s=3.0, about="one of three, SIGSTOP, then SIGCONT"
    ),
    "nats-kill": _of_nats("nats", RESTART_S, _KILL, gap_max_s=1.0, about="all of it, SIGKILL"),
    "nats-hang": _of_nats("nats", HANG_S, _HANG, gap_max_s=1.0, about="all of it, SIGSTOP"),
    "nats-away": _of_nats("nats", AWAY_S, _KILL, gap_max_s=1.0, about="all of it, 10 s"),
    "nats-away-long": _of_nats("nats", AWAY_LONG_S, _KILL, gives_up=True, about="all of it, 60 s"),
    "postgres-kill": Fault(
        "postgres", RESTART_S, _kill_postgres, _restart_postgres, gap_max_s=0.1, about="immediate shutdown"
    ),
    "postgres-away": Fault(
        "postgres", AWAY_S, _kill_postgres, _restart_postgres, gap_max_s=0.1, about="for 10 s"
    ),
    "postgres-hang": Fault(
        *("postgres", POSTGRES_HANG_S, _freeze_postgres, _await_all),
        end=_thaw_postgres,
        gap_max_s=0.1,
        about="all its processes SIGSTOP, then SIGCONT",
    ),
    "worker-nats-cut": Fault(
        "worker", AT_ONCE_S, _cut("nats"), _await_next, about="its NATS connection is reset"
    ),
    "worker-nats-blackhole": Fault(
        "worker", HANG_S, _swallow("nats"), _let_through("nats"), about="nothing arrives, both ways"
    ),
    "gateway-nats-cut": Fault(
        "gateway", AT_ONCE_S, _cut("nats"), _await_next, about="its NATS connection is reset"
    ),
    "gateway-nats-blackhole": Fault(
        "gateway", HANG_S, _swallow("nats"), _let_through("nats"), about="nothing arrives, both ways"
    ),
    "twilio-cut": Fault(
        *("front", AT_ONCE_S, _cut_twilio, _nothing),
        takes_streams=True,
        about="every media socket is reset",
    ),
    "twilio-blackhole": Fault(
        *("front", HANG_S, _swallow_twilio, _let_twilio_through),
        takes_streams=True,
        about="nothing arrives, both ways",
    ),
    "model-cut": Fault("worker", AT_ONCE_S, _cut("model"), _nothing, about="its model sockets are reset"),
    "model-blackhole": Fault(
        "worker", HANG_S, _swallow("model"), _let_through("model"), about="its model sockets fall silent"
    ),
}
"""Every fault by its name. The limits of the gaps are the targets for a model that connects within 0.3 s."""
