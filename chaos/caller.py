"""A program: one caller, who calls again and again until SIGTERM, and then ends the call under way.

    python -m chaos.caller CONFIG.json

Prints a line of JSON when a call begins and one when it is over. It is a process of its own, so that whoever
writes a recording does not stop the clock of another's telephone.
"""

import asyncio
import dataclasses
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

CALL_LIMIT_S: Final = 180.0
"""Five times what a call takes in which nothing happens."""

PATIENCE_MS: Final = 25_000
"""Of silence, before the caller gives up: more than any outage that a call must outlive."""

AFTER_QUIET_MS: Final = 2_200
"""Before the caller speaks: longer than the gaps to be measured, or they would be taken for the answer's end."""

LINES: Final = ("caller-digits-1", "caller-digits-2", "caller-digits-3", "caller-digits-4")


class Config(msgspec.Struct, frozen=True):
    """Whom to call, and how."""

    name: str
    webhook: str
    auth_token: str
    account_sid: str
    public_host: str
    port: int
    record: str
    seed: int
    lines: int
    """Spoken in a call, at most four."""
    starts_after_s: float
    """So that callers do not all speak at the same time."""


def conversation(chance: random.Random, lines: int = len(LINES)) -> Conversation:
    """Return a call in which so many different lines of digits are said, in any order."""
    steps = [Step(say=line, after_quiet_ms=AFTER_QUIET_MS) for line in chance.sample(LINES, lines)]
    hang_up = Step(hang_up=True, after_quiet_ms=AFTER_QUIET_MS)
    return Conversation("chaos", (*steps, hang_up), patience_ms=PATIENCE_MS)


async def _call_until_stopped(config: Config) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    chance = random.Random(f"{config.seed}-{config.name}")
    pause_s = config.starts_after_s
    while not stop.is_set():
        try:
            async with asyncio.timeout(pause_s):
                await stop.wait()
        except TimeoutError:
            await _call(config, chance)
        pause_s = chance.uniform(0.2, 1.0)


async def _call(config: Config, chance: random.Random) -> None:
    began = False

    def on_event(event: dict[str, Any]) -> None:
        nonlocal began
        if not began:
            began = True
            _print("call-began", call_sid=event["call_sid"])

    settings = CallSettings(
        webhook=config.webhook,
        auth_token=config.auth_token,
        account_sid=config.account_sid,
        conversation=conversation(chance, config.lines),
        connect_to=ConnectTo(config.public_host, "127.0.0.1", config.port),
        record=Path(config.record),
        time_limit_s=CALL_LIMIT_S,
    )
    _over(await place_call(settings, on_event))


def _over(result: CallResult) -> None:
    _print(
        "call-over",
        call_sid=result.call_sid,
        end_reason=result.end_reason,
        script_finished=result.script_finished,
        said=result.said,
        attaches=result.attaches,
        warnings=[dataclasses.asdict(warned) for warned in result.warnings],
        clock_late_ms=result.clock_late_ms,
    )


def _print(event: str, **fields: Any) -> None:
    print(json.dumps({"at_ns": time.monotonic_ns(), "event": event, **fields}), flush=True)


if __name__ == "__main__":
    asyncio.run(_call_until_stopped(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)))
