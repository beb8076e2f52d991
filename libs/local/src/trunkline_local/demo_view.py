"""What `trunkline demo` prints: the call as it happens, and afterwards where its time went."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from trunkline_common.call_events import AgentTurn, CallerTurn, CallEvent, ModelConnected
from trunkline_local import stored
from trunkline_local.latency import Spread
from trunkline_local.stored import StoredCall

BUDGETS_MS: Final = {
    "twilio_to_gateway_ms": ("Twilio → gateway", 50),
    "gateway_to_worker_ms": ("gateway → worker (NATS)", 1),
    "worker_to_model_ms": ("worker → model", 30),
    "model_ms": ("model: end of speech → first audio", 80),
    "model_to_worker_ms": ("model → worker", 30),
    "worker_ms": ("worker: delta in → frame out", None),
    "worker_to_gateway_ms": ("worker → gateway (NATS)", 1),
    "gateway_to_twilio_ms": ("gateway → Twilio", 50),
    "response_ms": ("sum", 200),
}
"""The parts of one answer, and what the original design of this system allowed each of them."""

OWN_BUDGET_MS: Final = 10


class CallView:
    """Prints one call live: who speaks, what is heard, interruptions."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_ns: int | None = None
        self.call_id = ""

    def on_caller_event(self, event: dict[str, Any]) -> None:
        """Show an event of the simulated telephone."""
        self.call_id = event.get("call_sid", self.call_id)
        at_ns = event.get("at_ns", 0)
        self._began_ns = at_ns if self._began_ns is None else self._began_ns
        match event["event"]:
            case "http":
                self._line(at_ns, "phone", f"Twilio posts {event['path']}: {event['status']}", "dim")
            case "twiml" if event["verb"] == "Say":
                self._line(at_ns, "phone", f"Twilio says “{event['text']}”", "yellow")
            case "stream-started":
                self._line(at_ns, "phone", "the media stream is open, the line is live", "dim")
            case "caller-speaking":
                interrupts = " (interrupts)" if event["interrupting"] else ""
                self._line(at_ns, "caller", f"“{event['text']}”{interrupts}", "bold cyan")
            case "agent-audible":
                reply_ms = event.get("reply_ms")
                after = "" if reply_ms is None else f", {reply_ms} ms after the caller's last word"
                self._line(at_ns, "agent", f"starts to speak{after}", "green")
            case "agent-quiet":
                self._line(at_ns, "agent", "is quiet", "dim green")
            case "clear-received":
                dropped_ms = event["dropped_bytes"] // 8
                self._line(at_ns, "phone", f"clear: {dropped_ms} ms of unheard speech dropped", "yellow")
            case "warning":
                self._line(at_ns, "phone", f"Twilio warns {event['code']}: {event['detail']}", "bold red")
            case "ended":
                self._line(at_ns, "phone", f"call over: {event['reason']}", "dim")

    def on_call_event(self, event: CallEvent | None, at_ns: int) -> None:
        """Show an event of the call's log, as the worker wrote it."""
        match event:
            case ModelConnected(model=model, connect_ms=connect_ms):
                self._line(at_ns, "model", f"{model} is configured after {connect_ms:.0f} ms", "dim")
            case CallerTurn(text=text, transcription=transcription):
                said = f"heard the caller say “{text}”" if text else f"transcript {transcription}"
                self._line(at_ns, "model", said, "cyan")
            case AgentTurn(interrupted=True):
                heard = f"caller heard {event.heard_ms / 1000:.1f} of {event.generated_ms / 1000:.1f} s: “"
                line = Text(heard, "green").append(_with_unheard(event.heard_text, event.generated_text))
                self._line(at_ns, "agent", line.append("”", "green"))
            case AgentTurn(heard_text=heard_text):
                self._line(at_ns, "agent", f"caller heard “{heard_text}”", "green")

    def _line(self, at_ns: int, who: str, what: str | Text, style: str = "") -> None:
        seconds = (at_ns - (self._began_ns or at_ns)) / 1e9
        line = Text(f"{max(seconds, 0):6.2f} s  ", "dim")
        line.append(f"{who:<7}", "bold")
        line.append(what if isinstance(what, Text) else Text(what, style))
        self._console.print(line)


def print_latency(
    console: Console,
    latencies: Sequence[Any],
    inbound: Spread,
    outbound: Spread,
    barge_in: Spread,
    machine: Spread,
) -> None:
    """Print where the time of an answer went, beside the budget, and what our own processes added."""
    table = Table(title=f"Where the time of an answer went (median of {len(latencies)} answers)")
    table.add_column("part")
    table.add_column("budget", justify="right")
    table.add_column("measured", justify="right")
    for column, (part, budget_ms) in BUDGETS_MS.items():
        values = [getattr(row, column) for row in latencies if getattr(row, column) is not None]
        measured = _ms(median(values)) if values else "not measured"
        table.add_row(part, "" if budget_ms is None else f"{budget_ms} ms", measured)
    console.print(table)
    console.print(
        "The parts begin where the model's VAD hears the end of speech: after 500 ms of silence, as configured.",
        style="dim",
    )
    if not inbound.values_ms:
        console.print(
            "OpenAI keeps no trace for us, so only what the services measured is shown.", style="dim"
        )
        return
    own = Table(title="What our own processes added, at every frame (gateway + NATS + worker)")
    own.add_column("way")
    own.add_column("budget p99", justify="right")
    for heading in ("p50", "p99", "n"):
        own.add_column(heading, justify="right")
    for way, spread in (("caller → model", inbound), ("model → caller", outbound), ("barge-in", barge_in)):
        p99_ms = spread.p99_ms
        style = "bold red" if p99_ms is not None and p99_ms > OWN_BUDGET_MS else ""
        row = (way, f"{OWN_BUDGET_MS} ms", _ms(spread.p50_ms), Text(_ms(p99_ms), style))
        own.add_row(*row, str(len(spread.values_ms)))
    console.print(own)
    lateness = f"The simulated phone's own clock was late by p99 {_ms(machine.p99_ms)}"
    console.print(
        f"{lateness}: where that is large, the machine is busy, and our figures hold its delays too.",
        style="dim",
    )
    console.print(
        "Measured on this machine's one clock, between the simulators' sockets. The resampler delays the "
        "sound by another 2.25 ms each way.",
        style="dim",
    )


def print_stored(console: Console, call: StoredCall) -> None:
    """Print the call's rows and the SQL that reads them."""
    console.print(Syntax(stored.CALL_SQL, "sql", background_color="default"))
    table = Table(show_header=False)
    for column, value in call.call._mapping.items():
        table.add_row(column, str(value))
    table.add_row("count(*) of its events", str(call.events))
    console.print(table)
    console.print(Syntax(stored.TURNS_SQL, "sql", background_color="default"))
    turns = Table("position", "speaker", "start_ms", "heard", "response_ms")
    for turn in call.turns:
        heard = _with_unheard(turn.heard, turn.said) if turn.interrupted else Text(turn.heard or "–")
        response = "" if turn.response_ms is None else f"{turn.response_ms:.0f}"
        turns.add_row(str(turn.position), turn.speaker, str(turn.start_ms), heard, response)
    console.print(turns)


def _with_unheard(heard: str, said: str) -> Text:
    """Return what was heard and, struck through and in brackets, what was said but not heard."""
    unheard = said[len(heard) :].strip()
    line = Text(heard)
    if unheard:
        line.append(" [not heard: ", "dim").append(unheard, "dim strike").append("]", "dim")
    return line


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"
