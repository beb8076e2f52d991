"""One call on a time axis: who spoke when, what was not heard, and what happened meanwhile. Pure.

Places are percentages of the width, so that the drawing follows the window and its letters do not.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from trunkline_transcripts.console.answers import ToolCall, TransferStep, Turn
from trunkline_transcripts.console.pages.shown import ShownCall

FLUID_MS_MAX: Final = 150_000
"""A longer call is drawn wider than the window, and scrolled."""
PIXELS_PER_S: Final = 8
WIDTH_PX_MAX: Final = 16_000
"""Half an hour; what is longer is drawn denser."""
TICKS_MAX: Final = 12
_TICK_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_BAR_PERCENT_MIN: Final = 0.25


class Bar(NamedTuple):
    """A turn, or a tool at work."""

    left: float
    width: float
    name: str
    """The anchor of its text."""
    label: str
    unheard_left: float = 0
    unheard_width: float = 0
    """What was generated and never played; 0: nothing."""


class Mark(NamedTuple):
    """Something that happened at a moment."""

    at_ms: int | None
    left: float
    kind: str
    """transfer, limit, takeover or model."""
    text: str


class Tick(NamedTuple):
    """A place on the axis."""

    left: float
    at_ms: int


class Timeline(NamedTuple):
    """The drawing."""

    end_ms: int
    width_px: int | None
    """None: as wide as the window."""
    caller: list[Bar]
    agent: list[Bar]
    tools: list[Bar]
    marks: list[Mark]
    ticks: list[Tick]


class Entry(NamedTuple):
    """One entry of the conversation: exactly one of these is there."""

    turn: Turn | None = None
    tool: ToolCall | None = None
    mark: Mark | None = None


def anchor(kind: str, name: str) -> str:
    """Return the id of an element: the model's names may hold anything."""
    return f"{kind}-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


def timeline(call: ShownCall) -> Timeline:
    """Return the drawing of a call."""
    marks = _marks(call)
    end_ms = _end_ms(call, marks)
    scale = 100 / end_ms
    bars = {"caller": [_bar(turn, scale) for turn in call.conversation if turn.speaker == "caller"]}
    bars["agent"] = [_bar(turn, scale) for turn in call.conversation if turn.speaker != "caller"]
    tools = [
        Bar(
            tool.at_ms * scale,
            max((tool.duration_ms or 0) * scale, _BAR_PERCENT_MIN),
            anchor("tool", tool.tool_call_id),
            tool.name or "tool",
        )
        for tool in call.tools
        if tool.at_ms is not None
    ]
    return Timeline(
        end_ms,
        None if end_ms <= FLUID_MS_MAX else min(end_ms * PIXELS_PER_S // 1000, WIDTH_PX_MAX),
        [bar for bar in bars["caller"] if bar is not None],
        [bar for bar in bars["agent"] if bar is not None],
        tools,
        [mark._replace(left=min(max(mark.at_ms or 0, 0) * scale, 100)) for mark in marks],
        _ticks(end_ms),
    )


def conversation(call: ShownCall) -> list[Entry]:
    """Return the turns in their order, with what happened between them.

    Turns keep their order whatever their times are; everything else comes before the first turn that began later.
    """
    others = [
        *((tool.at_ms, Entry(tool=tool)) for tool in call.tools),
        *((mark.at_ms, Entry(mark=mark)) for mark in _marks(call)),
    ]
    waiting = sorted(others, key=lambda other: other[0] or 0)
    entries: list[Entry] = []
    for turn in call.conversation:
        while waiting and turn.start_ms is not None and (waiting[0][0] or 0) < turn.start_ms:
            entries.append(waiting.pop(0)[1])
        entries.append(Entry(turn=turn))
    return entries + [entry for _, entry in waiting]


def unheard_text(turn: Turn) -> str | None:
    """Return what of the agent's text nobody heard; None: all was heard, or it cannot be told from the text."""
    if turn.speaker == "caller" or not turn.text or turn.heard_text is None:
        return None
    heard = turn.heard_text.rstrip()
    if not turn.text.startswith(heard):
        return None
    return turn.text[len(heard) :].strip() or None


def _bar(turn: Turn, scale: float) -> Bar | None:
    if turn.start_ms is None:
        return None
    end_ms = turn.start_ms if turn.end_ms is None else max(turn.end_ms, turn.start_ms)
    unheard_ms = 0
    if turn.generated_ms is not None and turn.heard_ms is not None:
        unheard_ms = max(turn.generated_ms - turn.heard_ms, 0)
    return Bar(
        turn.start_ms * scale,
        max((end_ms - turn.start_ms) * scale, _BAR_PERCENT_MIN),
        anchor("turn", turn.item_id),
        turn.text or "no transcript",
        end_ms * scale,
        min(unheard_ms * scale, 100 - end_ms * scale),
    )


def _marks(call: ShownCall) -> list[Mark]:
    marks = [Mark(step.at_ms, 0, "transfer", _of_transfer(step)) for step in call.transfers]
    marks += [
        Mark(reached.at_ms, 0, "limit", f"Limit reached: {reached.limit_name}") for reached in call.limits
    ]
    marks += [
        Mark(
            _since(call.answered_at, owner.began_at),
            0,
            "takeover",
            f"{owner.worker or 'A worker'} took over: {owner.cause}",
        )
        for owner in call.owners
        if owner.cause
    ]
    for held in call.model_sessions:
        if held.lost_at is not None:
            text = f"Model session {held.session} lost: {held.lost_reason}"
            marks.append(Mark(_since(call.answered_at, held.lost_at), 0, "model", text))
        if held.connected_at is not None and held.cause not in (None, "start"):
            text = f"Model session {held.session} {held.cause}"
            marks.append(Mark(_since(call.answered_at, held.connected_at), 0, "model", text))
    return sorted(marks, key=lambda mark: mark.at_ms or 0)


def _of_transfer(step: TransferStep) -> str:
    return f"Transfer to {step.target}: {step.status}"


def _since(began: datetime | None, at: datetime | None) -> int | None:
    """Return a moment in ms since the call was answered: near enough to media time for a drawing."""
    if began is None or at is None:
        return None
    return max(round((at - began).total_seconds() * 1000), 0)


def _end_ms(call: ShownCall, marks: Sequence[Mark]) -> int:
    ends: Iterable[int | None] = (
        call.duration_ms,
        *(turn.end_ms for turn in call.conversation),
        *(tool.at_ms for tool in call.tools),
        *(mark.at_ms for mark in marks),
    )
    return max([end for end in ends if end is not None], default=0) or 1000


def _ticks(end_ms: int) -> list[Tick]:
    seconds = end_ms / 1000
    # A drawing that is scrolled has room for more of them.
    most = TICKS_MAX if end_ms <= FLUID_MS_MAX else max(TICKS_MAX, end_ms // 15_000)
    step = next((step for step in _TICK_STEPS_S if seconds / step <= most), _TICK_STEPS_S[-1])
    return [
        Tick(at_s * 100_000 / end_ms, at_s * 1000)
        for at_s in range(0, int(seconds) + 1, step)
        # The last label would be cut off.
        if at_s * 1000 <= end_ms * 0.97
    ]
