"""Simulated calls at a whole system, several at once, and both simulators' traces of each: what the measurements read.

The system is the one of `trunkline up`, with real processes and servers; the callers run in this process.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import click

from trunkline_local import stored, system
from trunkline_local.stored import NotStoredError, StoredCall
from trunkline_simulators import openai_ledger
from trunkline_simulators.openai_ledger import Known
from trunkline_simulators.twilio_call import CallSettings, place_call
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

CALL_LIMIT_S: Final = 240.0
"""No conversation of the measurements takes half of this."""

Trace = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """One session of the model that got as far as `session.updated`."""

    id: str
    cause: str
    trace: Trace

    def first(self, event: str, **fields: object) -> int | None:
        """Return when a line with these fields was first written, on the machine's monotonic clock in ns."""
        return next((line["at_ns"] for line in self.trace if matches(line, event, fields)), None)


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A call that is over; `rows` is None when its events did not all reach Postgres."""

    number: int
    result: CallResult
    twilio: Trace
    sessions: Sequence[Session]
    rows: StoredCall | None


def matches(line: Mapping[str, Any], event: str, fields: Mapping[str, object]) -> bool:
    """Return whether a line of a trace is this event with these fields."""
    return line["event"] == event and all(line.get(name) == value for name, value in fields.items())


@asynccontextmanager
async def running(
    *, simulator_options: Sequence[str] = (), settings: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[system.System]:
    """Start everything in a temporary folder and say so; its processes end with the block."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        started = system.run(
            Path(folder),
            system.new_line(),
            system.SIMULATED,
            lambda part, what: None,
            settings=settings,
            simulator_options=simulator_options,
        )
        async with started as ready:
            yield ready


async def place(
    ready: system.System,
    conversations: Iterable[Conversation],
    *,
    parallel: int,
    enough: Callable[[MeasuredCall], bool] = lambda call: False,
) -> list[MeasuredCall]:
    """Place a call for each conversation, `parallel` at a time, until `enough` says so; return them in order."""
    numbered = enumerate(conversations)
    measured: list[MeasuredCall] = []
    stop = asyncio.Event()

    async def one_after_another() -> None:
        for number, conversation in numbered:
            if stop.is_set():
                return
            call = await _measure(ready, number, conversation)
            measured.append(call)
            if enough(call):
                stop.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(parallel):
            tasks.create_task(one_after_another())
    return sorted(measured, key=lambda call: call.number)


def ledger(ready: system.System) -> dict[str, list[Known]]:
    """Return what each session knows of the caller's words, by session id."""
    known: dict[str, list[Known]] = {}
    for each in openai_ledger.read(ready.folder / "recordings"):
        known.setdefault(each.session_id, []).append(each)
    return known


def table(rows: Sequence[tuple[str, object]]) -> None:
    """Print figures, each after its name."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {name:<{width}}  {value}")


def spread(values: Sequence[float], unit: str = "ms") -> str:
    """Return number, median, 95th percentile and maximum of some values, as words."""
    if not values:
        return "n 0"
    figures = percentiles(values)
    told = "  ".join(f"{name} {figure:.0f}" for name, figure in figures.items())
    return f"n {len(values)}  {told} {unit}"


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum of at least one value."""
    if len(values) == 1:
        return dict.fromkeys(("p50", "p95", "max"), values[0])
    steps = quantiles(values, n=100, method="inclusive")
    return {"p50": steps[49], "p95": steps[94], "max": max(values)}


async def _measure(ready: system.System, number: int, conversation: Conversation) -> MeasuredCall:
    folder = ready.folder / "recordings"
    line = ready.line
    settings = CallSettings(
        webhook=line.webhook,
        auth_token=line.auth_token,
        account_sid=line.account_sid,
        conversation=conversation,
        connect_to=ConnectTo(line.public_url.partition("://")[2], "127.0.0.1", line.gateway_port),
        record=folder,
        time_limit_s=CALL_LIMIT_S,
    )
    result = await place_call(settings)
    assert result.trace is not None, "a recorded call leaves a trace"
    try:
        rows: StoredCall | None = await stored.read_call(ready.database_url, result.call_sid)
    except NotStoredError:
        rows = None
    connected = rows.sessions if rows is not None else ()
    sessions = [
        Session(each["session_id"], each.get("cause", "start"), _read(folder / f"{each['session_id']}.jsonl"))
        for each in connected
    ]
    return MeasuredCall(number, result, _read(result.trace), sessions, rows)


def _read(path: Path) -> Trace:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
