"""Watches our own clock: through this process run all connections that may be cut, so when it stalls, every call does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from chaos.history import History

TICK_S: Final = 0.02
"""As often as a caller's frame comes."""

LATE_S: Final = 0.05
"""What is less is within what gaps vary by anyway."""


@contextlib.asynccontextmanager
async def noted(history: History) -> AsyncIterator[None]:
    """Write down each time that the event loop stood still for long, until the end of the block."""
    watching = asyncio.create_task(_watch(history), name="lateness")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(history: History) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + TICK_S
        await asyncio.sleep(TICK_S)
        late_s = loop.time() - due_at
        if late_s >= LATE_S:
            history.add("harness-late", ms=round(late_s * 1000, 1))
