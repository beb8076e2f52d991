"""Programs that some tests need and no package of ours brings: a reasoned skip without them, a failure in CI."""

import os
import shutil

import pytest

REQUIRED = os.environ.get("TRUNKLINE_TOOLS") == "required"


def path_of(tool: str, package: str) -> str:
    """Return where the program is; without it the test is skipped, or fails where every tool is required."""
    found = shutil.which(tool)
    if found is None:
        missing = f"{tool} is not here: install {package}"
        if REQUIRED:
            pytest.fail(missing)
        pytest.skip(missing)
    return found
