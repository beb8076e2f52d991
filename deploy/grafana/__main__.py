"""Writes the dashboards: `python -m deploy.grafana`, or `make dashboards`."""

import json
from pathlib import Path
from typing import Final

from deploy.grafana.calls import CALLS
from deploy.grafana.model import MODEL
from deploy.grafana.transcripts import TRANSCRIPTS
from deploy.grafana.workers import WORKERS

FOLDER: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final = {"calls": CALLS, "workers": WORKERS, "model": MODEL, "transcripts": TRANSCRIPTS}


def written() -> dict[str, str]:
    """Return the text of each dashboard's file by its name."""
    return {f"{name}.json": json.dumps(board.json(), indent=2) + "\n" for name, board in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text)
