"""What happened during a run, line by line, in a file that the checker reads when everything has stopped.

Each line is a JSON object with `at_ns`, the machine's monotonic clock, which the simulators' traces use too.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "history.jsonl"

Line = Mapping[str, Any]


class History:
    """Appends; a line is on its way to the disk when `add` returns, so that a crash of ours loses none."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / FILE_NAME).open("a", encoding="utf-8", buffering=1)

    def add(self, event: str, **fields: Any) -> int:
        """Write one line and return its time."""
        at_ns = time.monotonic_ns()
        self._file.write(json.dumps({"at_ns": at_ns, "event": event, **fields}) + "\n")
        return at_ns

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(folder: Path) -> list[Line]:
    """Return every line of a run."""
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]
