"""What a caller loses when the model's socket is lost: words, answers twice, silence, whole calls.

    python -m bench.model_drops --drops 200 --parallel 4 --seed 1

Callers read out sixteen digits in four lines. Every session is lost once, after a random time and in a random way
drawn from the seed: closed with 1000, 1001, 1006, 1011, 1012 or 1013, stalled, or expired; a connect takes 0.3 s.
What the model knows at the end is compared with what was said: each line once, in the last session's conversation.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from bench.placed_calls import Measured, MeasuredCall, PlacedCall, Session, Trace, measure, spread, table
from trunkline_simulators import recordings, twilio_conversations

CALLS_PER_DROP_MAX: Final = 2
"""A call of half a minute meets two or three; with more calls than this the faults do not strike."""

LAST_WORD_MS: Final = 200
"""Less than this is missing of an answer that was heard whole."""


@dataclass(slots=True)
class Drop:
    """One lost session of a call."""

    how: str
    moment: str
    after_ms: float
    """Since the session was opened."""
    restored_ms: float | None = None
    """From the loss to the next session's `session.updated`."""
    audio_ms: float | None = None
    """From the loss to the next agent audio, where an answer was owed."""
    reply_ms: float | None = None
    """From the caller's last word to the answer, where the caller was speaking."""
    silence_ms: float | None = None
    """Inside the answer that was cut, where the agent was speaking and had to begin anew."""


@dataclass(slots=True)
class Outcome:
    """What the drops did to one call."""

    call_sid: str
    number: int
    end: str
    drops: list[Drop] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    known: list[str | None] = field(default_factory=list)
    """By the last session, in order; None for what was not understood."""
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    garbled: int = 0
    repeated: list[str] = field(default_factory=list)
    ended_by_itself: bool = False

    @property
    def stalled(self) -> bool:
        """A session stayed open and said nothing more."""
        return any(drop.how == "stalled" for drop in self.drops)

    @property
    def failed(self) -> bool:
        """The caller would have noticed more than a pause."""
        return bool(self.lost or self.twice or self.repeated or self.ended_by_itself)


