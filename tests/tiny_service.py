"""A service in a few lines, for the tests of how services run: `python tiny_service.py BODY`.

The port comes from PORT, 0 for a free one; the deadlines are short.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import click

from trunkline_common import cli, log, service, settings
from trunkline_common.service import Life, Receive, Scope, Send, ServiceError
from trunkline_common.settings import CommonSettings

service.CANCEL_S = 0.2  # type: ignore[assignment,misc]  # Final everywhere but here
service.HTTP_STOP_S = 0.2  # type: ignore[assignment,misc]

BODIES: dict[str, Callable[[Life], Awaitable[None]]] = {}


def body(function: Callable[[Life], Awaitable[None]]) -> Callable[[Life], Awaitable[None]]:
    BODIES[function.__name__] = function
    return function


@body
async def waits_for_a_part(life: Life) -> None:
    """SIGUSR1 finds the part, SIGUSR2 loses it."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, life.resolved, "postgres")
    loop.add_signal_handler(signal.SIGUSR2, life.waiting, "postgres", "it went away")
    life.waiting("postgres", "cannot reach db:5432")
    life.started()
    await life.stop_requested.wait()


@body
async def drains(life: Life) -> None:
    """SIGUSR1 ends the drain."""
    drained = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, drained.set)
    life.started()
    await life.stop_requested.wait()
    await drained.wait()


@body
async def connects_to_nats(life: Life) -> None:
    from trunkline_common.bus import Bus  # costs a quarter of the start, and only this body needs it

    bus = await Bus.connect(settings.load(CommonSettings), life)
    life.started()
    await life.stop_requested.wait()
    await bus.close()


@body
async def ignores_everything(life: Life) -> None:
    life.started()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            log.get(__name__).info("cancellation-ignored")


@body
async def has_a_task_that_dies(life: Life) -> None:
    async def dies() -> None:
        raise ValueError("a bug")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(dies())
        await life.stop_requested.wait()


@body
async def has_a_task_that_gives_up(life: Life) -> None:
    async def gives_up() -> None:
        raise ServiceError("the disk is full: make room")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gives_up())
        await life.stop_requested.wait()


@body
async def is_failed_by_a_callback(life: Life) -> None:
    asyncio.get_running_loop().call_soon(life.fail, ServiceError("NATS closed the connection for good"))
    await life.stop_requested.wait()


@body
async def returns_too_early(life: Life) -> None:
    life.started()


@body
async def is_cancelled_by_its_own_mistake(_life: Life) -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/polite` takes leave when the server stops, every other websocket does not notice."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/polite":
        await receive()
    else:
        await asyncio.Event().wait()


@click.command()
@click.argument("name", type=click.Choice(list(BODIES)))
def command(name: str) -> None:
    service.run(
        "tiny",
        BODIES[name],
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        drain_deadline_s=0.3,
        app=app if "WITH_APP" in os.environ else None,
    )


if __name__ == "__main__":
    # Instead of the commands of the installed packages.
    cli.trunkline = command  # type: ignore[assignment]
    cli.main()
