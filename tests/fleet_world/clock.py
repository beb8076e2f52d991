"""Virtual time: one agenda for the whole world, and an event loop on it for each process.

A loop runs until nothing is ready, then the agenda goes on to what is due next. A process that is stopped has a loop
that does not run: what becomes ready waits for it, as after SIGSTOP.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

BURIALS_MAX = 50
"""Turns of a dead loop until its tasks must have ended."""


class Agenda:
    """What will happen, in order."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.running: ProcessLoop | None = None
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._runnable: dict[ProcessLoop, None] = {}

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Let something happen later."""
        self.at(self.now + max(delay_s, 0.0), action)

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Let something happen then."""
        heapq.heappush(self._due, (when, next(self._order), action))

    def wants_to_run(self, loop: "ProcessLoop") -> None:
        """Something of this loop is ready."""
        self._runnable[loop] = None

    def run_until(self, until: float, is_over: Callable[[], bool]) -> None:
        """Let everything happen that is due by then, unless it is over before."""
        self._let_loops_run()
        while self._due and self._due[0][0] <= until and not is_over():
            when, _, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()
            self._let_loops_run()

    def _let_loops_run(self) -> None:
        while self._runnable:
            loop = next(iter(self._runnable))
            del self._runnable[loop]
            loop.run()


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one modelled process: callbacks, timers and tasks, no sockets."""

    def __init__(self, agenda: Agenda, name: str, on_fault: Callable[[str], None]) -> None:
        self.name = name
        self.is_stopped = False
        self.is_dead = False
        self._agenda = agenda
        self._on_fault = on_fault
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        """asyncio itself holds them weakly only."""

    def time(self) -> float:
        return self._agenda.now

    def run(self) -> None:
        """Run what is ready, and what that makes ready."""
        if self.is_stopped or self.is_dead:
            return
        self._run_ready()

    def go_on(self) -> None:
        """The process runs again: everything that waited happens now."""
        self.is_stopped = False
        self._agenda.wants_to_run(self)

    def die(self) -> None:
        """Nothing of this process happens any more; its tasks end unheard."""
        self.is_dead, self.is_stopped = True, False
        for _ in range(BURIALS_MAX):
            if not self._tasks:
                return
            for task in tuple(self._tasks):
                task.cancel()
            self._run_ready()
        raise AssertionError(f"tasks that cannot be cancelled: {self._tasks}")

    def _run_ready(self) -> None:
        before, self._agenda.running = self._agenda.running, self
        asyncio._set_running_loop(self)
        try:
            while self._ready and not self.is_stopped:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            self._agenda.running = before
            asyncio._set_running_loop(before)

    # --- What asyncio asks of a loop

    def call_soon(  # type: ignore[override]  # typeshed's signature has type variables
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._agenda.wants_to_run(self)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.is_dead:
            self._agenda.at(when, lambda: self._fire(handle))
        return handle

    def _fire(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled() and not self.is_dead:
            self._ready.append(handle)
            self._agenda.wants_to_run(self)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it in the agenda, where it does nothing."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.is_dead

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self._on_fault(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")
