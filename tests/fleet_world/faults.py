"""What goes wrong in one world, drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_world.processes import GatewayProcess, Process, WorkerProcess

if TYPE_CHECKING:
    from fleet_world.world import World

FIRST_S, LAST_S = 0.1, 14.0
"""After the calls began."""

PAUSES_S = [0.1, 0.4, 0.8, 1.5, 3.0, 8.0]
CUTS_S = [0.1, 0.3, 1.0, 2.5, 6.0, 12.0]
LOSS_S = 2.0
LOSS = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them."""

    kind: str
    at: float
    lasts_s: float = 0.0


class Faults:
    """All of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        draw = world.draw
        self.all: list[Fault] = []
        self._begin_of: dict[str, tuple[Callable[[Fault], None], list[float]]] = {
            "worker-crash": (self._crash_worker, [0.0]),
            "worker-pause": (self._pause_worker, PAUSES_S),
            "worker-drain": (self._drain_worker, [0.0]),
            "gateway-crash": (self._crash_gateway, [0.0]),
            "gateway-pause": (self._pause_gateway, PAUSES_S),
            "gateway-drain": (self._drain_gateway, [0.0]),
            "link": (self._cut_link, CUTS_S),
            "bus": (self._cut_bus, CUTS_S),
            "frame-loss": (self._lose_frames, [LOSS_S]),
        }
        for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
            kind = draw.choice(list(self._begin_of))
            lasts_s = draw.choice(self._begin_of[kind][1])
            self.all.append(Fault(kind, world.now + draw.uniform(FIRST_S, LAST_S), lasts_s))
        for fault in self.all:
            world.agenda.at(fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    @property
    def over_at(self) -> float:
        """When everything is well again, drains included."""
        return max(fault.at + fault.lasts_s for fault in self.all)

    def _begin(self, fault: Fault) -> None:
        self._world.saw(fault.kind)
        self._world.note("FAULT", f"{fault.kind} {fault.lasts_s or ''}")
        self._begin_of[fault.kind][0](fault)

    # --- Whom it strikes: more often than not, whoever has a call

    def _worker(self) -> Process | None:
        world = self._world
        workers = [
            each for each in world.processes.values() if isinstance(each, WorkerProcess) and each.is_well
        ]
        busy = [each for each in workers if each.calls]
        choice = busy if busy and world.draw.random() < 0.8 else workers
        return world.draw.choice(choice) if choice else None

    def _gateway(self) -> Process | None:
        world = self._world
        gateways = [
            each for each in world.processes.values() if isinstance(each, GatewayProcess) and each.is_well
        ]
        busy = [each for each in gateways if each.streams]
        choice = busy if busy and world.draw.random() < 0.8 else gateways
        return world.draw.choice(choice) if choice else None

    def _any(self) -> Process | None:
        return self._worker() if self._world.draw.random() < 0.5 else self._gateway()

    # --- What happens

    def _crash_worker(self, _fault: Fault) -> None:
        self._crash(self._worker())

    def _crash_gateway(self, _fault: Fault) -> None:
        self._crash(self._gateway())

    def _crash(self, process: Process | None) -> None:
        if process is not None:
            self._world.note(process.name, "is killed")
            process.crash()

    def _pause_worker(self, fault: Fault) -> None:
        self._pause(self._worker(), fault.lasts_s)

    def _pause_gateway(self, fault: Fault) -> None:
        self._pause(self._gateway(), fault.lasts_s)

    def _pause(self, process: Process | None, lasts_s: float) -> None:
        if process is not None:
            self._world.note(process.name, "is stopped")
            process.pause()
            self._world.agenda.after(lasts_s, process.resume)

    def _drain_worker(self, _fault: Fault) -> None:
        self._drain(self._worker())

    def _drain_gateway(self, _fault: Fault) -> None:
        self._drain(self._gateway())

    def _drain(self, process: Process | None) -> None:
        if process is not None:
            self._world.note(process.name, "is asked to end")
            process.stop()

    def _cut_link(self, fault: Fault) -> None:
        process = self._any()
        if process is None:
            return
        silently = self._world.draw.random() < 0.5
        which = self._world.draw.choice([("audio",), ("control",), ("audio", "control")])
        self._world.note(process.name, f"loses {'+'.join(which)}{' silently' if silently else ''}")
        for name in which:
            self._cut(process, name, fault.lasts_s, silently=silently)

    def _cut_bus(self, fault: Fault) -> None:
        silently = self._world.draw.random() < 0.3
        self._world.bus_back_at = max(self._world.bus_back_at, self._world.now + fault.lasts_s)
        for process in list(self._world.processes.values()):
            for name in ("audio", "control"):
                if not process.is_dead:
                    self._cut(process, name, fault.lasts_s, silently=silently)

    def _cut(self, process: Process, name: str, lasts_s: float, *, silently: bool) -> None:
        world = self._world
        connection = process.bus.audio if name == "audio" else process.bus.control
        connection.cut(silently=silently)
        if silently:
            world.agenda.after(world.draw.uniform(0, lasts_s), connection.notice)
        # Each finds the way back by itself.
        world.agenda.after(lasts_s + world.draw.uniform(0, 0.4), connection.mend)

    def _lose_frames(self, fault: Fault) -> None:
        world = self._world
        world.frame_loss = LOSS
        world.agenda.after(fault.lasts_s, lambda: setattr(world, "frame_loss", 0.0))