@click.command()
@click.option("--drops", default=200, show_default=True, help="At least so many lost sessions.")
@click.option("--parallel", default=4, show_default=True, help="Calls at the same time.")
@click.option("--mean-s", default=9.0, show_default=True, help="Mean life of a session.")
@click.option("--connect-delay-s", default=0.3, show_default=True, help="What connecting takes.")
@click.option(
    "--refuse", metavar="SECONDS[:STATUS]", help="Refuse connects after each close, for example 1.5:503."
)
@click.option("--seed", default=1, show_default=True, help="Draws moments and ways of the losses.")
@click.option("--audio-path", type=click.Choice(["pcm24k", "pcmu"]), default="pcm24k", show_default=True)
@click.option(
    "--record", type=click.Path(path_type=Path, file_okay=False), help="Keep sound and traces there."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write every call there.")
def command(
    drops: int,
    parallel: int,
    mean_s: float,
    connect_delay_s: float,
    refuse: str | None,
    seed: int,
    audio_path: str,
    record: Path | None,
    json_file: Path | None,
) -> None:
    """Measure restores over many lost sessions."""
    simulator = ["--losses", str(mean_s), "--connect-delay", str(connect_delay_s), "--seed", str(seed)]
    if refuse is not None:
        simulator += ["--fault", f"refuse={refuse}"]
    worker = {"AUDIO_PATH": audio_path}
    measured = asyncio.run(_measure(drops, parallel, simulator, worker, record))
    outcomes = [_judge(call) for call in measured.calls]
    unattributed = _lost_in_setup(measured.strays)
    click.echo(f"sim-openai {' '.join(simulator)}; {len(outcomes)} calls, {parallel} at a time, {audio_path}")
    _report(outcomes, unattributed)
    if json_file is not None:
        told = {
            "simulator": simulator,
            "unattributed": unattributed,
            "calls": [asdict(each) for each in outcomes],
        }
        json_file.write_text(json.dumps(told, indent=1))


async def _measure(
    drops: int, parallel: int, simulator: list[str], worker: dict[str, str], record: Path | None
) -> Measured:
    conversation = twilio_conversations.conversation("digits")
    lost = 0

    def enough(call: PlacedCall) -> bool:
        nonlocal lost
        lost += call.sessions - call.result.script_finished
        return lost >= drops

    return await measure(
        itertools.repeat(conversation, drops * CALLS_PER_DROP_MAX),
        parallel=parallel,
        simulator_options=simulator,
        worker_settings=worker,
        enough=enough,
        record=record,
    )


def _judge(call: MeasuredCall) -> Outcome:
    outcome = Outcome(call.result.call_sid, call.placed.number, call.result.end_reason)
    outcome.drops = list(_drops(call))
    outcome.said = [line["utterance"] for line in call.twilio if line["event"] == "caller-silent"]
    outcome.ended_by_itself = not call.result.script_finished
    outcome.garbled = sum(item.utterance is None for session in call.sessions for item in session.knows)
    if call.sessions:
        # A session that was lost as soon as it was opened never got to know what the one before it knew.
        last = next((each for each in reversed(call.sessions) if each.knows), call.sessions[-1])
        outcome.known = [item.utterance for item in last.knows]
    counted = Counter(outcome.known)
    outcome.lost = [utterance for utterance in outcome.said if not counted[utterance]]
    outcome.twice = _twice(call)
    outcome.repeated = _repeated(call)
    return outcome


def _twice(call: MeasuredCall) -> list[str]:
    """Return what any one session's conversation holds more than once."""
    twice = []
    for session in call.sessions:
        counted = Counter(item.utterance for item in session.knows)
        twice += [utterance for utterance, times in counted.items() if utterance is not None and times > 1]
    return twice


def _repeated(call: MeasuredCall) -> list[str]:
    """Return what the agent said to the end and later said again."""
    if call.placed.rows is None:
        return []
    heard_whole: set[str] = set()
    repeated = []
    for turn in call.placed.rows.turns:
        if turn.speaker == "agent" and turn.said:
            if turn.said in heard_whole:
                repeated.append(str(turn.said)[:40])
            if _was_heard_whole(turn.said, turn.heard_ms):
                heard_whole.add(turn.said)
    return repeated


def _was_heard_whole(said: str, heard_ms: int | None) -> bool:
    spoken = next((each for each in recordings.utterances("agent") if each.text == said), None)
    if spoken is None or heard_ms is None:
        return False
    return heard_ms >= len(recordings.samples(spoken.id, 8_000)) / 8 - LAST_WORD_MS


def _drops(call: MeasuredCall) -> Iterator[Drop]:
    for number, session in enumerate(call.sessions):
        loss = _loss(session)
        hung_up_ns = next((line["at_ns"] for line in call.twilio if line["event"] == "ended"), None)
        if loss is None or (hung_up_ns is not None and loss[0] > hung_up_ns):
            continue
        lost_ns, how = loss
        drop = Drop(how, _moment(call.twilio, lost_ns), (lost_ns - session.trace[0]["at_ns"]) / 1e6)
        if number + 1 < len(call.sessions):
            updated_ns = call.sessions[number + 1].configured_ns
            drop.restored_ms = None if updated_ns is None else (updated_ns - lost_ns) / 1e6
        _hear(drop, lost_ns, [line for line in call.twilio if line["at_ns"] > lost_ns])
        yield drop


def _hear(drop: Drop, lost_ns: int, later: Trace) -> None:
    """Fill in what the caller heard after the loss."""
    audible = next((line for line in later if line["event"] == "agent-audible"), None)
    if audible is None:
        return
    before = [line for line in later if line["at_ns"] < audible["at_ns"]]
    match drop.moment:
        case "answer owed":
            drop.audio_ms = (audible["at_ns"] - lost_ns) / 1e6
        case "caller speaking":
            drop.reply_ms = audible["reply_ms"]
        case "agent speaking" if not any(line["event"] == "caller-speaking" for line in before):
            quiet_ms = [line["t_ms"] for line in before if line["event"] == "agent-quiet"]
            drop.silence_ms = float(audible["t_ms"] - quiet_ms[-1]) if quiet_ms else None
        case _:
            pass


def _loss(session: Session) -> tuple[int, str] | None:
    """Return when and how the model's side lost this session; None when our side closed it."""
    for line in session.trace:
        if line["event"] == "closed":
            expired = any(
                each["event"] == "rejected" and each["code"] == "session_expired" for each in session.trace
            )
            return line["at_ns"], "expired" if expired else str(line["code"])
        if line["event"] == "stalled":
            return line["at_ns"], "stalled"
    return None


def _moment(twilio: Trace, at_ns: int) -> str:
    """Return what was going on in the caller's ear and mouth."""
    began = {"caller-speaking": "caller speaking", "agent-audible": "agent speaking"}
    ended = {"caller-silent": "answer owed", "agent-quiet": "idle"}
    moment = "before the greeting"
    for line in twilio:
        if line["at_ns"] > at_ns:
            break
        moment = (began | ended).get(line["event"], moment)
    return moment


def _lost_in_setup(strays: Sequence[Session]) -> dict[str, int]:
    """Return how many sessions were lost before they were configured: no call's log knows their names."""
    losses = (_loss(session) for session in strays if session.configured_ns is None)
    return dict(Counter(loss[1] for loss in losses if loss is not None))


def _report(outcomes: list[Outcome], unattributed: dict[str, int]) -> None:
    drops = [drop for outcome in outcomes for drop in outcome.drops]
    quick = [drop for drop in drops if drop.how != "stalled"]

    def restored(which: list[Drop]) -> str:
        return spread([drop.restored_ms for drop in which if drop.restored_ms is not None])

    table(
        [
            ("sessions lost in calls", f"{len(drops)}, and {sum(unattributed.values())} while being set up"),
            ("how", dict(Counter(drop.how for drop in drops))),
            ("when", dict(Counter(drop.moment for drop in drops))),
            ("loss → session.updated", restored(quick)),
            ("stall → session.updated", restored([drop for drop in drops if drop.how == "stalled"])),
            (
                "loss → agent audio, owed",
                spread([drop.audio_ms for drop in quick if drop.audio_ms is not None]),
            ),
            (
                "question under way: its answer",
                spread([each.reply_ms for each in quick if each.reply_ms is not None]),
            ),
            (
                "answer cut: silence inside",
                spread([each.silence_ms for each in quick if each.silence_ms is not None]),
            ),
            ("lines said", sum(len(outcome.said) for outcome in outcomes)),
            ("lines lost", sum(len(outcome.lost) for outcome in outcomes)),
            ("lines known twice", sum(len(outcome.twice) for outcome in outcomes)),
            ("not understood", sum(outcome.garbled for outcome in outcomes)),
            ("agent turns repeated", sum(len(outcome.repeated) for outcome in outcomes)),
            ("calls ended by themselves", sum(outcome.ended_by_itself for outcome in outcomes)),
            (
                "calls hurt, without a stall in them",
                sum(each.failed for each in outcomes if not each.stalled),
            ),
        ]
    )
    for outcome in outcomes:
        if outcome.failed:
            click.echo(f"  call {outcome.number} {outcome.call_sid} {_told(outcome)}")


def _told(outcome: Outcome) -> str:
    figures: dict[str, Any] = {
        "end": outcome.end,
        "lost": outcome.lost,
        "twice": outcome.twice,
        "repeated": outcome.repeated,
        "drops": [f"{drop.how} after {drop.after_ms:.0f} ms, {drop.moment}" for drop in outcome.drops],
    }
    return "; ".join(f"{name} {value}" for name, value in figures.items() if value)


if __name__ == "__main__":
    command()
