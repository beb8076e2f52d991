"""Simulated calls at a whole system, several at once, and both simulators' traces of each: what the measurements read.

The system is the one of `trunkline up`, with real processes and servers, and each caller is a process too: one that
writes its recording must not stop the clock of another's telephone. Traces are read when everything has stopped, so
that no line of them is missing.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import click
import msgspec

from trunkline_local import stored, system
from trunkline_local.processes import Process, trunkline
from trunkline_local.stored import NotStoredError, StoredCall
from trunkline_simulators import openai_ledger
from trunkline_simulators.openai_ledger import Known
from trunkline_simulators.twilio_conversations import Conversation

CALL_LIMIT_S: Final = 240
"""No conversation of the measurements takes half of this."""

_PER_FRAME: Final = (b'"append-received"', b'"delta-sent"')
"""Most lines of a session's trace are these, and no measurement needs them."""

Trace = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """One session of the model, as its own side recorded it."""

    id: str
    trace: Trace
    knows: Sequence[Known]
    cause: str = ""
    """`start`, `restored` or `rotated`, if it was ever configured."""

    def first(self, event: str, **fields: object) -> int | None:
        """Return when such a line was first written, in ns of the machine's monotonic clock."""
        return next((line["at_ns"] for line in self.trace if matches(line, event, fields)), None)

    @property
    def configured_ns(self) -> int | None:
        """When it was configured; None if it never was."""
        return self.first("server-event", type="session.updated")


class CallResult(msgspec.Struct, frozen=True):
    """What the telephone saw of a call (`trunkline sim-twilio --events`, its last line)."""

    call_sid: str
    clean: bool
    script_finished: bool
    end_reason: str
    underruns: int
    clock_late_ms: float


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call that is over; `rows` is None when its events did not all reach Postgres."""

    number: int
    result: CallResult
    rows: StoredCall | None

    @property
    def sessions(self) -> int:
        """How many sessions of the model were configured for it."""
        return 0 if self.rows is None else len(self.rows.sessions)


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A call with the traces of both sides."""

    placed: PlacedCall
    twilio: Trace
    sessions: Sequence[Session]

    @property
    def result(self) -> CallResult:
        """What the telephone saw."""
        return self.placed.result


@dataclass(frozen=True, slots=True)
class Measured:
    """All calls in the order of their numbers, and the sessions that were lost before they were configured."""

    calls: Sequence[MeasuredCall]
    strays: Sequence[Session]


def matches(line: Mapping[str, Any], event: str, fields: Mapping[str, object]) -> bool:
    """Return whether a line of a trace is this event with these fields."""
    return line["event"] == event and all(line.get(name) == value for name, value in fields.items())


async def measure(
    conversations: Iterable[Conversation],
    *,
    parallel: int,
    simulator_options: Sequence[str] = (),
    worker_settings: Mapping[str, str] | None = None,
    enough: Callable[[PlacedCall], bool] = lambda call: False,
    record: Path | None = None,
) -> Measured:
    """Start a system, place a call for each conversation, `parallel` at a time, until `enough` says so, and stop it.

    Recordings and traces are gone afterwards, unless `record` names a folder for them.
    """
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as created:
        folder = Path(created)
        started = system.run(
            folder,
            system.new_line(),
            system.SIMULATED,
            lambda part, what: None,
            settings={"worker": worker_settings or {}},
            simulator_options=simulator_options,
        )
        async with started as ready:
            placed = await _place(ready, conversations, parallel, enough)
        if record is not None:
            await asyncio.to_thread(shutil.copytree, folder / "recordings", record, dirs_exist_ok=True)
        return await asyncio.to_thread(_read, folder / "recordings", placed)


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


async def _place(
    ready: system.System,
    conversations: Iterable[Conversation],
    parallel: int,
    enough: Callable[[PlacedCall], bool],
) -> list[PlacedCall]:
    numbered = enumerate(conversations)
    placed: list[PlacedCall] = []
    stop = asyncio.Event()

    async def one_after_another() -> None:
        for number, conversation in numbered:
            if stop.is_set():
                return
            call = await _place_one(ready, number, conversation)
            placed.append(call)
            if enough(call):
                stop.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(parallel):
            tasks.create_task(one_after_another())
    return sorted(placed, key=lambda call: call.number)


async def _place_one(ready: system.System, number: int, conversation: Conversation) -> PlacedCall:
    line, folder = ready.line, ready.folder / "callers"
    script = folder / f"{number}.json"
    folder.mkdir(exist_ok=True)
    script.write_bytes(msgspec.json.encode(conversation))
    command = trunkline(
        "sim-twilio",
        "--webhook", line.webhook,
        "--connect-to", f"127.0.0.1:{line.gateway_port}",
        "--account-sid", line.account_sid,
        "--conversation", str(script),
        "--record", str(ready.folder / "recordings"),
        "--time-limit", str(CALL_LIMIT_S),
        "--events",
    )  # fmt: skip
    secret = {"TWILIO_AUTH_TOKEN": line.auth_token}
    async with Process.start(f"caller-{number}", command, folder, secret) as caller:
        await caller.exited()
        printed = caller.log_path.read_bytes().splitlines()
    result = msgspec.json.decode(printed[-1], type=CallResult)
    try:
        rows: StoredCall | None = await stored.read_call(ready.database_url, result.call_sid)
    except NotStoredError:
        rows = None
    return PlacedCall(number, result, rows)


def _read(folder: Path, placed: Sequence[PlacedCall]) -> Measured:
    known: dict[str, list[Known]] = {}
    for each in openai_ledger.read(folder):
        known.setdefault(each.session_id, []).append(each)

    def session(session_id: str, cause: str = "") -> Session:
        trace = _read_trace(folder / f"{session_id}.jsonl")
        return Session(session_id, trace, known.get(session_id, ()), cause)

    calls = []
    of_calls: set[str] = set()
    for call in placed:
        connected = call.rows.sessions if call.rows is not None else ()
        sessions = [session(each["session_id"], each.get("cause", "start")) for each in connected]
        of_calls |= {each.id for each in sessions}
        calls.append(MeasuredCall(call, _read_trace(folder / f"{call.result.call_sid}.jsonl"), sessions))
    others = (path.stem for path in folder.glob("sess_*.jsonl") if path.stem not in of_calls)
    return Measured(calls, [session(session_id) for session_id in others])


def _read_trace(path: Path) -> Trace:
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines()
    return [json.loads(line) for line in lines if not any(event in line for event in _PER_FRAME)]
