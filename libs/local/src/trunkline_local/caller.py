"""Runs the simulated caller as a process of its own and hands on what it tells, event by event."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from trunkline_local.lifeline import lifeline
from trunkline_local.processes import trunkline
from trunkline_local.system import Line

CALL_LIMIT_S: Final = 120.0
"""The longest conversation on record takes half a minute."""

Event = dict[str, Any]


class CallerError(RuntimeError):
    """The caller could not place its call, or the call did not go as its script says."""


async def place_call(
    line: Line, conversation: str, record_folder: Path, on_event: Callable[[Event], None]
) -> None:
    """Place one call and follow it to its end; `CallerError` when it ended otherwise than by its script."""
    command = trunkline(
        "sim-twilio",
        "--webhook", line.webhook,
        "--connect-to", f"127.0.0.1:{line.gateway_port}",
        "--account-sid", line.account_sid,
        "--conversation", conversation,
        "--record", str(record_folder),
        "--events",
    )  # fmt: skip
    async with _running(command, {"TWILIO_AUTH_TOKEN": line.auth_token}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        complaints = asyncio.create_task(process.stderr.read())
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                async for printed in process.stdout:
                    on_event(json.loads(printed))
                code = await process.wait()
        except TimeoutError:
            raise CallerError(f"the call was not over after {CALL_LIMIT_S} s") from None
        if code != 0:
            raise CallerError(f"the simulated caller ended with code {code}\n{(await complaints).decode()}")


@asynccontextmanager
async def _running(
    command: list[str], environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
        process_group=0,
    )
    lifeline.add_process(process.pid, signal.SIGTERM)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        lifeline.drop_process(process.pid)
