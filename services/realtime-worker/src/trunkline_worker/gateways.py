"""Shell: watches the gateways that hold this worker's calls, and asks them to bring lost calls back.

A gateway is watched on suspicion only: a call of its hears nothing, where it should hear fifty frames a second. Then the
gateway is pinged; when it is gone, or hangs, each of its calls is told that its stream is lost. While the bus itself
does not work nothing is concluded: see `pulse.py`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus, NoAnswerError, NobodyListensError
from trunkline_common.control import ControlError, Redirect, RedirectReply
from trunkline_common.pulse import PING_TIMEOUT_S, REFUSED_AGAIN_S, Loss, Pulse
from trunkline_worker import metrics
from trunkline_worker.events import RedirectAnswer, RedirectAnswered
from trunkline_worker.gateway_line import GatewayLine

SWEEP_S: Final = 0.25
"""One look at the times of all calls; no timer for each."""

SILENCE_S: Final = 0.5
"""25 frames of the caller's: the network stalls for less, and a pause in what Twilio sends costs a ping, not a call."""

TAKE_TIMEOUT_S: Final = 0.25
"""A gateway takes a request within milliseconds; one that hangs swallows its share, so the next is asked."""

TAKE_TRIES_MAX: Final = 5
"""Of two gateways one hangs: 3 % of the calls then ask again later."""

_log = log.get(__name__)


class HeldCall(Protocol):
    """A call of this worker."""

    line: GatewayLine
    """Tells which gateway holds its stream, and when it was last heard."""

    @property
    def is_talking(self) -> bool:
        """A stream carries it."""

    def note_silence(self) -> None:
        """Its gateway does not answer, for now."""

    def lose_stream(self) -> None:
        """Take it that the stream is lost, as if the gateway had said so."""


class Gateways:
    """All gateways, as this worker sees them."""

    def __init__(self, bus: Bus, calls: Callable[[], Iterable[HeldCall]]) -> None:
        self._bus = bus
        self._calls = calls
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        """One for each orphaned call at most: a call asks again long after its tries are over."""
        self._reconnects = bus.reconnects
        self._bus_broke_at = float("-inf")

    async def run(self) -> None:
        """Watch until cancelled; a watch that fails ends the service."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._note_state_of_bus()
                    for gateway in self._suspects() - self._watches.keys():
                        self._watches[gateway] = tasks.create_task(
                            self._watch(gateway), name=f"watch-{gateway}"
                        )
                    await asyncio.sleep(SWEEP_S)
        finally:
            for task in self._asking:
                task.cancel()

    def ask_for_redirect(self, redirect: Redirect, on_answer: Callable[[RedirectAnswered], None]) -> None:
        """Ask the gateways to have Twilio attach the call again; `on_answer` hears at once whether one does."""
        task = asyncio.create_task(self._ask(redirect, on_answer), name="ask-for-redirect")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _silent_calls(self) -> list[HeldCall]:
        silent_since = asyncio.get_running_loop().time() - SILENCE_S
        return [
            call
            for call in self._calls()
            if call.line.heard_at < silent_since and call.is_talking and call.line.gateway
        ]

    def _suspects(self) -> set[str]:
        return {call.line.gateway for call in self._silent_calls()}

    def _note_state_of_bus(self) -> None:
        if self._bus.reconnects != self._reconnects or not self._bus.is_connected:
            self._reconnects = self._bus.reconnects
            self._bus_broke_at = time.monotonic()

    async def _watch(self, gateway: str) -> None:
        """Ping a gateway until it answers or is lost; a call that is still silent brings the next watch."""
        pulse = Pulse(self._bus_broke_at)
        try:
            while gateway in self._suspects():
                sent_at = time.monotonic()
                wait_s = PING_TIMEOUT_S
                lost: Loss | None = None
                try:
                    await self._bus.request(subjects.gateway_ping(gateway), b"", PING_TIMEOUT_S)
                except NobodyListensError:
                    lost = pulse.refused(time.monotonic())
                    wait_s = REFUSED_AGAIN_S
                except NoAnswerError:
                    self._note_silence(gateway)
                    if await self._bus.works(PING_TIMEOUT_S):
                        lost = pulse.missed(time.monotonic())
                    else:
                        pulse.bus_broke(time.monotonic())
                else:
                    return
                reconnects = self._reconnects
                self._note_state_of_bus()
                if self._reconnects != reconnects:
                    pulse.bus_broke(time.monotonic())
                elif lost:
                    self._give_up(gateway, lost)
                    return
                await asyncio.sleep(max(sent_at + wait_s - time.monotonic(), 0))
        finally:
            del self._watches[gateway]

    def _note_silence(self, gateway: str) -> None:
        for call in self._silent_calls():
            if call.line.gateway == gateway:
                call.note_silence()

    def _give_up(self, gateway: str, how: Loss) -> None:
        lost = [call for call in self._calls() if call.line.gateway == gateway and call.is_talking]
        metrics.GATEWAYS_LOST.labels(how).inc()
        _log.warning("gateway-lost", gateway=gateway, how=how, calls=len(lost))
        for call in lost:
            call.lose_stream()

    async def _ask(self, redirect: Redirect, on_answer: Callable[[RedirectAnswered], None]) -> None:
        answer = await self._find_taker(control.encode(redirect))
        metrics.REDIRECTS.labels(answer).inc()
        _log.info("redirect-asked-for", call_id=redirect.call_id, attach=redirect.attach, answer=answer)
        on_answer(RedirectAnswered(answer))

    async def _find_taker(self, request: bytes) -> RedirectAnswer:
        for _ in range(TAKE_TRIES_MAX):
            try:
                answer = await self._bus.request(subjects.REDIRECT, request, TAKE_TIMEOUT_S)
                return "taken" if control.decode(answer, RedirectReply).ok else "nobody"
            except NobodyListensError:
                return "nobody"
            except (NoAnswerError, ControlError):
                continue
        return "silent"
