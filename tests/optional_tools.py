"""Programs that some tests need: a reasoned skip without them, a failure in CI."""

import os
import shutil
import sys
from pathlib import Path

import pytest

REQUIRED = os.environ.get("TRUNKLINE_TOOLS") == "required"


def path_of(tool: str, package: str) -> str:
    """Return where the program is; without it the test is skipped, or fails where every tool is required.

    What the lock installs beside this Python counts first: its version is the same everywhere.
    """
    beside = Path(sys.executable).parent
    found = shutil.which(tool, path=os.pathsep.join([str(beside), os.environ.get("PATH", os.defpath)]))
    if found is None:
        missing = f"{tool} is not here: install {package}"
        if REQUIRED:
            pytest.fail(missing)
        pytest.skip(missing)
    return found
