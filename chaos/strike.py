"""Carries out a plan: waits until a victim holds live calls, strikes, heals, and writes down who was hit."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import nats.errors

from chaos.faults import FAULTS, Fault
from chaos.fleet import NATS_NODES, Fleet
from chaos.schedule import Planned, between, pick
from trunkline_local.nats_server import node_name

MOVING: Final = ("gateway", "front")
"""What a fault strikes that may give calls another stream."""

VICTIM_LIMIT_S: Final = 60.0
"""Until somebody holds a call that can be hit: callers call again within seconds, and a call takes half a minute."""

LOOK_AGAIN_S: Final = 0.2

STREAMS_LOST_MAX: Final = 4
"""Of one call: one that loses its fifth stream is taken to be in a loop, and is given up on purpose."""


Progress = Callable[[str], None]


class NoLiveCallsError(RuntimeError):
    """Nobody had a call that could be hit."""


async def carry_out(fleet: Fleet, planned: Sequence[Planned], progress: Progress) -> None:
    """Let one fault after another happen; `NoLiveCallsError` when there is nothing to strike."""
    streams_lost: Counter[str] = Counter()
    for each in planned:
        await asyncio.sleep(each.pause_s)
        fault = FAULTS[each.fault]
        victim, calls = await _busy_victim(fleet, fault, each, streams_lost)
        await fault.prepare(fleet, victim)
        if fault.strikes == "gateway":
            await fleet.note_counters()
        lasts_s = between(each.hold, *fault.lasts_s)
        fleet.history.add(
            "injecting",
            number=each.number,
            fault=each.fault,
            victim=victim,
            id=fleet.members[victim].id if victim in fleet.members else "",
            calls=calls,
        )
        if fault.strikes in MOVING:
            streams_lost.update(calls)
        await fault.inject(fleet, victim)
        await asyncio.sleep(lasts_s)
        await fault.end(fleet, victim)
        fleet.history.add("healing", number=each.number)
        await fault.heal(fleet, victim)
        fleet.history.add("healed", number=each.number)
        progress(f"{each.number + 1}/{len(planned)} {each.fault} of {victim}, {len(calls)} calls hit")


async def _busy_victim(
    fleet: Fleet, fault: Fault, planned: Planned, streams_lost: Counter[str]
) -> tuple[str, list[str]]:
    """Return whom the fault strikes and the calls that it holds: at least one, and none that could not bear it."""
    try:
        async with asyncio.timeout(VICTIM_LIMIT_S):
            while True:
                held = await _held(fleet, fault)
                busy = [
                    name for name, calls in held.items() if calls and can_bear(fault, calls, streams_lost)
                ]
                if busy:
                    victim = pick(planned.victim, busy)
                    return victim, held[victim]
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise NoLiveCallsError(f"{planned.fault}: no live call within {VICTIM_LIMIT_S:.0f} s") from None


def can_bear(fault: Fault, calls: Sequence[str], streams_lost: Counter[str]) -> bool:
    """Return whether each of the calls may lose one more stream, if the fault takes it."""
    return fault.strikes not in MOVING or all(streams_lost[sid] < STREAMS_LOST_MAX for sid in calls)


async def _held(fleet: Fleet, fault: Fault) -> dict[str, list[str]]:
    """Return who can be struck and what each holds; those that all calls need hold every live one."""
    match fault.strikes:
        case "worker" | "gateway" as kind:
            members = fleet.of(kind)
            try:
                held = await asyncio.gather(*(fleet.calls_of(member) for member in members))
            except nats.errors.Error:  # in the middle of finding its way back after the fault before
                return {}
            return {member.name: calls for member, calls in zip(members, held, strict=True)}
        case "transcripts":
            live = await fleet.live_calls()
            return {member.name: live for member in fleet.of("transcripts")}
        case "nats-node":
            over = await asyncio.gather(*(fleet.calls_over(node) for node in range(NATS_NODES)))
            return {node_name(node): calls for node, calls in enumerate(over)}
        case "nats" | "postgres" | "front" as part:
            return {part: await fleet.live_calls()}
