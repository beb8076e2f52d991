"""A worker with as many calls as the design wants to see drained within a minute, and two to give them to."""

from __future__ import annotations

from fleet_world.processes import GatewayProcess, WorkerProcess
from fleet_world.twilio import Call
from fleet_world.world import BOOT_S, World

CALLS = 50
DEADLINE_S = 60.0
RINGS_S = 5.0
"""Within which all of them begin."""


class FullWorker(World):
    """Nothing goes wrong: one worker is told to stop."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.capacity = CALLS
        self.streams_max = 2 * CALLS
        self.drain_s = DEADLINE_S
        self.model_is_kind = True
        self.drained_s = 0.0
        """From SIGTERM to the end of the process."""

    def _live(self) -> None:
        for kind in (GatewayProcess, GatewayProcess, WorkerProcess):
            self._start(kind)
        self._go_on(BOOT_S)
        for number in range(CALLS):
            call = Call(self, number)
            call.frame_ms = 200  # as few as there may be, for the time that the test takes
            self.calls[call.sid] = call
            self.agenda.after(self.draw.uniform(0, RINGS_S), call.begin)
        self._go_on(RINGS_S + 2)
        (stopping,) = (each for each in self.processes.values() if isinstance(each, WorkerProcess))
        self.checks.require(stopping.calls == CALLS, f"it holds {stopping.calls} calls")
        for _ in range(2):
            self._start(WorkerProcess)
        self._go_on(2.0)
        self._drain(stopping)
        self._go_on(4.0)
        for call in self.calls.values():
            self.checks.require(not call.over, f"{call.sid} is over: {call.over}")
            self.checks.require(len(call.streams) == 1, f"{call.sid} lost its stream")
        self._raise()

    def _drain(self, worker: WorkerProcess) -> None:
        began_at = self.now
        worker.stop()
        while not worker.is_dead and self.now < began_at + DEADLINE_S:
            self._go_on(0.5)
        self.drained_s = self.now - began_at
        self.checks.require(worker.is_dead, f"after {DEADLINE_S} s it still holds {worker.calls} calls")
