"""The wheel, built once from a copy of the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel({!r}))"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Path of the wheel, made by the build backend that is installed here: no download."""
    copy, out = tmp_path_factory.mktemp("source") / "lorasmith", tmp_path_factory.mktemp("dist")
    names = {".git", ".venv", "build", "dist", "workspace", "tests", "benchmarks"}
    hidden = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", *names)
    shutil.copytree(ROOT, copy, ignore=hidden, symlinks=True)
    made = subprocess.run(
        [sys.executable, "-c", BUILD.format(str(out))],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    return out / made.stdout.splitlines()[-1]
