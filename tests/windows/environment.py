"""The environment in which the file rules of Windows hold for a process and all that it starts."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the rules read from /proc who holds a file"
)


def make_environment(*folders, **more):
    """Returns the environment of a process for which the rules hold below some folders."""
    known = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE / "rules"), str(ROOT), *known]),
        "LORASMITH_WINDOWS_FILES": os.pathsep.join(str(folder) for folder in folders),
        **more,
    }
