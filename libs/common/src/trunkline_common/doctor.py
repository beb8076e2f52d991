"""What an examination of an installation finds, and how it is told; nothing here asks anybody anything.

Each installed package adds its own examination, an entry point of the group `trunkline.examinations`: a coroutine
`examine(sheet, options)` that writes a line for everything it looked at. It must change nothing: whoever runs it may
run it beside live calls.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from trunkline_common import settings
from trunkline_common.settings import CommonSettings, SettingsError

EXIT_OK: Final = 0
EXIT_WARNING: Final = 1
EXIT_WRONG: Final = 2

SKEW_WARNING_S: Final = 5.0
"""Clocks that are kept by NTP differ by milliseconds; a `Date` header is exact to a second."""
SKEW_WRONG_S: Final = 30.0
"""The token of a media stream is good for 60 s, and two clocks may be wrong in opposite directions."""

S = TypeVar("S", bound=CommonSettings)


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `fix` says what to do, for a warning and for what is wrong."""

    part: str
    subject: str
    level: Level
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for: nothing outside the own network; the numbers that must lead here (E.164)."""

    offline: bool = False
    numbers: tuple[str, ...] = ()


class Sheet:
    """Collects what the examination of one part finds; no text may hold a secret or a whole phone number."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.findings: list[Finding] = []

    def ok(self, subject: str, detail: str) -> None:
        """Note that something is as it should be."""
        self._add(subject, Level.OK, detail)

    def warning(self, subject: str, detail: str, fix: str) -> None:
        """Note what works today, and may not tomorrow."""
        self._add(subject, Level.WARNING, detail, fix)

    def wrong(self, subject: str, detail: str, fix: str) -> None:
        """Note what keeps calls from working."""
        self._add(subject, Level.WRONG, detail, fix)

    def not_checked(self, subject: str, why: str) -> None:
        """Note what was not looked at, and why."""
        self._add(subject, Level.NOT_CHECKED, why)

    def settings(self, settings_type: type[S]) -> S | None:
        """Return a service's settings, or note each wrong one in the words that the service has at its start."""
        try:
            chosen = settings.load(settings_type)
        except SettingsError as error:
            self.wrong_settings(error)
            return None
        self.ok("settings", "complete")
        return chosen

    def wrong_settings(self, error: SettingsError) -> None:
        """Note each line of a `SettingsError`."""
        for line in str(error).splitlines():
            variable = line.partition(":")[0]
            self.wrong("settings", line, f"set {variable}, or {variable}_FILE, as the README's table says")

    def clock(self, whose: str, skew_s: float | None) -> None:
        """Note how far our clock is from another one; positive: ours is behind."""
        if skew_s is None:
            self.not_checked("clock", f"{whose} told no time")
        elif abs(skew_s) < SKEW_WARNING_S:
            self.ok("clock", f"within {SKEW_WARNING_S:.0f} s of {whose}")
        else:
            note = self.wrong if abs(skew_s) >= SKEW_WRONG_S else self.warning
            detail = f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} {whose}"
            note("clock", detail, "keep this machine's clock by NTP (chrony, systemd-timesyncd)")

    def _add(self, subject: str, level: Level, detail: str, fix: str = "") -> None:
        self.findings.append(Finding(self.part, subject, level, detail, fix))


Examination = Callable[[Sheet, Options], Awaitable[None]]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 2 when something is wrong, 1 when there are warnings, else 0."""
    levels = {finding.level for finding in findings}
    if Level.WRONG in levels:
        return EXIT_WRONG
    return EXIT_WARNING if Level.WARNING in levels else EXIT_OK


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return the table for people: a line each, and below it what to do."""
    widths = [
        max((len(value) for value in column), default=0)
        for column in zip(*((each.level, each.part, each.subject) for each in findings), strict=True)
    ]
    told = []
    for each in findings:
        cells = (each.level, each.part, each.subject)
        head = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        told.append(f"{head}  {each.detail}")
        if each.fix:
            told.append(f"{' ' * (len(head) - widths[2])}→ {each.fix}")
    counts = [
        f"{sum(each.level is level for each in findings)} {level}"
        for level in Level
        if any(each.level is level for each in findings)
    ]
    return [*told, "", ", ".join(counts) or "nothing to check is installed"]


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report for programs."""
    return {"exit_code": exit_code(findings), "findings": [asdict(each) for each in findings]}
