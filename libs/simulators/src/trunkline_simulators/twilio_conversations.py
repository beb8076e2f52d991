"""What a simulated caller means to say and when: conversations by name, or from a file of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from trunkline_simulators import g711, recordings

RATE_HZ = 8_000  # of a telephone line


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing the caller does, once the agent has answered the step before and fallen quiet.

    Exactly one of `say` (an utterance's id), `press` (a key) and `hang_up` is given. `after_heard_ms`
    does not wait for quiet: the caller interrupts when that much of the answer was heard.
    """

    say: str | None = None
    press: str | None = None
    hang_up: bool = False
    after_quiet_ms: int = 700  # the longest pause inside an agent's recording is 260 ms
    after_heard_ms: int | None = None

    def __post_init__(self) -> None:
        if (self.say is not None) + (self.press is not None) + self.hang_up != 1:
            raise ValueError("a step is one of say, press and hang_up")
        if self.say is not None and self.say not in {each.id for each in recordings.utterances("caller")}:
            raise ValueError(f"no caller's recording is called {self.say!r}")
        if self.press is not None and (len(self.press) != 1 or self.press not in "0123456789*#"):
            raise ValueError(f"{self.press!r} is not a key of a telephone")


class Conversation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller's side of a call; after the last step the caller just listens."""

    name: str
    steps: tuple[Step, ...]
    about: str = ""
    patience_ms: int = 15_000  # of silence, then the caller gives up


@dataclass(frozen=True, slots=True)
class Line:
    """What the caller says: its words, and its sound as μ-law."""

    text: str
    ulaw: bytes


def names() -> list[str]:
    """Return the conversations that come with the simulator."""
    return list(_included())


def conversation(name_or_path: str) -> Conversation:
    """Return an included conversation, or read one from a JSON file; raises `ValueError` when it is neither."""
    if name_or_path in _included():
        return _included()[name_or_path]
    try:
        return msgspec.json.decode(Path(name_or_path).read_bytes(), type=Conversation)
    except OSError as error:
        known = ", ".join(names())
        raise ValueError(f"no conversation {name_or_path!r} (there are {known}) and no such file") from error
    except msgspec.DecodeError as error:
        raise ValueError(f"{name_or_path}: {error}") from error


def lines(planned: Conversation) -> dict[str, Line]:
    """Return every line of the conversation by its utterance's id; reads files."""
    ids = {step.say for step in planned.steps if step.say is not None}
    return {
        each: Line(recordings.utterance(each).text, g711.encode(recordings.samples(each, RATE_HZ)))
        for each in ids
    }


@cache
def _included() -> dict[str, Conversation]:
    file = resources.files("trunkline_simulators") / "speech" / "conversations.json"
    included = msgspec.json.decode(file.read_bytes(), type=tuple[Conversation, ...])
    return {each.name: each for each in included}
