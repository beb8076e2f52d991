"""One run: a fleet, callers, and faults, with everything written down in a folder."""

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos import lateness, schedule, stored
from chaos.callers import SPREAD_S, calling
from chaos.fleet import Fleet, Size
from chaos.history import History
from chaos.strike import Progress, carry_out


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes a run what it is."""

    seed: int
    faults: tuple[str, ...]
    hits: int = 1
    callers: int = 4
    lines: int = 4
    workers: int = 2
    gateways: int = 2
    pause_s: tuple[float, float] = schedule.PAUSE_S
    """At least, at most; between the faults."""


async def rehearse(settings: Settings, folder: Path, progress: Progress) -> None:
    """Run it, and leave history, traces, logs and what was stored in `folder`."""
    planned = schedule.plan(settings.seed, settings.faults, settings.hits, settings.pause_s)
    history = await asyncio.to_thread(History, folder)
    try:
        history.add("run", wall_ns=time.time_ns(), settings=asdict(settings))
        async with Fleet.running(folder, Size(settings.workers, settings.gateways), history) as fleet:
            progress(f"{settings.workers} workers and {settings.gateways} gateways are ready")
            async with (
                lateness.noted(history),
                calling(fleet, settings.callers, settings.lines, settings.seed),
            ):
                progress(f"{settings.callers} callers begin to call")
                await asyncio.sleep(SPREAD_S * settings.lines)
                await carry_out(fleet, planned, progress)
                progress("every fault has struck; the calls under way go on to their end")
            await fleet.note_counters()
            progress("waiting until every event is stored")
            await stored.collect(fleet.nats, fleet.postgres, folder)
    finally:
        history.close()
