"""The modelled processes: a real worker or a real gateway each, on its own event loop and its own links to the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from fleet_world.bus import ModelledBus
from fleet_world.clock import ProcessLoop
from trunkline_common.bus import NoAnswerError
from trunkline_common.service import Life
from trunkline_gateway import main as gateway_main
from trunkline_gateway.calling import Calling
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.settings import GatewaySettings
from trunkline_worker.host import Host
from trunkline_worker.prices import NO_PRICES
from trunkline_worker.profile_watch import WatchedProfiles
from trunkline_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from fleet_world.world import World

AUTH_TOKEN = "of the modelled account"


class Process:
    """One process, from its start to its end."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_stopping = False
        self.loop = ProcessLoop(world.agenda, name, world.fault)  # type: ignore[abstract]  # no sockets
        self.bus = ModelledBus(self)
        world.processes[name] = self

    @property
    def is_dead(self) -> bool:
        return self.loop.is_dead

    @property
    def is_well(self) -> bool:
        """It lives and runs."""
        return not self.is_dead and not self.loop.is_stopped

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let a task of this process do something; its faults are the world's end."""
        self.loop.create_task(self._watched(work))

    async def _watched(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the border of a task
            self.world.fault(f"{self.name}: {error!r}", error)

    def start(self) -> None:
        """Begin, on the loop."""
        self.loop.call_soon(lambda: self.spawn(self._live()))

    async def _live(self) -> None:
        self.life = Life(self.name, 60)
        # Nothing begins before NATS is reached.
        await asyncio.sleep(max(self.world.bus_back_at - self.world.now, 0))
        try:
            await self._serve()
        except NoAnswerError as error:
            self.world.note(self.name, f"could not begin: {error}")
        self.world.agenda.after(0, self.crash)

    async def _serve(self) -> None:
        raise NotImplementedError

    def crash(self) -> None:
        """End at once: SIGKILL, or the end of `main`; a new process takes its place."""
        if self.is_dead:
            return
        self.world.note(self.name, "process gone")
        self.loop.die()
        self.world.broker.forget_process(self)
        self.world.process_gone(self)

    def stop(self) -> None:
        """SIGTERM."""
        self.is_stopping = True
        self.loop.call_soon(self.life.stop_requested.set)

    def pause(self) -> None:
        """SIGSTOP."""
        self.loop.is_stopped = True

    def resume(self) -> None:
        """SIGCONT."""
        self.loop.go_on()


class WorkerProcess(Process):
    """A realtime worker."""

    kind: Literal["worker"] = "worker"
    host: Host

    async def _serve(self) -> None:
        settings = WorkerSettings(
            openai_api_key="sk-modelled",
            worker_capacity=self.world.capacity,
            worker_drain_s=self.world.drain_s,
        )
        self.host = Host(settings, self.bus, WatchedProfiles(None, self.world.agent), NO_PRICES)  # type: ignore[arg-type]  # a modelled bus
        await self.host.run(self.life)

    @property
    def calls(self) -> int:
        """How many calls it holds."""
        return len(self.host._owned.live) if hasattr(self, "host") else 0

    @property
    def events_waiting(self) -> int:
        """How many events its log has not acknowledged."""
        return self.host._event_log._waiting if hasattr(self, "host") else 0


class GatewayProcess(Process):
    """A gateway."""

    kind: Literal["gateway"] = "gateway"
    gateway: Gateway

    async def _serve(self) -> None:
        settings = GatewaySettings(
            public_url="https://calls.example.com",
            twilio_auth_token=AUTH_TOKEN,
            gateway_streams_max=self.world.streams_max,
            gateway_drain_s=3,
        )
        self.gateway = Gateway.build(settings)
        self.gateway.outbound = ModelledCalling(settings, self.gateway.public_url, self.world.redirect)
        await gateway_main._run(self.gateway, self.life)

    @property
    def takes_streams(self) -> bool:
        """What a load balancer sees of it: its readiness."""
        has_links = self.bus.control.up.is_set() and self.bus.audio.up.is_set()
        is_ready = hasattr(self, "gateway") and self.gateway.link is not None and not self.is_stopping
        return self.is_well and has_links and is_ready

    @property
    def streams(self) -> int:
        """How many sockets are open."""
        return len(self.gateway.streams._sockets) if hasattr(self, "gateway") else 0


class ModelledCalling(Calling):
    """Twilio's REST API, as far as a redirect goes."""

    def __init__(self, settings: GatewaySettings, public_url: Any, ask: Callable[..., Any]) -> None:
        super().__init__(settings, public_url)
        self._ask = ask

    @property
    def may_redirect(self) -> bool:
        return True

    async def redirect(self, call_id: str, url: str) -> Any:
        return await self._ask(call_id, url)


class BusOfProcess:
    """Stands where `Bus` is imported: each process connects to its own."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def connect(self, _settings: object, _life: Life) -> ModelledBus:
        return self._world.running.bus
