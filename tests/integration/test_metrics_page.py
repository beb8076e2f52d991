"""docs/metrics.md: made from the code, and up to date."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_metrics_is_up_to_date() -> None:
    # In a process of its own: in this one, other tests may have counted something.
    made = subprocess.run(
        [sys.executable, "-m", "trunkline_local.metrics_page"], check=True, capture_output=True, text=True
    )

    assert (ROOT / "docs" / "metrics.md").read_text() == made.stdout, "run: make metrics"
