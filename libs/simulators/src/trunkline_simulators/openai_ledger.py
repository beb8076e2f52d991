"""What the simulated model knows of the caller's words, in all sessions that left a trace in a folder.

A call whose socket was lost has several sessions, each with a conversation of its own: joined here,
they show which words got lost between them and which one of them holds twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Known:
    """One item of the caller in one session's conversation.

    `source` is "heard" for audio that was committed, "told" for text that the client brought along.
    `utterance` is None when it was not recognised. The milliseconds are of that session's input;
    None for what did not come as input audio.
    """

    session_id: str
    item_id: str
    source: Literal["heard", "told"]
    utterance: str | None
    at_ns: int
    from_ms: float | None
    to_ms: float | None


class _Line(msgspec.Struct, frozen=True):
    at_ns: int
    event: str
    session_id: str = ""
    item_id: str | None = None
    utterance: str | None = None
    finished: bool = True
    from_ms: float | None = None
    to_ms: float | None = None


def read(folder: Path) -> list[Known]:
    """Return everything the sessions recorded in `folder` know of the caller, in the order of time."""
    known = []
    for path in folder.glob("sess_*.jsonl"):
        for text in path.read_bytes().splitlines():
            line = _DECODER.decode(text)
            if line.event in ("heard", "told") and line.finished and line.item_id is not None:
                source: Literal["heard", "told"] = "heard" if line.event == "heard" else "told"
                known.append(
                    Known(
                        line.session_id,
                        line.item_id,
                        source,
                        line.utterance,
                        line.at_ns,
                        line.from_ms,
                        line.to_ms,
                    )
                )
    return sorted(known, key=lambda each: each.at_ns)


_DECODER = msgspec.json.Decoder(_Line)
