"""Runs the tests and the demo under the file rules of Windows.

    python -m tests.windows.run [PYTEST ARGUMENTS]

Temporary folders, and so all workspaces of the tests, lie in one folder for which the rules hold.
What was refused is noted in refusals.txt beside it. Without arguments everything runs but the tests
that need a GPU, in a browser as well, and then `lorasmith demo`.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.windows.environment import ROOT, make_environment

ALL = ["-q", "-m", "not gpu"]


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="windows-files-", ignore_cleanup_errors=True) as name:
        place, log = Path(name) / "files", Path(name) / "refusals.txt"
        place.mkdir()
        environment = make_environment(
            place,
            LORASMITH_WINDOWS_LOG=str(log),
            TMPDIR=str(place),
            OMP_NUM_THREADS="1",
            OMP_WAIT_POLICY="PASSIVE",
        )
        python = [sys.executable, "-m"]
        tests = [*python, "pytest", f"--basetemp={place / 'tests'}", *(arguments or ALL)]
        done = [subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode]
        if not arguments:
            demo = [*python, "app.cli", "demo", f"--workspace={place / 'workspace'}"]
            done.append(subprocess.run(demo, cwd=ROOT, env=environment, check=False).returncode)
        print_refusals(log)
    return max(done)


def print_refusals(log: Path) -> None:
    """Prints the lines of the project at which something was refused, and how often."""
    if not log.is_file():
        print("Nothing was refused.")
        return
    lines = Counter()
    for line in log.read_text("utf-8", "replace").splitlines():
        kind, _path, frames = (*line.split("\t"), "", "")[:3]
        own = [each for each in frames.split(" < ") if str(ROOT) in each]
        lines[f"{kind}: {' < '.join(own[:3])}".replace(f"{ROOT}/", "")] += 1
    for line, count in lines.most_common():
        print(f"{count:6} {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
